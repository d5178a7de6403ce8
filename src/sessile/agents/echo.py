"""An agent that answers with the user's own text. It needs no API key; tests and benchmarks use it."""

import asyncio
import re
from collections.abc import AsyncGenerator

from sessile.agents.base import Output, Turn
from sessile.wire.ids import new_id
from sessile.wire.parts import ToolCallPart

_WORDS = re.compile(r"^\s+|\S+\s*")


class EchoAgent:
    """Yields the user's text word by word (a word and the spaces after it).

    ``delay`` is in seconds, between words. ``[[tool]]`` in the text shows a tool call first;
    ``[[ask]]`` asks for permission before that tool call; ``[[fail]]`` raises an error after half of the words.
    """

    name = "echo"

    def __init__(self, delay: float = 0) -> None:
        self._delay = delay

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        text = turn.content
        if "[[tool]]" in text or "[[ask]]" in text:
            async for call in self._tool(turn):
                yield call
        words = _WORDS.findall(text)
        fails_at = len(words) // 2 if "[[fail]]" in text else -1
        for index, word in enumerate(words):
            if index == fails_at:
                raise RuntimeError("the message asked for it with [[fail]]")
            if index and self._delay:
                await asyncio.sleep(self._delay)
            yield word

    async def _tool(self, turn: Turn) -> AsyncGenerator[ToolCallPart, None]:
        text = turn.content
        call_id, given = new_id(), {"text": text}
        call = ToolCallPart(call_id, "echo", given, "pending")
        yield call
        if "[[ask]]" in text and not (await turn.ask(call)).approved:
            return
        await asyncio.sleep(self._delay)
        yield ToolCallPart(call_id, "echo", given, "running")
        await asyncio.sleep(self._delay)
        yield ToolCallPart(call_id, "echo", given, "complete", tool_output=text)
