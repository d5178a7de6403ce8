"""Sessions made of others: fork and import."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from msgspec import Struct
from starlette.requests import Request

from sessile.http.bodies import ForkBody
from sessile.http.context import Context
from sessile.http.operations import SESSION, WRITING, operation, text
from sessile.http.parsing import parse, parse_body, read_body
from sessile.http.query import check_message_id, check_session_id
from sessile.http.responses import JSONResponse, Response
from sessile.node.handle import Handle
from sessile.wire.errors import (
    InvalidRequest,
    MessageNotFound,
    SessionExists,
    SessionNotFound,
    TurnInProgress,
)
from sessile.wire.ids import new_id
from sessile.wire.messages import ExportedSession, Message, Session, decode_message

SQLITE_MAGIC = b"SQLite format 3\0"
CHUNK = 500  # messages written in one transaction


class ImportBody(Struct):
    """An export in JSON."""

    session: ExportedSession
    messages: list[Message]


class CopyRoutes:
    """What makes a session of another one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access = context.access

    @operation(
        "POST",
        SESSION + "/fork",
        Session,
        status=201,
        body=ForkBody,
        errors=[*WRITING, SessionNotFound, MessageNotFound, TurnInProgress, SessionExists],
        tag="sessions",
    )
    async def fork(self, request: Request) -> Response:
        """Make a new session of the history up to a message."""
        session = self._access.of(request)
        body = await parse_body(request, ForkBody, self._context.limits, empty=b"{}")
        fork = self._access.session(new_id() if body.id is None else body.id)
        source = await session.read()
        last = None if body.at is None else await session.settled_message(body.at)
        metadata = source.metadata | {"forkedFrom": {"session": source.id, "message": body.at}}
        value = await fork.adopt(
            _settled(session, None if last is None else last.seq),
            source.title if body.title is None else body.title,
            metadata,
        )
        return JSONResponse(value, status_code=201)

    @operation(
        "POST",
        "/sessions/import",
        Session,
        status=201,
        body=ImportBody,
        parameters=[text("id", "Another id than the exported session's.")],
        errors=[*WRITING, SessionExists],
        tag="sessions",
    )
    async def import_(self, request: Request) -> Response:
        """Make a session of an export, in JSON or as a SQLite file."""
        limits = self._context.limits
        data = await read_body(request, limits.imported)
        if data.startswith(SQLITE_MAGIC):
            session, messages = await self._from_sqlite(data)
        else:
            body = await asyncio.to_thread(parse, data, ImportBody, limits.depth)
            session, messages = body.session, body.messages
        id = check_session_id(request.query_params.get("id", session.id))
        _check(messages)
        value = await self._access.session(id).adopt(
            _chunks(messages), session.title, session.metadata, session.archived
        )
        return JSONResponse(value, status_code=201)

    async def _from_sqlite(self, data: bytes) -> tuple[ExportedSession, list[Message]]:
        with tempfile.TemporaryDirectory(prefix="sessile-import-") as folder:
            path = Path(folder) / "session.db"

            def read() -> tuple[ExportedSession, list[Message]]:
                path.write_bytes(data)
                return self._context.read_sqlite(str(path))

            return await asyncio.to_thread(read)


def _check(messages: Iterable[Message]) -> None:
    ids: set[str] = set()
    for message in messages:
        check_message_id(message.id)
        if message.id in ids:
            raise InvalidRequest(f"Two messages have the id {message.id}.")
        ids.add(message.id)


async def _settled(session: Handle, last: int | None) -> AsyncGenerator[list[Message], None]:
    """The messages up to a number that are neither being written nor waiting."""
    async with aclosing(session.walk()) as chunks:
        async for bodies in chunks:
            messages = [decode_message(body) for body in bodies]
            settled = [m for m in messages if m.status not in ("queued", "streaming")]
            yield [m for m in settled if last is None or m.seq <= last]
            if last is not None and messages[-1].seq >= last:
                return


async def _chunks(messages: list[Message]) -> AsyncGenerator[list[Message], None]:
    for start in range(0, len(messages), CHUNK):
        yield messages[start : start + CHUNK]
