"""Creates databases with long histories, without a server."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from sessile import Message, TextPart
from sessile.agents.echo import EchoAgent
from sessile.bus.memory import MemoryBus
from sessile.node.registry import Registry
from sessile.store.sqlite.store import SQLiteStore
from sessile.wire.errors import SearchTooSlow
from sessile.wire.messages import Role
from sessile.wire.parts import Part

WORDS = "one two three four five six seven eight nine ten"
CHUNK = 2_000


def seed(path: Path, sizes: Sequence[int]) -> None:
    """A session ``s{size}`` of each size: messages ``m0``, ``m1``, …, half of them answers."""
    asyncio.run(_seed(path, sizes))


async def _seed(path: Path, sizes: Sequence[int]) -> None:
    store = SQLiteStore(path)
    await store.open()
    registry = Registry(store, MemoryBus(), EchoAgent())
    await registry.open()
    for size in sizes:
        await registry.adopt(f"s{size}", _chunks(size), f"{size} messages", {}, False)
    await _search(store)
    await registry.close()
    await store.close()


async def _search(store: SQLiteStore) -> None:
    """Search until the index is up to date."""
    while True:
        try:
            await store.search(["nothing"], 1)
        except SearchTooSlow:
            continue
        return


async def _chunks(size: int) -> AsyncGenerator[list[Message], None]:
    for start in range(0, size, CHUNK):
        yield [_message(index) for index in range(start, min(size, start + CHUNK))]


def _message(index: int) -> Message:
    role: Role = "assistant" if index % 2 else "user"
    parts: list[Part] = [TextPart(WORDS)]
    return Message(f"m{index}", role, WORDS, parts, 1_700_000_000 + index, 0, "complete")
