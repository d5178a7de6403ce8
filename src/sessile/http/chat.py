"""The routes under ``/chat``: send, read, stop, regenerate, follow."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from sessile.http.context import Context
from sessile.http.parsing import (
    PAGE_DEFAULT,
    PAGE_MOST,
    ApproveBody,
    RegenerateBody,
    SendBody,
    cursor,
    decision_of,
    draft_of,
    number,
    parameter,
    parse_body,
    session_id,
)
from sessile.http.responses import JSONResponse, page_response
from sessile.http.stream import EventStream
from sessile.protocols import native
from sessile.session.inbox import Sent
from sessile.session.session import Session
from sessile.watch.feed import Watcher
from sessile.wire.codec import encode
from sessile.wire.errors import InvalidRequest, ShuttingDown
from sessile.wire.events import ErrorEvent
from sessile.wire.messages import decode_message
from sessile.wire.sse import HEARTBEAT, frame

_CUT = frame("error", encode(ErrorEvent(str(ShuttingDown()), ShuttingDown.code)))


class ChatRoutes:
    """What is done with one chat."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def send(self, request: Request) -> EventStream:
        id = session_id(request)
        body = await parse_body(request, SendBody, self._context.limits)
        draft = draft_of(body, key=request.headers.get("idempotency-key"))
        return await self._turn(
            id, lambda session: session.send(draft, body.while_busy, body.replaces)
        )

    async def regenerate(self, request: Request) -> EventStream:
        id = session_id(request)
        body = await parse_body(request, RegenerateBody, self._context.limits, empty=b"{}")
        return await self._turn(id, lambda session: session.regenerate(body.message_id))

    async def stop(self, request: Request) -> Response:
        async with self._context.registry.use(session_id(request)) as session:
            return JSONResponse({"stopped": await session.stop()})

    async def approve(self, request: Request) -> Response:
        id = session_id(request)
        decision = decision_of(await parse_body(request, ApproveBody, self._context.limits))
        async with self._context.registry.use(id) as session:
            approval = await session.approve(request.path_params["approval_id"], decision)
        return JSONResponse(approval)

    async def messages(self, request: Request) -> Response:
        id = session_id(request)
        limit = number(request, "limit", PAGE_DEFAULT, 1, PAGE_MOST)
        before = parameter(request, "before")
        after = parameter(request, "after")
        if before is not None and after is not None:
            raise InvalidRequest("`before` and `after` do not go together.")
        async with self._context.registry.use(id) as session:
            bodies, has_more = await session.page(limit, before, after)
        rel, edge = ("prev", 0) if after is None else ("next", -1)
        at = decode_message(bodies[edge]).id if has_more else None
        return page_response(request, bodies, has_more, rel, at)

    async def events(self, request: Request) -> EventStream:
        id = session_id(request)
        after = cursor(request.headers.get("last-event-id"), "Last-Event-ID")
        if after is None:
            after = cursor(parameter(request, "after"), "after")
        context = self._context
        watcher = context.feeds.watch(id)
        try:
            if after is None:
                row = await context.store.row(id)
                after = row.seq if row else 0
        except BaseException:
            context.feeds.leave(watcher)
            raise
        watcher.cursor = after
        return EventStream(
            context.feeds,
            watcher,
            native.SessionStream(),
            context.limits.heartbeat,
            first=HEARTBEAT,
        )

    async def _turn(self, id: str, begin: Callable[[Session], Awaitable[Sent]]) -> EventStream:
        """Watch, then begin (or find) a turn: so none of its events is missed."""
        watcher = self._context.feeds.watch(id)
        try:
            async with self._context.registry.use(id) as session:
                sent = await begin(session)
            return await self._follow(id, watcher, sent)
        except BaseException:
            self._context.feeds.leave(watcher)
            raise

    async def _follow(self, id: str, watcher: Watcher, sent: Sent) -> EventStream:
        context = self._context
        watcher.cursor = sent.after
        encoder: native.TurnStream | None = native.TurnStream(sent.message.id, sent.answer_id)
        first = b""
        if sent.repeat:
            first = native.ack(encode(sent.message))
            if sent.answer_id is None:
                encoder = None
            elif sent.answer is not None and await context.store.events(id, sent.after) is None:
                first += native.settled(sent.answer)
                encoder = None
        return EventStream(
            context.feeds,
            watcher,
            encoder,
            context.limits.heartbeat,
            first=first,
            last=native.DONE,
            cut=_CUT,
        )
