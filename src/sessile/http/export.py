"""A session as a file: JSON, Markdown, or a SQLite database of its own."""

import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from msgspec import UNSET
from starlette.background import BackgroundTask
from starlette.types import Receive, Scope, Send

from sessile.http.context import Context
from sessile.http.responses import FileResponse, Response
from sessile.node.handle import Handle
from sessile.wire.codec import encode
from sessile.wire.messages import Message, Session, decode_message
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


class Download(Response):
    """A body that is made while it is sent, from a generator that is closed in any case."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], media_type: str, filename: str) -> None:
        super().__init__(media_type=media_type, headers={"content-disposition": filename})
        del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def export_response(context: Context, session: Handle, format: str) -> Response:
    """The session as a file of that format: ``json``, ``markdown`` or ``sqlite``."""
    value = await session.read()
    if format == "sqlite":
        return await _sqlite(context, session)
    if format == "markdown":
        return Download(_markdown(session, value), "text/markdown", _attachment(value.id, "md"))
    return Download(_json(session, value), "application/json", _attachment(value.id, "json"))


def _attachment(id: str, suffix: str) -> str:
    name = id.replace(":", "_").replace("~", "_").lstrip(".") or "session"
    return f'attachment; filename="{name}.{suffix}"'


async def _json(session: Handle, value: Session) -> AsyncGenerator[bytes, None]:
    yield b'{"session":%s,"messages":[' % encode(value)
    comma = b""
    async with aclosing(session.walk()) as chunks:
        async for bodies in chunks:
            yield comma + b",".join(bodies)
            comma = b","
    yield b"]}"


async def _markdown(session: Handle, value: Session) -> AsyncGenerator[bytes, None]:
    yield f"# {value.title or value.id}\n".encode()
    async with aclosing(session.walk()) as chunks:
        async for bodies in chunks:
            text = "".join(_section(decode_message(body)) for body in bodies)
            yield text.encode()


def _section(message: Message) -> str:
    when = datetime.fromtimestamp(message.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    status = "" if message.status == "complete" else f" · {message.status}"
    parts = "\n\n".join(_part(part) for part in message.parts)
    return f"\n## {message.role.capitalize()} · {when}{status}\n\n{parts}\n"


def _part(part: Part) -> str:
    match part:
        case TextPart(content):
            return content
        case ReasoningPart(content):
            return "\n".join(f"> {line}".rstrip() for line in content.splitlines())
        case ToolCallPart():
            call = encode(part).decode()
            error = f"\n\n{part.error}" if isinstance(part.error, str) else ""
            return f"**{part.tool_name}** ({part.state})\n\n```json\n{call}\n```{error}"
        case ToolResultPart():
            result = encode(part).decode()
            return f"**{part.tool_name}** ({part.state})\n\n```json\n{result}\n```"
        case FilePart():
            name = part.media_type if part.filename is UNSET else part.filename
            return f"[{name}]({part.url})"
        case SourcePart():
            return f"[{part.url if part.title is UNSET else part.title}]({part.url})"
        case DataPart(name, data):
            return f"**{name}**\n\n```json\n{encode(data).decode()}\n```"


async def _sqlite(context: Context, session: Handle) -> Response:
    folder = tempfile.TemporaryDirectory(prefix="sessile-export-")
    path = f"{folder.name}/session.db"
    try:
        await context.write_sqlite(path, session)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        media_type="application/vnd.sqlite3",
        headers={"content-disposition": _attachment(session.id, "db")},
        background=BackgroundTask(folder.cleanup),
    )
