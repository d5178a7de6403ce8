"""The parts of the model test: a puppet agent, the expected messages, and a client."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import NamedTuple

from sessile import ToolCallPart, Turn
from sessile.watch.feed import Watcher
from sessile.wire.fold import History


class Ask(NamedTuple):
    """A line with which the puppet asks about a tool call, and says what became of that."""

    call: str


class Puppet:
    """An agent that says what the state machine puts into ``lines``. Called again for a turn that
    was cut off, it first asks what it had asked and said nothing about."""

    name = "puppet"

    def __init__(self, continues: bool = False) -> None:
        self.continues = continues
        self.lines: asyncio.Queue[object] = asyncio.Queue()
        self.question: str | None = None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[str | ToolCallPart, None]:
        self.question = turn.message.id
        last = turn.unfinished.parts[-1:] if turn.unfinished else []
        for part in last:
            if isinstance(part, ToolCallPart) and part.tool_name == "asks":
                async for output in self._ask(turn, part.tool_call_id):
                    yield output
        while True:
            line = await self.lines.get()
            if line is None:
                return
            if isinstance(line, Exception):
                raise line
            if isinstance(line, Ask):
                async for output in self._ask(turn, line.call):
                    yield output
                continue
            assert isinstance(line, str | ToolCallPart)
            yield line

    async def _ask(self, turn: Turn, id: str) -> AsyncGenerator[str | ToolCallPart, None]:
        decision = await turn.ask(ToolCallPart(id, "asks", {}, "pending"))
        if decision.approved:
            yield ToolCallPart(id, "asks", {}, "complete", tool_output=1)
        yield decision.state


@dataclass
class Expected:
    """A message as the model expects it; ``answers`` is the question of an answer."""

    role: str
    text: str
    status: str
    answers: str | None = None


@dataclass
class Client:
    """A watcher, the number of its last event, and the history that it folded."""

    watcher: Watcher
    history: History = field(default_factory=History)
    cursor: int = 0
    until: int = 0  # up to this number whole messages replace single events
