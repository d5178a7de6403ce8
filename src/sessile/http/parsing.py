"""JSON that clients send to values, with what is wrong and where."""

import json
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from sessile.http.context import Limits
from sessile.wire.errors import BodyTooLarge, InvalidRequest

T = TypeVar("T")

_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def parse(data: bytes | str, type: type[T], depth: int) -> T:
    """JSON to a value of a type.

    Raises :class:`~sessile.wire.errors.InvalidRequest` with what is wrong and where.
    """
    decoder = _decoders.get(type)
    if decoder is None:
        decoder = _decoders[type] = msgspec.json.Decoder(type)
    try:
        value: T = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_sentence(str(error))) from None
    except RecursionError:
        raise InvalidRequest(f"The JSON is nested more than {depth} deep.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(_why_not_json(data, error)) from None
    if _openings(data) > depth and _depth(value) > depth:
        raise InvalidRequest(f"The JSON is nested more than {depth} deep.")
    return value


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request; raises :class:`~sessile.wire.errors.BodyTooLarge` as soon as it is."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
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
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is over the limit of {limit} bytes.")


async def parse_body(request: Request, type: type[T], limits: Limits, empty: bytes = b"") -> T:
    """The body of a request as a value of a type; ``empty`` stands for none."""
    data = await read_body(request, limits.body) or empty
    return parse(data, type, limits.depth)


def _sentence(error: str) -> str:
    what, _, where = error.partition(" - at ")
    return f"{what}, at {where}." if where else f"{what}."


def _why_not_json(data: bytes | str, error: Exception) -> str:
    try:
        found = _lone_surrogate(json.loads(data), "$")
    except (ValueError, RecursionError):
        found = None
    if found:
        return f"The text at `{found}` has a lone surrogate, which is not a character."
    return f"The body is not JSON: {error}."


def _lone_surrogate(value: object, path: str) -> str | None:
    """Where a text is that UTF-8 cannot hold."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if found := _lone_surrogate(item, f"{path}[{index}]"):
                return found
    elif isinstance(value, dict):
        for name, item in value.items():
            if _lone_surrogate(name, path):
                return f"{path} (a name)"
            if found := _lone_surrogate(item, f"{path}.{name}"):
                return found
    return None


def _openings(data: bytes | str) -> int:
    """How many arrays and objects there can be at most: few cannot be nested deep."""
    if isinstance(data, str):
        return data.count("[") + data.count("{")
    return data.count(b"[") + data.count(b"{")


def _depth(value: object) -> int:
    """How deep JSON values are nested; counted level by level, not by recursion."""
    depth = 0
    level: list[object] = [msgspec.to_builtins(value)]
    while level:
        depth += 1
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = inner
    return depth
