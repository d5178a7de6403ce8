"""The routes under ``/sessions``: create, list, change, delete, and their messages."""

from collections.abc import AsyncGenerator

from starlette.requests import Request

from sessile.http.access import Access
from sessile.http.bodies import CreateBody, MessageChangesBody, StoreBody, UpdateBody, draft_of
from sessile.http.context import Context
from sessile.http.export import export_response
from sessile.http.operations import (
    KEY,
    LIMIT,
    MESSAGE,
    READING,
    SESSION,
    WRITING,
    Parameter,
    operation,
    text,
)
from sessile.http.parsing import parse_body
from sessile.http.query import (
    PAGE_DEFAULT,
    PAGE_MOST,
    check_session_id,
    choice,
    flag,
    message_id,
    number,
)
from sessile.http.responses import JSONResponse, Response, json_array, streamed
from sessile.wire.codec import encode
from sessile.wire.errors import (
    ContentRequired,
    HostNotAllowed,
    InvalidRequest,
    MessageConflict,
    MessageDeleted,
    MessageNotFound,
    OriginNotAllowed,
    SessionExists,
    SessionNotFound,
    StoreUnavailable,
    TurnInProgress,
)
from sessile.wire.ids import new_id
from sessile.wire.messages import Message, Session


class SessionRoutes:
    """What is done with sessions as such."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access = context.access

    @operation(
        "POST",
        "/sessions",
        Session,
        status=201,
        body=CreateBody,
        optional=True,
        errors=[*WRITING, SessionExists],
        tag="sessions",
    )
    async def create(self, request: Request) -> Response:
        """Create a session before its first message."""
        body = await parse_body(request, CreateBody, self._context.limits, empty=b"{}")
        id = new_id() if body.id is None else check_session_id(body.id)
        created = await self._access.session(id).create(body.title, body.metadata)
        return JSONResponse(created, status_code=201)

    @operation(
        "GET",
        "/sessions",
        list[Session],
        parameters=[
            LIMIT,
            text("before", "Those after this session in the list."),
            text("q", "A part of the title or the id."),
            Parameter("archived", {"type": "boolean", "default": False}, "The archived ones."),
        ],
        errors=[HostNotAllowed, StoreUnavailable, InvalidRequest, SessionNotFound],
        tag="sessions",
    )
    async def list(self, request: Request) -> Response:
        """The sessions by their newest activity."""
        limit = number(request, "limit", PAGE_DEFAULT, 1, PAGE_MOST)
        query = request.query_params
        archived = flag(request, "archived") or False
        ids = await self._access.listed(
            limit + 1, query.get("before"), query.get("q") or None, archived
        )
        headers = {"x-has-more": "true" if len(ids) > limit else "false"}
        chunks = _encoded(self._access, ids[:limit])
        return await streamed(json_array(chunks), "application/json", headers)

    @operation("GET", SESSION, Session, errors=[*READING, SessionNotFound], tag="sessions")
    async def read(self, request: Request) -> Response:
        """One session."""
        return JSONResponse(await self._access.of(request).read())

    @operation(
        "PATCH",
        SESSION,
        Session,
        body=UpdateBody,
        errors=[*WRITING, SessionNotFound],
        tag="sessions",
    )
    async def update(self, request: Request) -> Response:
        """Rename or archive a session, or merge metadata into it."""
        session = self._access.of(request)
        body = await parse_body(request, UpdateBody, self._context.limits)
        return JSONResponse(await session.update(body.title, body.archived, body.metadata))

    @operation(
        "DELETE",
        SESSION,
        status=204,
        errors=[*READING, OriginNotAllowed, SessionNotFound],
        tag="sessions",
    )
    async def delete(self, request: Request) -> Response:
        """Delete a session and all it has."""
        await self._access.of(request).delete()
        return Response(status_code=204)

    @operation(
        "POST",
        SESSION + "/messages",
        Message,
        status=201,
        body=StoreBody,
        parameters=[KEY],
        errors=[*WRITING, ContentRequired, MessageConflict, MessageDeleted],
        tag="sessions",
    )
    async def store_message(self, request: Request) -> Response:
        """Store a message without running an agent."""
        session = self._access.of(request)
        body = await parse_body(request, StoreBody, self._context.limits)
        draft = draft_of(body, body.role, request.headers.get("idempotency-key"))
        return JSONResponse(await session.persist_message(draft), status_code=201)

    @operation(
        "PATCH",
        MESSAGE,
        Message,
        body=MessageChangesBody,
        errors=[*WRITING, SessionNotFound, MessageNotFound, TurnInProgress],
        tag="sessions",
    )
    async def update_message(self, request: Request) -> Response:
        """Replace the parts of a message, or merge into its metadata; null removes a name."""
        session, id = self._access.of(request), message_id(request)
        body = await parse_body(request, MessageChangesBody, self._context.limits)
        if body.parts is None and body.metadata is None:
            raise InvalidRequest("The body needs `parts` or `metadata`.")
        return JSONResponse(await session.update_message(id, body.parts, body.metadata))

    @operation(
        "DELETE",
        MESSAGE,
        status=204,
        errors=[*READING, OriginNotAllowed, SessionNotFound, MessageNotFound, TurnInProgress],
        tag="sessions",
    )
    async def delete_message(self, request: Request) -> Response:
        """Delete a message, or withdraw one that is queued."""
        session, id = self._access.of(request), message_id(request)
        await session.delete_message(id)
        return Response(status_code=204)

    @operation(
        "GET",
        SESSION + "/export",
        "application/json text/markdown application/vnd.sqlite3",
        parameters=[text("format", "What file.", enum=["json", "markdown", "sqlite"])],
        errors=[*READING, InvalidRequest, SessionNotFound],
        tag="sessions",
    )
    async def export(self, request: Request) -> Response:
        """The session as a file."""
        session = self._access.of(request)
        format = choice(request, "format", "json", "markdown", "sqlite")
        return await export_response(self._context, session, format)


async def _encoded(access: Access, ids: list[str]) -> AsyncGenerator[list[bytes], None]:
    async for found in access.sessions(ids):
        yield [encode(session) for session in found]
