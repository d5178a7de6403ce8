"""The port of the store: what somebody reads to write an adapter, and nothing else.

A store keeps rows of sessions, their messages, and the ``tail``: the newest events of each
session, whole. Messages are history and stay; the tail serves clients that come back, and the
recovery of an answer that was cut off, and is trimmed behind both.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from sessile.wire.frames import Frame
from sessile.wire.messages import Message, Metadata


class Running(Struct, rename="camel"):
    """The turn that a session is in, as it must be known after a crash.

    ``since`` is the head of the session when the turn began: its events come after it.
    ``stopping`` is the intent of a stop, stored before the stop is carried out. ``retries`` counts
    how often it was begun again after a crash.
    """

    question: str
    answer: str
    since: int
    started_at: int
    stopping: bool = False
    retries: int = 0


class Row(Struct):
    """A session as it is stored. ``queued`` counts its messages that wait for their turn."""

    id: str
    title: str = ""
    seq: int = 0
    message_count: int = 0
    queued: int = 0
    created_at: int = 0
    updated_at: int = 0
    archived: bool = False
    metadata: Metadata = {}
    running: Running | None = None


class StoredMessage(NamedTuple):
    """A message with its JSON, encoded once, and the seq of the event that last changed it."""

    message: Message
    body: bytes
    changed: int


class Hit(NamedTuple):
    """A message that a search found. ``snippet`` is plain text around what was found, ``found``
    the places of that in it: (start, end) in characters."""

    session: str
    title: str
    message: Message
    snippet: str
    found: list[tuple[int, int]]


class Change:
    """Everything that a session's only writer changes in one transaction.

    It may grow until the store takes it, which the store tells by setting ``taken``; what a
    session wants to write while the store is busy thereby becomes one change.

    ``base`` is the session's seq that this change stands on: a store whose row has another seq
    has seen another writer, and refuses. ``row`` is what the row shall be. ``frames`` are the
    change's events with the numbers ``base + 1`` to ``row.seq``; where many messages are brought in
    at once there are none, and those who ask for them later get whole messages. ``durable`` asks that the commit
    survives the loss of power; a change without it has nothing but events of a running turn,
    and need only survive the process.

    ``done`` is called once, in the event loop, and for the changes of one session in the order of
    the calls of :meth:`Store.write`: with None when the change is stored, or with an error when
    it is not, or nobody knows.
    """

    __slots__ = (
        "base",
        "deleted",
        "done",
        "drop",
        "durable",
        "frames",
        "messages",
        "row",
        "taken",
    )

    def __init__(self, row: Row, done: Callable[["Change", Exception | None], None]) -> None:
        self.row = row
        self.base = row.seq
        self.frames: list[Frame] = []
        self.messages: dict[str, StoredMessage] = {}
        self.deleted: dict[str, int] = {}  # message id -> seq of its deletion
        self.drop = False  # delete the session and all it has
        self.durable = False
        self.taken = False
        self.done = done


class Body(NamedTuple):
    """A stored message as JSON, with its place and the seq of its last change."""

    seq: int
    changed: int
    body: bytes


class Store(Protocol):
    """Where sessions are kept.

    Every method that reads or writes raises
    :class:`~sessile.wire.errors.StoreUnavailable` when the store cannot be reached or written.
    """

    name: str  # for the start's banner and for logs: technology and place, no secrets

    async def open(self) -> None:
        """Connect and bring the schema up to date."""

    async def close(self) -> None:
        """Write what waits, and let go."""

    async def check(self) -> None:
        """Answer, or raise."""

    def write(self, change: Change) -> None:
        """Store a change soon, with all others that wait, in one transaction."""

    async def row(self, session: str) -> Row | None:
        """A session, or None. A store that holds events beyond the row's seq counts them in."""

    async def rows(
        self, limit: int, before: str | None, query: str | None, archived: bool | None
    ) -> list[Row]:
        """Sessions by their newest activity, newest first.

        ``before`` is the session id that the page ends before; one that is unknown raises
        :class:`~sessile.wire.errors.SessionNotFound`. ``query`` must be part of the title or the id.
        """

    async def unsettled(self) -> list[str]:
        """The sessions that are in a turn or have messages queued."""

    async def message(self, session: str, message: str) -> Message | None:
        """One message by its id."""

    async def newest(self, session: str, limit: int, before: int | None) -> list[Body]:
        """The newest messages, or the newest with a seq under ``before``; newest first."""

    async def following(self, session: str, limit: int, after: int) -> list[Body]:
        """The oldest messages with a seq over ``after``; oldest first."""

    async def changed(self, session: str, limit: int, after: int) -> list[Body]:
        """Messages whose last change is after ``after``, in the order of those changes."""

    async def deleted(self, session: str, after: int) -> list[tuple[int, str]]:
        """Deletions of messages after ``after``: (seq, message id), in order."""

    async def queue(self, session: str) -> list[Message]:
        """The messages that wait for their turn, first come first."""

    async def answer(self, session: str, question: Message) -> Message | None:
        """The settled answer to a user message."""

    async def last_answer(self, session: str) -> Message | None:
        """The newest settled answer."""

    async def events(self, session: str, after: int) -> list[Frame] | None:
        """Every event after ``after``, or None if some of them are no longer kept."""

    async def search(self, words: Sequence[str], limit: int) -> list[Hit]:
        """Messages that have every word, each as a word or its beginning; the best first.

        What was written before is found.
        """

    async def tend(self) -> None:
        """Do what may wait; called every few seconds."""

    async def tails(self) -> list[tuple[str, int]]:
        """(session, seq of its newest event) of every session of which events are kept."""

    async def trim(self, tails: Sequence[tuple[str, int]]) -> None:
        """Forget single events: for each (session, seq) those up to seq."""
