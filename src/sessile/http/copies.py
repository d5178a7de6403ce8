"""Sessions made of others: fork and import."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from sessile.http.context import Context
from sessile.http.parsing import (
    ForkBody,
    check_message_id,
    check_session_id,
    parse,
    parse_body,
    read_body,
    session_id,
)
from sessile.http.responses import JSONResponse
from sessile.session.session import Session
from sessile.store.base import Row
from sessile.wire.errors import InvalidRequest, SessionNotFound
from sessile.wire.ids import new_id
from sessile.wire.messages import Message, Metadata, decode_message

SQLITE_MAGIC = b"SQLite format 3\0"
CHUNK = 500  # messages written in one transaction


class ImportedSession(Struct):
    """What is taken over of an exported session."""

    id: str
    title: str = ""
    archived: bool = False
    metadata: Metadata = {}


class ImportBody(Struct):
    """An export in JSON."""

    session: ImportedSession
    messages: list[Message]


class CopyRoutes:
    """What makes a session of another one."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def fork(self, request: Request) -> Response:
        id = session_id(request)
        body = await parse_body(request, ForkBody, self._context.limits, empty=b"{}")
        fork_id = new_id() if body.id is None else check_session_id(body.id)
        async with self._context.registry.use(id) as session:
            if not session.exists:
                raise SessionNotFound
            last = None if body.at is None else (await session.get_message(body.at)).seq
            title = session.row.title if body.title is None else body.title
            metadata = session.row.metadata | {"forkedFrom": {"session": id, "message": body.at}}
            async with self._context.registry.use(fork_id) as fork:
                value = await fork.adopt(_settled(session, last), title, metadata)
        return JSONResponse(value, status_code=201)

    async def import_(self, request: Request) -> Response:
        limits = self._context.limits
        data = await read_body(request, limits.imported)
        if data.startswith(SQLITE_MAGIC):
            row, messages = await self._from_sqlite(data)
            session = ImportedSession(row.id, row.title, row.archived, row.metadata)
        else:
            body = await asyncio.to_thread(parse, data, ImportBody, limits.depth)
            session, messages = body.session, body.messages
        id = check_session_id(request.query_params.get("id", session.id))
        _check(messages)
        async with self._context.registry.use(id) as home:
            value = await home.adopt(
                _chunks(messages), session.title, session.metadata, session.archived
            )
        return JSONResponse(value, status_code=201)

    async def _from_sqlite(self, data: bytes) -> tuple[Row, list[Message]]:
        with tempfile.TemporaryDirectory(prefix="sessile-import-") as folder:
            path = Path(folder) / "session.db"

            def read() -> tuple[Row, list[Message]]:
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


async def _settled(session: Session, last: int | None) -> AsyncGenerator[list[Message], None]:
    """The messages up to a number that are neither being written nor waiting."""
    async for bodies in session.walk():
        messages = [decode_message(body) for body in bodies]
        yield [
            message
            for message in messages
            if message.status not in ("queued", "streaming")
            and (last is None or message.seq <= last)
        ]
        if last is not None and messages and messages[-1].seq >= last:
            return


async def _chunks(messages: list[Message]) -> AsyncGenerator[list[Message], None]:
    for start in range(0, len(messages), CHUNK):
        yield messages[start : start + CHUNK]
