"""The port of the agent: what somebody reads to write an adapter, and nothing else.

An agent is asked for a reply to one turn and yields what it has as it has it:

- ``str``: more text of the answer;
- ``ReasoningPart``: more of its thoughts; ``TextPart`` is the same as its text;
- ``ToolCallPart``: a tool call; yielded again with the same ``tool_call_id`` it replaces itself;
- ``DataPart``: a value; yielded again with the same ``name`` it replaces itself;
- ``FilePart``, ``SourcePart``, ``ToolResultPart``: one more part.

What was yielded is stored and then shown. A stop cancels the generator: it may clean up, for two
seconds at most, and what it still yields is dropped. An error ends the answer with what it has;
the text of an :class:`~sessile.errors.AgentError` is shown to the clients.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeAlias, runtime_checkable

from sessile.types import Message, Metadata, Part

Output: TypeAlias = str | Part


class Turn:
    """What an agent sees of the turn it answers.

    ``message`` is the user's message, ``answer_id`` the id that the answer will have, ``metadata``
    what will be kept with it (put usage and cost there), ``session_metadata`` what is kept with
    the session.
    """

    def __init__(
        self,
        session_id: str,
        message: Message,
        answer_id: str,
        history: Callable[[int], Awaitable[list[Message]]],
        metadata: Metadata | None = None,
        session_metadata: Metadata | None = None,
    ) -> None:
        self.session_id = session_id
        self.message = message
        self.answer_id = answer_id
        self.metadata: Metadata = {} if metadata is None else metadata
        self.session_metadata: Metadata = session_metadata or {}
        self._history = history

    @property
    def content(self) -> str:
        """The text of the user's message."""
        return self.message.content

    async def history(self, messages: int = 50, characters: int | None = None) -> list[Message]:
        """The messages before this one, oldest first, each answer behind its question.

        At most ``messages`` of them, and no more than fit whole into ``characters`` of content,
        counted from the newest: so a turn costs the same in a long session.
        """
        newest = await self._history(messages)
        if characters is None:
            return newest
        kept: list[Message] = []
        for message in reversed(newest):
            characters -= len(message.content)
            if characters < 0:
                break
            kept.append(message)
        return kept[::-1]


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
