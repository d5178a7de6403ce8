"""Slow echo whose answers end only when a test allows it, and that can ask about an order."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from sessile import Output, ToolCallPart, Turn
from sessile.agents.echo import EchoAgent

PACE = 0.03  # seconds between words
ORDER = {"order_id": 653247040368672768, "rate": 1.0}
RELEASED = Path("released")  # in the working directory of the server


class HeldAgent(EchoAgent):
    """Like echo, but after the words of a text with ``[[hold]]`` it waits for the file, and before
    those of one with ``[[order]]`` it asks for permission."""

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        if "[[order]]" in turn.content:
            await turn.ask(ToolCallPart("order", "delete_order", ORDER, "pending"))
        async for output in super().reply(turn):
            yield output
        while "[[hold]]" in turn.content and not _is_released():
            await asyncio.sleep(PACE)


def _is_released() -> bool:
    return RELEASED.exists()


agent = HeldAgent(PACE)
