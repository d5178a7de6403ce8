"""The bodies of requests."""

from collections.abc import AsyncGenerator
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from sessile.http.context import Limits
from sessile.wire.errors import BodyTooLarge
from sessile.wire.parse import parse

T = TypeVar("T")


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request; raises :class:`~sessile.wire.errors.BodyTooLarge` as soon as it is."""
    chunks = [chunk async for chunk in body_chunks(request, limit)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def body_chunks(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body of a request as it arrives; raises as :func:`read_body` does."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
        yield chunk


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is over the limit of {limit} bytes.")


async def parse_body(request: Request, type: type[T], limits: Limits, empty: bytes = b"") -> T:
    """The body of a request as a value of a type; ``empty`` stands for none."""
    data = await read_body(request, limits.body) or empty
    return parse(data, type)
