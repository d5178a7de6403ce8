"""From requests to values: every rule about what a client may send, and what it is told."""

import json
import re
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request

from sessile.agents.base import Decision
from sessile.http.context import Limits
from sessile.session.inbox import Draft
from sessile.wire.errors import (
    BodyTooLarge,
    ContentRequired,
    InvalidMessageId,
    InvalidRequest,
    InvalidSessionId,
)
from sessile.wire.messages import Metadata, Role, WhileBusy
from sessile.wire.parts import Part, TextPart, text_of

T = TypeVar("T")

_SESSION_ID = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_MESSAGE_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}")

PAGE_MOST = 200
PAGE_DEFAULT = 25


# Bodies -----------------------------------------------------------------------------------------


class MessageBody(Struct, rename="camel"):
    """A message as a client sends it: ``content``, or ``parts``."""

    content: str | None = None
    parts: list[Part] | None = None
    id: str | None = None
    metadata: Metadata | None = None


class SendBody(MessageBody, rename="camel"):
    """A message that shall be answered."""

    while_busy: WhileBusy = "queue"
    replaces: str | None = None


class StoreBody(MessageBody, rename="camel"):
    """A message that shall be stored."""

    role: Role = "user"


class RegenerateBody(Struct, rename="camel"):
    """Which answer to make anew; the last by default."""

    message_id: str | None = None


class ApproveBody(Struct):
    """What somebody decided about a question of an agent."""

    approve: bool
    always: bool = False
    message: str = ""


class ApproveCommand(ApproveBody, rename="camel"):
    """The same over WebSocket, with the question's id as ``approvalId`` or ``id``."""

    approval_id: str | None = None
    id: str | None = None


class PartsBody(Struct):
    """The new parts of a message."""

    parts: list[Part]


class CreateBody(Struct):
    """A session before its first message."""

    id: str | None = None
    title: str | None = None
    metadata: Metadata | None = None


class ForkBody(Struct):
    """Up to and with which message; all by default. ``id`` and ``title`` are the fork's."""

    at: str | None = None
    id: str | None = None
    title: str | None = None


class UpdateBody(Struct):
    """What shall change of a session; ``metadata`` is merged, null removes a name."""

    title: str | None = None
    archived: bool | None = None
    metadata: Metadata | None = None


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


def draft_of(body: MessageBody, role: Role = "user", key: str | None = None) -> Draft:
    """The message that a body asks to store.

    ``key`` is an ``Idempotency-Key``. Raises :class:`~sessile.wire.errors.ContentRequired` and
    :class:`~sessile.wire.errors.InvalidRequest`.
    """
    id = body.id
    if key is not None:
        if id is not None and id != key:
            raise InvalidRequest("`id` and the Idempotency-Key header differ.")
        id = key
    if id is not None:
        check_message_id(id)
    return Draft(_parts(body), role, id, body.metadata)


def decision_of(body: ApproveBody) -> Decision:
    """What a body decides about a question."""
    return Decision("approved" if body.approve else "denied", body.message, body.always)


def _parts(body: MessageBody) -> list[Part]:
    if body.parts is None:
        if body.content is None or not body.content.strip():
            raise ContentRequired
        return [TextPart(body.content)]
    text = text_of(body.parts)
    if body.content is not None and body.content != text:
        raise InvalidRequest("`content` is not the text of `parts`; send one of the two.")
    if not text.strip() and all(isinstance(part, TextPart) for part in body.parts):
        raise ContentRequired
    return body.parts


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


# Ids and query parameters -----------------------------------------------------------------------


def check_session_id(id: str) -> str:
    if not _SESSION_ID.fullmatch(id):
        raise InvalidSessionId
    return id


def check_message_id(id: str) -> str:
    if not _MESSAGE_ID.fullmatch(id):
        raise InvalidMessageId
    return id


def session_id(request: Request) -> str:
    return check_session_id(request.path_params["session_id"])


def parameter(request: Request, name: str) -> str | None:
    """A parameter of the query; most requests have none, and for them nothing is parsed."""
    return request.query_params.get(name) if request.scope["query_string"] else None


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A query parameter that is a number in a range."""
    value = parameter(request, name)
    if value is None:
        return default
    return _number(value, f"`{name}`", least, most)


def cursor(value: str | None, name: str) -> int | None:
    """The number of an event, from a query parameter or a header."""
    return _number(value, f"`{name}`", 0, 2**53) if value else None


def _number(value: str, name: str, least: int, most: int) -> int:
    wrong = InvalidRequest(f"{name} must be a number from {least} to {most}.")
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise wrong
    found = int(value)
    if not least <= found <= most:
        raise wrong
    return found


def flag(request: Request, name: str) -> bool | None:
    """A query parameter that is true or false."""
    value = parameter(request, name)
    if value is None:
        return None
    if value not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"`{name}` must be true or false.")
    return value in ("true", "1")


def choice(request: Request, name: str, *allowed: str) -> str:
    """A query parameter that is one of some words; the first is its default."""
    value = request.query_params.get(name, allowed[0])
    if value not in allowed:
        raise InvalidRequest(f"`{name}` must be one of {', '.join(allowed)}.")
    return value
