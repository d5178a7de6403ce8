"""Writes the commits of one session into a store, as the session object of a node does."""

import asyncio
import copy

from msgspec import UNSET

from sessile.store.base import Body, Commit, Row, Store, StoredMessage
from sessile.wire.codec import encode
from sessile.wire.events import DeletedEvent
from sessile.wire.frames import Deltas, Frame, Piece
from sessile.wire.messages import Message, MessageStatus
from sessile.wire.parts import TextPart


class Change:
    """A commit that is being prepared, as by a session."""

    def __init__(self, row: Row, durable: bool, owner: int) -> None:
        self.session = row.id
        self.durable = durable
        self.frames: list[Piece] = []
        self.messages: dict[str, StoredMessage] = {}
        self.deleted: dict[str, int] = {}
        self.drop = False
        self.draft: Body | None = None
        self.record: bytes | None = None
        self.untrue: int | None = None
        self.taken = 0
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._row = row
        self._base, self._stood = row.seq, row.owner
        row.owner = owner

    def take(self) -> Commit:
        self.taken += 1
        return Commit(
            self.session,
            self._base,
            self._stood,
            copy.copy(self._row),
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
        assert self.taken == 1, "a commit is taken once, before its outcome"
        if error is None:
            self.outcome.set_result(None)
        else:
            self.outcome.set_exception(error)


class Writer:
    """Writes one session's commits, as the session object of a node does."""

    def __init__(self, store: Store, id: str, row: Row | None = None, node: int = 0) -> None:
        self.store = store
        self.row = row or Row(id, created_at=1, updated_at=1, epoch=7)
        self.node = node

    def change(self, durable: bool = True) -> Change:
        return Change(self.row, durable, self.node)

    def say(
        self,
        change: Change,
        id: str,
        role: str = "user",
        content: str = "x",
        reply_to: str | None = None,
        status: MessageStatus = "complete",
        seq: int | None = None,
        moved_from: int = 0,
    ) -> Message:
        """Add a message; with ``seq`` it takes the place of an earlier message."""
        self.row.seq += 1
        message = Message(
            id,
            role,  # type: ignore[arg-type]
            content,
            [TextPart(content)],
            1,
            seq or self.row.seq,
            status,
            UNSET,
            UNSET if reply_to is None else reply_to,
        )
        body = encode(message)
        change.frames.append(Frame.of_message(message, body, self.row.seq))
        change.messages[id] = StoredMessage(message, body, self.row.seq, moved_from)
        self.row.message_count += 1
        return message

    def delta(self, change: Change, answer: str, offset: int, text: str) -> None:
        self.row.seq += 1
        change.frames.append(Deltas(self.row.seq, answer, 0, "text", offset, [text]))

    def delete(self, change: Change, id: str) -> None:
        self.row.seq += 1
        change.frames.append(Frame.of(DeletedEvent(self.row.seq, id), self.row.seq))
        change.deleted[id] = self.row.seq
        self.row.message_count -= 1

    async def commit(self, change: Change) -> None:
        """Write the change and wait for its commit; raises the error that the store reports."""
        self.store.write(change)
        await change.outcome

    async def fill(self, count: int) -> list[Message]:
        change = self.change()
        messages = [self.say(change, f"m{index}") for index in range(count)]
        await self.commit(change)
        return messages
