"""The routes under ``/sessions``: create, list, change, delete, and their messages."""

from starlette.requests import Request
from starlette.responses import Response

from sessile.http.context import Context
from sessile.http.export import export_response
from sessile.http.parsing import (
    PAGE_DEFAULT,
    PAGE_MOST,
    CreateBody,
    PartsBody,
    StoreBody,
    UpdateBody,
    check_message_id,
    check_session_id,
    choice,
    draft_of,
    flag,
    number,
    parse_body,
    session_id,
)
from sessile.http.responses import JSONResponse
from sessile.session.journal import value_of
from sessile.wire.errors import SessionNotFound
from sessile.wire.ids import new_id


class SessionRoutes:
    """What is done with sessions as such."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create(self, request: Request) -> Response:
        body = await parse_body(request, CreateBody, self._context.limits, empty=b"{}")
        id = new_id() if body.id is None else check_session_id(body.id)
        async with self._context.registry.use(id) as session:
            created = await session.create(body.title, body.metadata)
        return JSONResponse(created, status_code=201)

    async def list(self, request: Request) -> Response:
        limit = number(request, "limit", PAGE_DEFAULT, 1, PAGE_MOST)
        query = request.query_params
        archived = flag(request, "archived") or False
        rows = await self._context.store.rows(
            limit + 1, query.get("before"), query.get("q") or None, archived
        )
        has_more = "true" if len(rows) > limit else "false"
        values = [value_of(row) for row in rows[:limit]]
        return JSONResponse(values, headers={"x-has-more": has_more})

    async def read(self, request: Request) -> Response:
        async with self._context.registry.use(session_id(request)) as session:
            if not session.exists:
                raise SessionNotFound
            return JSONResponse(await session.read())

    async def update(self, request: Request) -> Response:
        id = session_id(request)
        body = await parse_body(request, UpdateBody, self._context.limits)
        async with self._context.registry.use(id) as session:
            if not session.exists:
                raise SessionNotFound
            value = await session.update(body.title, body.archived, body.metadata)
        return JSONResponse(value)

    async def delete(self, request: Request) -> Response:
        async with self._context.registry.use(session_id(request)) as session:
            if not session.exists:
                raise SessionNotFound
            await session.delete()
        return Response(status_code=204)

    async def store_message(self, request: Request) -> Response:
        id = session_id(request)
        body = await parse_body(request, StoreBody, self._context.limits)
        draft = draft_of(body, body.role, request.headers.get("idempotency-key"))
        async with self._context.registry.use(id) as session:
            message = await session.persist_message(draft)
        return JSONResponse(message, status_code=201)

    async def update_message(self, request: Request) -> Response:
        id, message_id = session_id(request), _message_id(request)
        body = await parse_body(request, PartsBody, self._context.limits)
        async with self._context.registry.use(id) as session:
            if not session.exists:
                raise SessionNotFound
            message = await session.update_message_parts(message_id, body.parts)
        return JSONResponse(message)

    async def delete_message(self, request: Request) -> Response:
        id, message_id = session_id(request), _message_id(request)
        async with self._context.registry.use(id) as session:
            if not session.exists:
                raise SessionNotFound
            await session.delete_message(message_id)
        return Response(status_code=204)

    async def export(self, request: Request) -> Response:
        id = session_id(request)
        format = choice(request, "format", "json", "markdown", "sqlite")
        return await export_response(self._context, id, format)


def _message_id(request: Request) -> str:
    return check_message_id(request.path_params["message_id"])
