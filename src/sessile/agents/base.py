"""The port of the agent: what somebody reads to write an adapter, and nothing else.

An agent is asked for a reply to one turn and yields what it has as it has it:

- ``str``: more text of the answer;
- ``ReasoningPart``: more of its thoughts; ``TextPart`` is the same as its text;
- ``ToolCallPart``: a tool call; yielded again with the same ``tool_call_id`` it replaces itself;
- ``DataPart``: a value; yielded again with the same ``name`` it replaces itself;
- ``FilePart``, ``SourcePart``, ``ToolResultPart``: one more part.

An agent asks for permission to run a tool with :meth:`Turn.ask`.

What was yielded is stored and then shown. A stop cancels the generator: it may clean up, for two
seconds at most, and what it still yields is dropped. An error ends the answer with what it has;
the text of an :class:`~sessile.wire.errors.AgentError` is shown to the clients.
"""

from collections.abc import AsyncGenerator
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from sessile.wire.messages import Message, Metadata, merged
from sessile.wire.parts import Part, ToolCallPart

Output: TypeAlias = str | Part


DENIED = "Permission was denied."  # what is said of a refusal that has no message


class Usage(Struct, rename="camel", omit_defaults=True):
    """Tokens that an answer took, as its metadata's ``usage``; cached input and reasoning are
    counted in input and output too. What it cost, in USD, is the metadata's ``cost``.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


class Decision(NamedTuple):
    """What became of a question. ``message`` and ``always`` are as the person gave them."""

    state: Literal["approved", "denied", "expired"]
    message: str = ""
    always: bool = False

    @property
    def approved(self) -> bool:
        return self.state == "approved"


class Host(Protocol):
    """What a turn has behind it; the session, where it is real."""

    async def history(self, messages: int) -> list[Message]:
        """The newest messages before the turn's own, oldest first."""

    async def ask(self, call: ToolCallPart, key: str) -> Decision:
        """Show a tool call with a question, and wait for what becomes of it."""

    async def remember(self, metadata: Metadata, private: bool) -> None:
        """Merge into the session's metadata, or into what is private; returns when it is stored."""


class Turn:
    """What an agent sees of the turn it answers.

    ``message`` is the user's message, ``answer_id`` the id that the answer will have, ``metadata``
    what will be kept with it (put usage and cost there), ``session_metadata`` what is kept with
    the session, and ``private`` what agents remember of it that no client sees.
    """

    def __init__(
        self,
        session_id: str,
        message: Message,
        answer_id: str,
        host: Host,
        session_metadata: Metadata | None = None,
        private: Metadata | None = None,
    ) -> None:
        self.session_id = session_id
        self.message = message
        self.answer_id = answer_id
        self.metadata: Metadata = {}
        self.session_metadata: Metadata = session_metadata or {}
        self.private: Metadata = private or {}
        self._host = host

    @property
    def content(self) -> str:
        """The text of the user's message."""
        return self.message.content

    async def history(self, messages: int = 50, characters: int | None = None) -> list[Message]:
        """The messages before this one, oldest first, each answer behind its question.

        At most ``messages`` of them, and no more than fit whole into ``characters`` of content,
        counted from the newest: so a turn costs the same in a long session.
        """
        newest = await self._host.history(messages)
        if characters is None:
            return newest
        kept: list[Message] = []
        for message in reversed(newest):
            characters -= len(message.content)
            if characters < 0:
                break
            kept.append(message)
        return kept[::-1]

    async def ask(self, call: ToolCallPart, key: str | None = None) -> Decision:
        """Ask people for permission to run a tool, and wait for their answer.

        The call is shown (there is no need to yield it before) with the question as its
        ``approval``, which stays with the call when it is yielded again. Without permission the call is
        shown as an error. A policy of the server may answer instead of people; a question that
        nobody answers in time is ``expired``. Who answers "always" is not asked again in this
        session for the same ``key``: the tool's name, or nothing with ``""``.
        """
        return await self._host.ask(call, call.tool_name if key is None else key)

    async def remember(self, values: Metadata, *, private: bool = False) -> None:
        """Merge into the session's metadata; None removes a name. Returns when it is stored.

        What is ``private``, such as where an agent keeps its own side of the conversation, no
        client reads or writes, and it is neither exported nor forked.
        """
        await self._host.remember(values, private)
        if private:
            self.private = merged(self.private, values)
        else:
            self.session_metadata = merged(self.session_metadata, values)


@runtime_checkable
class Agent(Protocol):
    """Something that answers."""

    name: str  # for the start's banner and for logs

    async def open(self) -> None:
        """Get ready, once, before the first turn."""

    async def close(self) -> None:
        """Let go of everything, once, after the last turn."""

    def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        """Answer one turn."""
