"""The parts of the model test: a puppet agent, the expected messages, and a client."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from sessile import ToolCallPart, Turn
from sessile.watch.feed import Watcher
from sessile.wire.fold import History


class Puppet:
    """An agent that says what the state machine puts into ``lines``."""

    name = "puppet"

    def __init__(self) -> None:
        self.lines: asyncio.Queue[object] = asyncio.Queue()
        self.question: str | None = None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[str | ToolCallPart, None]:
        self.question = turn.message.id
        while True:
            line = await self.lines.get()
            if line is None:
                return
            if isinstance(line, Exception):
                raise line
            assert isinstance(line, str | ToolCallPart)
            yield line


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
