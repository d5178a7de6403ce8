"""An agent that answers with the user's own text. It needs no API key; tests and benchmarks use it."""

import asyncio
import re
from collections.abc import AsyncGenerator
from itertools import accumulate

from sessile.agents.base import Output, Turn, Unfinished
from sessile.wire.parts import ToolCallPart

_WORDS = re.compile(r"^\s+|\S+\s*")


def _count(words: list[str], characters: int) -> int:
    """How many words there are in so many characters."""
    lengths = accumulate(map(len, words))
    return sum(length <= characters for length in lengths)


class EchoAgent:
    """Yields the user's text word by word (a word and the spaces after it).

    ``delay`` is in seconds, between words. ``[[tool]]`` in the text shows a tool call first;
    ``[[ask]]`` asks for permission before that tool call, and ``[[call]]`` asks a client for its
    output; ``[[fail]]`` raises an error after half of the words.
    """

    name = "echo"
    continues = True

    def __init__(self, delay: float = 0) -> None:
        self._delay = delay

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        text = turn.content
        if "[[tool]]" in text or "[[ask]]" in text or "[[call]]" in text:
            async for call in self._tool(turn, turn.unfinished or Unfinished([])):
                yield call
        words = _WORDS.findall(text)
        fails_at = len(words) // 2 if "[[fail]]" in text else -1
        said = 0 if turn.unfinished is None else _count(words, len(turn.unfinished.text))
        for index, word in enumerate(words[said:], said):
            if index == fails_at:
                raise RuntimeError("the message asked for it with [[fail]]")
            if index and self._delay:
                await asyncio.sleep(self._delay)
            yield word

    async def _tool(self, turn: Turn, former: Unfinished) -> AsyncGenerator[ToolCallPart, None]:
        text = turn.content
        call_id, given = f"{turn.answer_id}-echo", {"text": text}
        known = former.call(call_id)
        if known is not None and not known.is_open:
            return
        call = ToolCallPart(call_id, "echo", given, "pending")
        if known is None:
            yield call
        if "[[call]]" in text:
            await turn.call(call)
            return
        if "[[ask]]" in text and not (await turn.ask(call)).approved:
            return
        await asyncio.sleep(self._delay)
        yield ToolCallPart(call_id, "echo", given, "running")
        await asyncio.sleep(self._delay)
        yield ToolCallPart(call_id, "echo", given, "complete", tool_output=text)
