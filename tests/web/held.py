"""Slow echo whose answers end only when a test allows it."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from sessile import Output, Turn
from sessile.agents.echo import EchoAgent

PACE = 0.03  # seconds between words
RELEASED = Path("released")  # in the working directory of the server


class HeldAgent(EchoAgent):
    """Like echo, but after the words of a text with ``[[hold]]`` it waits for the file."""

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        async for output in super().reply(turn):
            yield output
        while "[[hold]]" in turn.content and not _is_released():
            await asyncio.sleep(PACE)


def _is_released() -> bool:
    return RELEASED.exists()


agent = HeldAgent(PACE)
