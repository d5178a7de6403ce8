"""The port of the store: what to read before writing an adapter, and nothing else.

A store keeps the rows of sessions, their messages, and the ``tail``: the newest events of each
session, whole. Messages are history and stay. The tail serves clients that come back and the
recovery of an answer that was cut off; it is trimmed behind both.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from sessile.wire.frames import Piece
from sessile.wire.messages import Message, Metadata

READ = 1024 * 1024  # bytes after which a read stops
T = TypeVar("T")


class RunningTurn(Struct, rename="camel", frozen=True, omit_defaults=True):
    """The turn that a session is in, as it must be known after a crash.

    ``since`` is the head of the session when the turn began: its events come after it.
    ``stopping`` is the intent of a stop, stored before the stop is carried out. ``retries`` counts
    how often the turn was started from scratch after a crash. ``agent`` is the kind of agent that
    began it: no other continues it. ``continued`` are the times (unix
    seconds) at which it was continued since its answer grew last, which then was at the event
    ``grown``. ``asked`` are its open questions, each with the key of the permission that "always"
    gives; the first of them expires at ``expires_at`` (unix seconds). ``decided`` has the state and
    the message of the answers where several questions are about one call. A turn that is ``parked``
    waits for the answers without an agent, and its session belongs to no node.
    """

    question: str
    answer: str
    since: int
    started_at: int
    stopping: bool = False
    retries: int = 0
    agent: str = ""
    continued: tuple[int, ...] = ()
    grown: int = 0
    asked: dict[str, str] = {}
    expires_at: int = 0
    decided: dict[str, tuple[str, str]] = {}
    parked: bool = False


class Row(Struct):
    """A session as it is stored.

    ``queued`` counts the messages that wait for their turn. ``epoch`` is unique for each life of
    the session's id: a session that is deleted and created again has another one, and one that
    does not exist has 0. ``owner`` is
    the number of the node that wrote the session last; while the session is ``busy`` no other
    node may write it. ``held`` says that its owner writes it in several commits, as an import
    does. ``private`` is what the server itself believes of the session (permissions, an agent's
    conversation): no client reads or writes it, and it is neither exported nor forked.
    """

    id: str
    title: str = ""
    seq: int = 0
    message_count: int = 0
    queued: int = 0
    created_at: int = 0
    updated_at: int = 0
    archived: bool = False
    metadata: Metadata = {}
    running: RunningTurn | None = None
    private: dict[str, Any] = {}
    epoch: int = 0
    owner: int = 0
    held: bool = False

    @property
    def busy(self) -> bool:
        """A turn runs that is not parked, messages wait for one, or an import is under way."""
        if self.running is not None:
            return not self.running.parked
        return self.queued > 0 or self.held


class StoredMessage(NamedTuple):
    """A message with its JSON, encoded once, and the seq of the event that last changed it.

    ``moved_from`` is the seq that the message was stored under before, where it has another one.
    ``private`` is JSON for agents alone: what the client sent along with a user's message, or what
    the agent kept with its answer; None leaves what is stored.
    """

    message: Message
    body: bytes
    changed: int
    moved_from: int = 0
    private: bytes | None = None


class Hit(NamedTuple):
    """A message that a search found. ``snippet`` is plain text around what was found, ``found``
    the places of that in it: (start, end) in characters."""

    session: str
    title: str
    message: Message
    snippet: str
    found: list[tuple[int, int]]


class Commit(NamedTuple):
    """Everything that a session changes in one transaction. Nothing in it changes any more.

    ``base`` is the session's seq that the commit stands on, and ``stood`` the owner its writer
    saw. A store whose row has another seq, or an owner that is neither ``stood`` nor
    ``row.owner``, has seen another writer and refuses with
    :class:`~sessile.wire.errors.Moved`. A commit that is not ``durable`` is refused unless
    ``row.owner`` owns the session already. ``row`` is the row after the commit. ``frames`` are the
    events with the numbers ``base + 1`` to ``row.seq``, deltas that follow one another as
    one value; where many messages are brought in at
    once there are none, and clients that ask for them later get whole messages. ``deleted`` maps
    a message id to the seq of its deletion. ``drop`` deletes the session and all it has. ``draft``
    is the answer that is being written, as it stood after the event ``draft.changed``: with it, no
    event before that one is needed, and it ends with the turn. ``record`` is the JSON of what the
    agent keeps with the answer that is being written, which ends with the turn as well; None leaves
    what is stored. ``untrue`` is a seq: what agents kept with the answers from there on is dropped.
    ``durable`` asks that the commit survives the loss of power; a commit without it has nothing
    but events of a running turn, and need only survive the process.

    A store that does not know what became of a commit may try it again, unchanged: one whose
    frames are stored, byte for byte, was done by the first try. A commit without frames changes no
    seq, so the comparison does not notice that it comes late: the store makes sure that a try of it
    is not done after anything that it has sent since.
    """

    session: str
    base: int
    stood: int
    row: Row
    frames: Sequence[Piece]
    messages: Sequence[StoredMessage]
    deleted: dict[str, int]
    drop: bool
    durable: bool
    draft: "Body | None" = None
    record: bytes | None = None
    untrue: int | None = None


class OpenCommit(Protocol):
    """What a session wants to write. It may grow until the store takes it."""

    session: str

    @property
    def durable(self) -> bool:
        """Whether the commit, taken at this moment, would have to survive the loss of power."""

    def take(self) -> Commit:
        """Called once, when the transaction is made: the value to store."""

    def done(self, error: Exception | None) -> None:
        """Called once, in the event loop, after ``take``.

        None says that the commit is stored. An error says that it is not, or that nobody knows.
        For the commits of one session it is called in the order of :meth:`Store.write`.
        """


class Checked(NamedTuple):
    """What a check of a store saw: how much it has, and how many faults were reported.

    ``older`` is the number of its schema if an older Sessile wrote it, and otherwise 0: of such a
    store only the file is checked, and not the values of its rows.
    """

    sessions: int
    messages: int
    faults: int
    older: int = 0


class Finding(NamedTuple):
    """What a look at the place of a store, or at a setting, found: a sentence without a period."""

    level: Literal["ok", "warning", "problem"]
    text: str


class Head(NamedTuple):
    """How far a session is: its life and the number of its newest event."""

    session: str
    epoch: int
    seq: int


class Body(NamedTuple):
    """A stored message as JSON, with its place and the seq of its last change."""

    seq: int
    changed: int
    body: bytes


class Place(NamedTuple):
    """Where a message stands."""

    seq: int
    id: str


class Chunk(list[T]):
    """What a read found. It stops after about ``READ`` bytes, with at least one item, and is then
    ``cut``: there may be more."""

    def __init__(self, items: Iterable[T] = (), cut: bool = False) -> None:
        super().__init__(items)
        self.cut = cut


class Store(Protocol):
    """Where sessions are kept.

    Rows, messages and events are read in chunks, so that no read takes more memory or time than
    others can wait for.

    Every method that reads or writes raises
    :class:`~sessile.wire.errors.StoreUnavailable` when the store cannot be reached or written.
    """

    name: str  # for the start's banner and for logs: technology and place, no secrets
    id: str  # unique among all stores; known after `open`

    @property
    def unreadable(self) -> int:
        """How many sessions were found so far of which something is damaged.

        What would give such a session raises :class:`~sessile.wire.errors.SessionUnreadable`; a
        list goes on without it.
        """

    async def open(self) -> None:
        """Connect and bring the schema up to date."""

    async def close(self) -> None:
        """Write what waits, and let go."""

    async def check(self) -> None:
        """Answer, or raise."""

    def write(self, commit: OpenCommit) -> None:
        """Take and store a commit soon, with all others that wait, in one transaction."""

    async def row(self, session: str) -> Row | None:
        """A session, or None. A store that holds events beyond the row's seq counts them in."""

    async def row_if_busy(self, session: str) -> Row | None:
        """The row of a session in which something runs or waits, or a turn is parked; None for all
        others."""

    async def listed(
        self, limit: int, before: str | None, query: str | None, archived: bool | None
    ) -> list[str]:
        """The ids of sessions by their newest activity, newest first.

        ``before`` is the session id that the page ends before; one that is unknown raises
        :class:`~sessile.wire.errors.SessionNotFound`. ``query`` must be part of the title or the id,
        in any case and with any diacritics.
        """

    async def rows(self, sessions: Sequence[str]) -> Chunk[Row]:
        """Those of the sessions that exist, in the given order."""

    async def busy(self, owner: int) -> list[str]:
        """The busy sessions of an owner."""

    async def due(self, now: int) -> list[str]:
        """The sessions with a parked turn whose question expires at ``now`` (unix seconds) or
        earlier."""

    async def heads(self, sessions: Sequence[str]) -> list[Head]:
        """The heads of those of the sessions that exist, in one query."""

    async def message(self, session: str, message: str) -> Message | None:
        """One message by its id."""

    async def request(self, session: str, message: str) -> dict[str, Any]:
        """What the client sent along with a message for the agent; empty where that is nothing."""

    async def record(self, session: str) -> bytes | None:
        """What the agent keeps with the answer that is being written, as JSON."""

    async def records(self, session: str, after: int, before: int) -> dict[str, bytes]:
        """What agents kept with the answers between two seqs, as JSON by the answers' ids."""

    async def was_deleted(self, session: str, message: str) -> bool:
        """Whether a message with this id was deleted since the session was created."""

    async def newest(self, session: str, limit: int, before: int | None) -> Chunk[Body]:
        """The newest messages, or the newest with a seq under ``before``; newest first.

        Messages that wait for their turn are not among them: see :meth:`queue`.
        """

    async def following(self, session: str, limit: int, after: int) -> Chunk[Body]:
        """The oldest messages with a seq over ``after``, without those that wait; oldest first."""

    async def places(
        self, session: str, limit: int, before: int | None = None, after: int | None = None
    ) -> list[Place]:
        """Where the messages stand that :meth:`newest`, or with ``after`` :meth:`following`, would
        give in chunks."""

    async def changed(self, session: str, limit: int, after: int) -> Chunk[Body]:
        """Messages whose last change is after ``after``, in the order of those changes."""

    async def deleted(self, session: str, after: int) -> list[tuple[int, str]]:
        """Deletions of messages after ``after``: (seq, message id), in order."""

    async def draft(self, session: str) -> Body | None:
        """The answer that is being written, as it stood after the event ``changed``; None where its
        events tell all of it."""

    async def queue(self, session: str) -> list[Message]:
        """The messages that wait for their turn, first come first."""

    async def answer(self, session: str, question: Message) -> Message | None:
        """The settled answer to a user message."""

    async def last_answer(self, session: str) -> Message | None:
        """The newest settled answer."""

    async def events(self, session: str, after: int) -> Chunk[Piece] | None:
        """The events after ``after``, or None if some of them are no longer kept."""

    async def search(self, words: Sequence[str], limit: int) -> list[Hit]:
        """Messages that have every word, each as a word or its beginning; the best first.

        What was written before is found. In scripts without spaces between words, what is
        searched for is found inside the text. Where the messages are large there are fewer than
        ``limit``. Raises :class:`~sessile.wire.errors.SearchTooSlow` after about a second.
        """

    async def tend(self) -> None:
        """Do what may wait; called every few seconds. Raises nothing that stops the server."""

    async def trim(self, grace: float) -> None:
        """Forget single events that no running turn needs, of sessions whose last durable commit
        here is ``grace`` seconds old; called every few seconds."""


class SharedStore(Store, Protocol):
    """A store that several nodes use at once, each under a number of its own over 0."""

    async def beat(self, node: int) -> dict[int, int]:
        """Count up a node's beat; the beats of all nodes, as one moment sees them."""

    async def claim(
        self, owner: int, node: int, session: str | None = None, limit: int = 20
    ) -> list[str]:
        """Make ``node`` the owner of busy sessions of ``owner``: of one, or of up to ``limit``.

        Each session goes to one node alone, however many ask at once. Returns what was claimed.
        """

    async def leave(self, node: int) -> None:
        """Forget a node; its busy sessions get the owner 0, from which any node claims them."""
