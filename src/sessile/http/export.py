"""A session as a file: JSON, Markdown, or a SQLite database of its own."""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import IO, Any

from msgspec import UNSET

from sessile.http.context import Context
from sessile.http.markdown import contained, fenced, inline, link, quoted
from sessile.http.responses import Response, json_array, streamed
from sessile.node.handle import Handle
from sessile.wire.codec import encode
from sessile.wire.errors import SessionUnreadable
from sessile.wire.messages import Session, decode_message
from sessile.wire.parts import (
    DataPart,
    FilePart,
    Part,
    ReasoningPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

PIECE = 256 * 1024  # bytes of a file that are read at once


async def export_response(context: Context, session: Handle, format: str) -> Response:
    """The session as a file of that format: ``json``, ``markdown`` or ``sqlite``."""
    value = await session.read()
    if format == "sqlite":
        return await _sqlite(context, session)
    if format == "markdown":
        return await streamed(
            _markdown(session, value), "text/markdown", _attachment(value.id, "md")
        )
    start = b'{"session":%s,"messages":[' % encode(value)
    chunks = json_array(session.walk(), start, b"]}")
    return await streamed(chunks, "application/json", _attachment(value.id, "json"))


def _attachment(id: str, suffix: str) -> dict[str, str]:
    name = id.replace(":", "_").replace("~", "_").lstrip(".") or "session"
    return {"content-disposition": f'attachment; filename="{name}.{suffix}"'}


async def _markdown(session: Handle, value: Session) -> AsyncGenerator[bytes, None]:
    yield f"# {inline(value.title) or inline(value.id)}\n".encode()
    async with aclosing(session.walk()) as chunks:
        async for bodies in chunks:
            yield await asyncio.to_thread(_sections, bodies)


def _sections(bodies: list[bytes]) -> bytes:
    return "".join(map(_section, bodies)).encode(errors="replace")


def _section(body: bytes) -> str:
    try:
        message = decode_message(body)
    except SessionUnreadable:
        return "\n## A message that cannot be read\n"
    when = _when(message.created_at)
    status = "" if message.status == "complete" else f" · {message.status}"
    parts = "\n\n".join(_part(part) for part in message.parts)
    return f"\n## {message.role.capitalize()} · {when}{status}\n\n{parts}\n"


def _when(time: int) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):  # out of what a calendar has
        return "at an unknown time"


def _part(part: Part) -> str:
    match part:
        case TextPart(content):
            return contained(content)
        case ReasoningPart(content):
            return quoted(content)
        case ToolCallPart():
            error = f"\n\n{fenced(part.error)}" if isinstance(part.error, str) else ""
            return _value(part.tool_name, part, part.state) + error
        case ToolResultPart():
            return _value(part.tool_name, part, part.state)
        case FilePart():
            return link(part.media_type if part.filename is UNSET else part.filename, part.url)
        case SourcePart():
            return link(part.url if part.title is UNSET else part.title, part.url)
        case DataPart(name, data):
            return _value(name, data)


def _value(name: str, value: Any, state: str = "") -> str:
    """A value as JSON, under its name."""
    shown = f" ({inline(state)})" if state else ""
    return f"**{inline(name)}**{shown}\n\n{fenced(encode(value).decode(), 'json')}"


async def _sqlite(context: Context, session: Handle) -> Response:
    number, path = tempfile.mkstemp(prefix="sessile-export-")
    file = os.fdopen(number, "rb")  # closed with the response
    try:
        await context.write_sqlite(path, session)
        headers = _attachment(session.id, "db")
        headers["content-length"] = str(os.fstat(number).st_size)
        return await streamed(_pieces(file), "application/vnd.sqlite3", headers)
    except BaseException:
        file.close()
        raise


async def _pieces(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
