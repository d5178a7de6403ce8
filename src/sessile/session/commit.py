"""What a session wants to write in one transaction."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from sessile.store.base import Body, Commit, Row, StoredMessage
from sessile.wire.frames import Piece
from sessile.wire.messages import Message

Outcome: TypeAlias = Callable[[Exception | None], None]
Ended: TypeAlias = Callable[["OpenCommit", Exception | None], None]


class OpenCommit:
    """What is written until the store takes it; nobody but its journal changes it."""

    __slots__ = (
        "_ended",
        "_row",
        "base",
        "deleted",
        "draft",
        "drop",
        "durable",
        "frames",
        "head",
        "holds",
        "messages",
        "outcomes",
        "record",
        "session",
        "stood",
        "taken",
        "untrue",
    )

    def __init__(self, row: Row, ended: Ended) -> None:
        self._row = row  # as everything written so far makes it
        self._ended = ended
        self.session = row.id
        self.base = row.seq
        self.stood = row.owner
        self.frames: list[Piece] = []
        self.messages: dict[str, StoredMessage] = {}
        self.deleted: dict[str, int] = {}  # message id -> seq of its deletion
        self.drop = False
        self.draft: Body | None = None
        self.record: bytes | None = None
        self.untrue: int | None = None
        self.durable = False
        self.taken = False
        self.head = 0  # how far the session is with it, and whether it is then busy
        self.holds = False
        self.outcomes: list[Outcome] = []

    def take(self) -> Commit:
        self.taken = True
        row = msgspec.structs.replace(self._row)
        self.head, self.holds = row.seq, row.busy
        return Commit(
            self.session,
            self.base,
            self.stood,
            row,
            self.frames,
            list(self.messages.values()),
            self.deleted,
            self.drop,
            self.durable,
            self.draft,
            self.record,
            self.untrue,
        )

    def done(self, error: Exception | None) -> None:
        self._ended(self, error)

    def put(
        self,
        message: Message,
        body: bytes,
        changed: int,
        stood_at: int,
        private: bytes | None = None,
    ) -> None:
        """Store a message that stood at ``stood_at`` before, or nowhere (0)."""
        known = self.messages.get(message.id)
        if known is not None:  # where it stands in the store, if it is there
            stored = known.message.seq if known.message.seq <= self.base else 0
            stood_at = known.moved_from or stored
            private = known.private
        moved_from = stood_at if stood_at != message.seq else 0
        self.messages[message.id] = StoredMessage(message, body, changed, moved_from, private)

    def doubt(self, seq: int) -> None:
        """Drop what agents kept with the answers from a seq on."""
        self.untrue = seq if self.untrue is None else min(seq, self.untrue)
        for id, stored in self.messages.items():
            if stored.message.role == "assistant" and stored.message.seq >= seq:
                self.messages[id] = stored._replace(private=None)
