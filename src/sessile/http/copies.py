"""Sessions made of others: fork and import."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct
from starlette.requests import Request

from sessile.http.bodies import ForkBody
from sessile.http.context import Context
from sessile.http.foreign import ImportedSessions, adopted, import_all
from sessile.http.operations import SESSION, WRITING, operation, text
from sessile.http.parsing import body_chunks, parse_body
from sessile.http.query import SESSION_ID_SCHEMA, check_session_id
from sessile.http.responses import JSONResponse, Response
from sessile.node.handle import Handle
from sessile.wire.errors import (
    MessageNotFound,
    SessionExists,
    SessionNotFound,
    TurnInProgress,
    Unavailable,
)
from sessile.wire.ids import new_id
from sessile.wire.messages import (
    ExportedSession,
    ForeignExport,
    Message,
    ReadPiece,
    Session,
    decode_message,
)

IMPORTS = 4  # that are read at once


class ImportBody(Struct):
    """An export in JSON."""

    session: ExportedSession
    messages: list[Message]


class CopyRoutes:
    """What makes a session of another one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access = context.access
        self._importing = asyncio.Semaphore(IMPORTS)

    @operation(
        "POST",
        SESSION + "/fork",
        Session,
        status=201,
        body=ForkBody,
        optional=True,
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
        (Session, ImportedSessions),
        status=201,
        body=ImportBody,
        parameters=[text("id", "Another id than the exported session's.", **SESSION_ID_SCHEMA)],
        errors=[*WRITING, SessionExists],
        tag="sessions",
    )
    async def import_(self, request: Request) -> Response:
        """Make a session of an export, in JSON or as a SQLite file, or several of one of another
        chat."""
        id = request.query_params.get("id")
        if id is not None:
            check_session_id(id)
        async with self._importing, aclosing(self._read(request)) as reading:
            found = await anext(reading)
            value: Session | ImportedSessions
            if isinstance(found, ExportedSession):
                session = self._access.session(found.id if id is None else id)
                value = await adopted(session, found, reading)
            else:
                assert isinstance(found, ForeignExport)
                value = await import_all(self._access, reading, found.count, id)
        return JSONResponse(value, status_code=201)

    async def _read(self, request: Request) -> AsyncGenerator[ReadPiece, None]:
        # A file without a name: nothing of it is left, however this process ends.
        with tempfile.TemporaryFile() as file:
            try:
                async for chunk in body_chunks(request, self._context.limits.imported):
                    await asyncio.to_thread(file.write, chunk)
                file.flush()
            except OSError as error:
                raise Unavailable(f"The import could not be kept: {error.strerror}.") from error
            async with aclosing(self._context.read_export(file)) as reading:
                async for found in reading:
                    yield found


async def _settled(session: Handle, last: int | None) -> AsyncGenerator[list[Message], None]:
    """The messages up to a number that are neither being written nor waiting."""
    async with aclosing(session.walk()) as chunks:
        async for bodies in chunks:
            messages = [decode_message(body) for body in bodies]
            settled = [m for m in messages if m.status not in ("queued", "streaming")]
            yield [m for m in settled if last is None or m.seq <= last]
            if last is not None and messages[-1].seq >= last:
                return
