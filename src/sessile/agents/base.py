"""The port of the agent: all that the author of an adapter needs to read.

An agent replies to one turn at a time and yields output as it produces it:

- ``str``: more text of the answer;
- ``ReasoningPart``: more reasoning; a ``TextPart`` is the same as its text;
- ``ToolCallPart``: a tool call; yielded again with the same ``tool_call_id`` it replaces itself;
- ``DataPart``: a value; yielded again with the same ``name`` it replaces itself;
- ``FilePart``, ``SourcePart``, ``ToolResultPart``: one more part.

An agent asks for permission to run a tool with :meth:`Turn.ask`, and lets a client run one with
:meth:`Turn.call`.

Each output is stored and then sent to the clients. A stop cancels the generator: it has two seconds
to clean up, and what it still yields is dropped. An error ends the answer, which keeps its output;
the text of an :class:`~sessile.wire.errors.AgentError` is shown to the clients.

An agent that ``continues`` is called again after a restart, with what its answer has so far as
:attr:`Turn.unfinished`; what it yields then is added to that. What it must know beyond the parts it
keeps with :meth:`Turn.keep`. A turn that waits a minute on questions lets go of such an agent, by a
cancellation as for a stop, and calls it again when one is answered.
"""

from collections.abc import AsyncGenerator
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from sessile.agents.extent import fitting
from sessile.wire.messages import Message, Metadata, PastMessage, merged
from sessile.wire.parts import Part, ToolCallPart, text_of

Output: TypeAlias = str | Part


DENIED = "Permission was denied."  # the text of a denial without a message
EXPIRED = "Nobody answered in time."


class Usage(Struct, rename="camel", omit_defaults=True):
    """The tokens that an answer used, for ``usage`` in its metadata. Input and output include cached
    input and reasoning. The metadata's ``cost`` is the cost in USD.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


class Decision(NamedTuple):
    """The outcome of a question. ``message`` and ``always`` are what the user sent."""

    state: Literal["approved", "denied", "expired"]
    message: str = ""
    always: bool = False

    @property
    def approved(self) -> bool:
        return self.state == "approved"


class CallResult(NamedTuple):
    """What a client did for :meth:`Turn.call`: the ``output``, a JSON value, or an ``error``."""

    output: Any = None
    error: str | None = None


class Unfinished(NamedTuple):
    """The answer of a turn that was cut off, as its clients see it.

    ``parts`` are the parts so far: a tool call in them that is "complete" or "error" has ended and
    must not run again; of one that is "pending" or "running" and has no open question nobody knows
    whether it ran. ``record`` is what the agent kept last. It may be older than the parts, never
    newer.
    """

    parts: list[Part]
    record: Any = None

    @property
    def text(self) -> str:
        """The text so far."""
        return text_of(self.parts)

    def call(self, id: str) -> ToolCallPart | None:
        """The tool call with this id."""
        calls = (part for part in self.parts if isinstance(part, ToolCallPart))
        return next((call for call in calls if call.tool_call_id == id), None)


class Host(Protocol):
    """What a turn needs from its session."""

    async def history(self, messages: int) -> list[PastMessage]:
        """The newest messages before the turn's own, oldest first."""

    @property
    def is_left(self) -> bool:
        """Whether the agent is let go of a turn that goes on later."""

    async def ask(self, call: ToolCallPart, key: str, about: str) -> Decision:
        """Show a tool call with a question, and wait for the decision."""

    async def call(self, call: ToolCallPart, schema: Any) -> CallResult:
        """Show a tool call that a client runs, and wait for its output."""

    async def keep(self, record: Any, metadata: Metadata) -> None:
        """Store the agent's record with the answer; return when it is stored."""

    def begin_part(self) -> None:
        """Let the next text or reasoning begin a new part."""

    async def remember(self, metadata: Metadata, private: bool) -> None:
        """Merge into the session's public or private metadata; return when it is stored."""


class Turn:
    """What an agent sees of the turn it answers.

    ``message`` is the user's message, ``answer_id`` the id that the answer will have, ``metadata``
    the answer's metadata (put usage and cost there), ``session_metadata`` the session's metadata,
    and ``private`` the part of it that only agents read and write. ``request`` is what the client
    sent along with the message for the agent, such as a model or settings. ``unfinished`` is the
    answer so far where the agent is called again because the turn was cut off, and otherwise None.
    """

    def __init__(
        self,
        session_id: str,
        message: Message,
        answer_id: str,
        host: Host,
        session_metadata: Metadata | None = None,
        private: Metadata | None = None,
        request: dict[str, Any] | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:
        self.session_id = session_id
        self.message = message
        self.answer_id = answer_id
        self.metadata: Metadata = {}
        self.session_metadata: Metadata = session_metadata or {}
        self.private: Metadata = private or {}
        self.request: dict[str, Any] = request or {}
        self.unfinished = unfinished
        self._host = host

    @property
    def content(self) -> str:
        """The text of the user's message."""
        return self.message.content

    async def history(self, messages: int = 50, characters: int | None = None) -> list[PastMessage]:
        """The messages before this one, oldest first, each answer after its question.

        At most ``messages`` of them, and only as many as fit into ``characters``, counted from the
        newest: their text, reasoning, tool inputs and outputs and files (4,000 for an image). Of an
        answer that does not fit, the tool calls are cut. Where older messages are left out, the
        first one is a user's. The limits keep the cost of a turn constant in a long session.

        The ``record`` of an answer is what its agent kept with it (which may be another agent than
        this one). It is None for an answer that is cut, and for all answers from a message on that
        was edited or deleted.
        """
        return fitting(await self.newest(messages), messages, characters)

    async def newest(self, messages: int) -> list[PastMessage]:
        """So many messages before this one, oldest first, each answer after its question."""
        return await self._host.history(messages)

    @property
    def is_left(self) -> bool:
        """Whether a cancellation means that the turn goes on later: what runs for it elsewhere may
        run on."""
        return self._host.is_left

    async def ask(self, call: ToolCallPart, key: str | None = None, *, about: str = "") -> Decision:
        """Ask the users for permission to run a tool, and wait for their answer.

        The call is shown (there is no need to yield it before) with the ``question``, which stays
        with the call when it is yielded again. Without permission the call is shown as an error. The
        server's policy may answer instead of a user. A question that nobody answers in time is
        ``expired``. After the answer "always", the same ``key`` is not asked for again in this
        session; it is the tool's name by default, and ``""`` turns this off.

        Asked again about the same call (its id, tool and input), also after a restart, it waits on
        the same question, or returns the answer that was given. Where a call needs several
        permissions, ``about`` tells them apart, in place of tool and input.
        """
        return await self._host.ask(call, call.tool_name if key is None else key, about)

    async def call(self, call: ToolCallPart, schema: Any = None) -> CallResult:
        """Let a client run a tool or fill in a form, and wait for its output.

        The call is shown with a question, and then as complete, or as an error: the client's, or
        that nobody answered in time. An output that does not match the JSON Schema ``schema`` is
        refused. Called again for the same call, also after a restart, it returns the same result.
        Raises ``ValueError`` for what is not a JSON Schema.
        """
        return await self._host.call(call, schema)

    async def keep(self, record: Any) -> None:
        """Store a JSON value with the answer, in place of the former one; return when it is stored.

        Clients cannot read or write it, and exports and forks do not contain it. After a restart it
        is in :attr:`unfinished`, and in later turns in :meth:`history`. It is stored in order with
        what was yielded before, and :attr:`metadata` with it.
        """
        await self._host.keep(record, self.metadata)

    def begin_part(self) -> None:
        """Let the next text or reasoning begin a new part, and not go on with the last one."""
        self._host.begin_part()

    async def remember(self, values: Metadata, *, private: bool = False) -> None:
        """Merge into the session's metadata; None removes a name. Returns when it is stored.

        Clients cannot read or write ``private`` values, and exports and forks do not contain them.
        An agent can keep the id of its own conversation there.
        """
        await self._host.remember(values, private)
        if private:
            self.private = merged(self.private, values)
        else:
            self.session_metadata = merged(self.session_metadata, values)


@runtime_checkable
class Agent(Protocol):
    """Answers the turns of all sessions.

    An agent whose tools work in a folder of this machine has that folder as ``folder``, a resolved
    ``Path``; a server does not start with its store inside it. One that goes on with a turn that was
    cut off has ``continues = True``, and also ``parks = False`` if it must not be let go of while a
    turn waits on a question.
    """

    name: str  # for the banner and for logs

    async def open(self) -> None:
        """Prepare; called once, before the first turn."""

    async def close(self) -> None:
        """Release all resources; called once, after the last turn."""

    def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        """Answer one turn."""
