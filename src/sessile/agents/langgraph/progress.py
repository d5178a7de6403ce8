"""How far a graph has come in a turn: what is kept with the answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from sessile.agents.base import Turn
from sessile.wire.parts import ToolCallPart

KIND = "langgraph/1"
Packed = list[str]  # a type and Base64


class Record(msgspec.Struct, omit_defaults=True):
    """What is kept.

    ``checkpoints`` are those of a graph that has no durable checkpointer of its own, and ``lost``
    says that they cannot be stored. ``said`` counts the answer's text up to the newest one, and
    ``outer`` that up to the newest one of the outermost graph (None if it is not known).
    ``tools`` has the calls of the step that runs: each that has started, with its result. ``ran`` are
    the nodes of the last step. At a breakpoint ``stopped`` has the calls about which the users are
    asked, and ``passed`` is the checkpoint where they agreed. ``done`` says that the graph has ended:
    then ``messages`` are those that the turn added to its state, and ``said`` counts their text.
    """

    kind: str = KIND
    checkpoints: Any = None
    lost: bool = False
    said: int = 0
    outer: int | None = 0
    tools: dict[str, Packed | None] = {}
    ran: list[str] = []
    stopped: list[ToolCallPart] | None = None
    passed: str = ""
    done: bool = False
    messages: list[Any] | None = None


class Progress:
    """Keeps the record of a turn; ``said`` counts all text of the answer."""

    def __init__(self, turn: Turn, record: Record, said: int = 0) -> None:
        self.record = record
        self.said = said
        self.former = frozenset(record.tools)  # calls that had started before the turn was cut off
        self.checkpoints: Callable[[], Any] | None = None
        self.calls: dict[str, asyncio.Future[Any]] = {}  # of ``tools``, those of this process
        self.changed = False  # since it was stored
        self._turn = turn
        self._running: set[str] = set()  # nodes of this step
        self._lock = asyncio.Lock()

    def ran(self, node: str) -> None:
        """A node of the outermost graph has ended."""
        self._running.add(node)

    def passed_step(self, graph: str) -> None:
        """A step of a graph (its namespace) is over: its tool calls are in the graph's state."""
        self.record.said = self.said
        for key in [key for key in self.record.tools if key.startswith(graph)]:
            del self.record.tools[key]
            self.calls.pop(key, None)
        if not graph:
            self.record.outer = self.said
            self.record.ran, self._running = sorted(self._running), set()

    async def keep(self) -> None:
        """Store the record as it stands; return when it is stored."""
        self.changed = True
        await self.flush()

    async def flush(self) -> None:
        """Store the record if it has changed."""
        async with self._lock:
            if not self.changed:  # another one that waited has stored it too
                return
            self.changed = False
            if self.checkpoints is not None:
                self.record.checkpoints = self.checkpoints()
                self.record.lost = self.record.checkpoints is None
            await self._turn.keep(msgspec.to_builtins(self.record))

    async def end(self, messages: list[Any] | None) -> None:
        """Store that the graph has ended, with the messages of the turn, and nothing more."""
        self.checkpoints = None
        said = 0 if messages is None else self.record.outer or 0
        self.record = Record(done=True, messages=messages, said=said)
        await self.keep()


def load(stored: Any) -> Record | None:
    """A record of this adapter; None for what is none."""
    try:
        record = msgspec.convert(stored, Record)
    except msgspec.ValidationError:
        return None
    return record if record.kind == KIND else None
