"""The body of a provider's reply: a stream of chunks, or one whole completion."""

import codecs
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from sessile.agents.kit.providers import provider_error
from sessile.wire.errors import AgentError
from sessile.wire.sse import Parser, ServerSentEvent

DONE = "[DONE]"  # the value that ends a stream

LARGEST = 32 * 1024 * 1024  # bytes of a completion that comes whole


async def values(body: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    """The JSON values of a reply, and ``DONE`` after the last if the provider said so.

    What the body is shows in its first character: some servers give no or a false media type.
    Raises :class:`~sessile.wire.errors.AgentError` for what cannot be read.
    """
    start = b""
    async for piece in body:
        start = (start + piece).removeprefix(codecs.BOM_UTF8)
        if start.strip():
            break
    first = start.lstrip()[:1]
    if first == b"<":
        raise AgentError(
            "The address of the model's provider answers with a web page, not with a completion. "
            "Check OPENAI_BASE_URL."
        )
    events = _whole(start, body) if first in (b"{", b"[") else _events(start, body)
    async with aclosing(events):
        async for value in events:
            yield value


async def _whole(start: bytes, body: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    text = bytearray(start)
    async for piece in body:
        text += piece
        if len(text) > LARGEST:
            raise provider_error("broken", f"its reply has more than {LARGEST} bytes")
    yield _read(text.decode(errors="replace"))
    yield DONE


async def _events(start: bytes, body: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
    parser = Parser(short="error")  # of llama.cpp until 2025
    for event in parser.feed(start):
        yield _value(event)
    async for piece in body:
        for event in parser.feed(piece):
            yield _value(event)
    for event in parser.feed(b"\n\n"):  # the last event may lack its empty line
        yield _value(event)


def _value(event: ServerSentEvent) -> Any:
    data = event.data.strip()
    if data == DONE:
        return DONE
    if data[:1] not in ("{", "["):
        # A word to keep the connection open, or an error in words.
        return {"error": data} if event.event == "error" else None
    value = _read(data)
    if event.event == "error" and isinstance(value, dict) and not value.get("error"):
        return {"error": value}
    return value


def _read(text: str) -> Any:
    try:
        return json.loads(text)  # msgspec refuses halves of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise provider_error("broken", f"its reply cannot be read: {error}") from error
