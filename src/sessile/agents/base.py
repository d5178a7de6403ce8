"""The port of the agent: all that the author of an adapter needs to read.

An agent replies to one turn at a time and yields output as it produces it:

- ``str``: more text of the answer;
- ``ReasoningPart``: more reasoning; a ``TextPart`` is the same as its text;
- ``ToolCallPart``: a tool call; yielded again with the same ``tool_call_id`` it replaces itself;
- ``DataPart``: a value; yielded again with the same ``name`` it replaces itself;
- ``FilePart``, ``SourcePart``, ``ToolResultPart``: one more part.

An agent asks for permission to run a tool with :meth:`Turn.ask`.

Each output is stored and then sent to the clients. A stop cancels the generator: it has two seconds
to clean up, and what it still yields is dropped. An error ends the answer, which keeps its output;
the text of an :class:`~sessile.wire.errors.AgentError` is shown to the clients.
"""

from collections.abc import AsyncGenerator
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from sessile.agents.extent import fitting
from sessile.wire.messages import Message, Metadata, merged
from sessile.wire.parts import Part, ToolCallPart

Output: TypeAlias = str | Part


DENIED = "Permission was denied."  # the text of a denial without a message


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


class Host(Protocol):
    """What a turn needs from its session."""

    async def history(self, messages: int) -> list[Message]:
        """The newest messages before the turn's own, oldest first."""

    async def ask(self, call: ToolCallPart, key: str) -> Decision:
        """Show a tool call with a question, and wait for the decision."""

    async def remember(self, metadata: Metadata, private: bool) -> None:
        """Merge into the session's public or private metadata; return when it is stored."""


class Turn:
    """What an agent sees of the turn it answers.

    ``message`` is the user's message, ``answer_id`` the id that the answer will have, ``metadata``
    the answer's metadata (put usage and cost there), ``session_metadata`` the session's metadata,
    and ``private`` the part of it that only agents read and write. ``request`` is what the client
    sent along with the message for the agent, such as a model or settings.
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
    ) -> None:
        self.session_id = session_id
        self.message = message
        self.answer_id = answer_id
        self.metadata: Metadata = {}
        self.session_metadata: Metadata = session_metadata or {}
        self.private: Metadata = private or {}
        self.request: dict[str, Any] = request or {}
        self._host = host

    @property
    def content(self) -> str:
        """The text of the user's message."""
        return self.message.content

    async def history(self, messages: int = 50, characters: int | None = None) -> list[Message]:
        """The messages before this one, oldest first, each answer after its question.

        At most ``messages`` of them, and only as many as fit into ``characters``, counted from the
        newest: their text, reasoning, tool inputs and outputs and files (4,000 for an image). Of an
        answer that does not fit, the tool calls are cut. Where older messages are left out, the
        first one is a user's. The limits keep the cost of a turn constant in a long session.
        """
        return fitting(await self.newest(messages), messages, characters)

    async def newest(self, messages: int) -> list[Message]:
        """So many messages before this one, oldest first, each answer after its question."""
        return await self._host.history(messages)

    async def ask(self, call: ToolCallPart, key: str | None = None) -> Decision:
        """Ask the users for permission to run a tool, and wait for their answer.

        The call is shown (there is no need to yield it before) with the question as its
        ``approval``, which stays with the call when it is yielded again. Without permission the call is
        shown as an error. The server's policy may answer instead of a user. A question that
        nobody answers in time is ``expired``. After the answer "always", the same ``key`` is not
        asked for again in this session; it is the tool's name by default, and ``""`` turns this off.
        """
        return await self._host.ask(call, call.tool_name if key is None else key)

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
    ``Path``; a server does not start with its store inside it.
    """

    name: str  # for the banner and for logs

    async def open(self) -> None:
        """Prepare; called once, before the first turn."""

    async def close(self) -> None:
        """Release all resources; called once, after the last turn."""

    def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        """Answer one turn."""
