"""The routes under ``/chat``: send, read, stop, regenerate, follow."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from sessile.http.bodies import ApproveBody, RegenerateBody, SendBody, decision_of, draft_of
from sessile.http.context import Context
from sessile.http.operations import (
    CHAT,
    EVENTS,
    KEY,
    LIMIT,
    READING,
    WRITING,
    operation,
    text,
    whole_number,
)
from sessile.http.parsing import parse_body
from sessile.http.query import PAGE_DEFAULT, PAGE_MOST, cursor, number, parameter
from sessile.http.responses import JSONResponse, Response, json_array, page_headers, streamed
from sessile.http.stream import EventStream
from sessile.http.turns import turn_stream
from sessile.node.handle import Handle
from sessile.protocols.native import SessionStream, TurnStream
from sessile.session.inbox import Sent
from sessile.wire.errors import (
    ApprovalAnswered,
    ApprovalNotFound,
    ContentRequired,
    InvalidRequest,
    MessageConflict,
    MessageDeleted,
    MessageNotFound,
    OriginNotAllowed,
    QueueFull,
    SessionNotFound,
    TurnInProgress,
)
from sessile.wire.messages import Message
from sessile.wire.parts import Approval
from sessile.wire.sse import HEARTBEAT


class ChatRoutes:
    """What is done with one chat."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access = context.access

    @operation(
        "POST",
        CHAT,
        EVENTS,
        body=SendBody,
        parameters=[KEY],
        errors=[
            *WRITING,
            ContentRequired,
            MessageNotFound,
            MessageConflict,
            MessageDeleted,
            TurnInProgress,
            QueueFull,
        ],
    )
    async def send(self, request: Request) -> EventStream:
        """Send a message and watch its answer."""
        session = self._access.of(request)
        body = await parse_body(request, SendBody, self._context.limits)
        draft = draft_of(body, key=request.headers.get("idempotency-key"))
        return await self._turn(
            session, lambda session: session.send(draft, body.while_busy, body.replaces)
        )

    @operation(
        "GET",
        CHAT + "/messages",
        list[Message],
        parameters=[
            LIMIT,
            text("before", "The newest before this message."),
            text("after", "The oldest after this message."),
        ],
        errors=[*READING, InvalidRequest, MessageNotFound],
    )
    async def messages(self, request: Request) -> Response:
        """A page of the history, oldest first."""
        session = self._access.of(request)
        limit = number(request, "limit", PAGE_DEFAULT, 1, PAGE_MOST)
        before = parameter(request, "before")
        after = parameter(request, "after")
        if before is not None and after is not None:
            raise InvalidRequest("`before` and `after` cannot be used together.")
        page = await session.page(limit, before, after)
        headers = page_headers(request.scope, page.has_more, "next" if after else "prev", page.at)
        if page.chunks is not None:
            return await streamed(json_array(page.chunks), "application/json", headers)
        body = b"[%s]" % b",".join(page.bodies)
        return Response(body, media_type="application/json", headers=headers)

    @operation("POST", CHAT + "/stop", dict[str, bool], errors=[*READING, OriginNotAllowed])
    async def stop(self, request: Request) -> Response:
        """Stop the turn that runs."""
        return JSONResponse({"stopped": await self._access.of(request).stop()})

    @operation(
        "POST",
        CHAT + "/regenerate",
        EVENTS,
        body=RegenerateBody,
        optional=True,
        errors=[*WRITING, SessionNotFound, MessageNotFound, TurnInProgress],
    )
    async def regenerate(self, request: Request) -> EventStream:
        """Delete an answer and what follows it, and answer again."""
        session = self._access.of(request)
        body = await parse_body(request, RegenerateBody, self._context.limits, empty=b"{}")
        return await self._turn(session, lambda session: session.regenerate(body.message_id))

    @operation(
        "POST",
        CHAT + "/approvals/{approval_id}",
        Approval,
        body=ApproveBody,
        errors=[*WRITING, ApprovalNotFound, ApprovalAnswered],
    )
    async def approve(self, request: Request) -> Response:
        """Answer an agent that asks for permission to run a tool."""
        session = self._access.of(request)
        decision = decision_of(await parse_body(request, ApproveBody, self._context.limits))
        approval = await session.approve(request.path_params["approval_id"], decision)
        return JSONResponse(approval)

    @operation(
        "GET",
        CHAT + "/events",
        EVENTS,
        parameters=[
            whole_number("after", "From this number on.", minimum=0),
            text("Last-Event-ID", "The same, as EventSource sends it.", "header"),
        ],
        errors=[*READING, InvalidRequest],
    )
    async def events(self, request: Request) -> EventStream:
        """Follow everything that happens in the session."""
        session = self._access.of(request)
        after = cursor(request.headers.get("last-event-id"), "Last-Event-ID")
        if after is None:
            after = cursor(parameter(request, "after"), "after")
        access = self._access
        watcher = await access.watch(session)
        try:
            if after is None:
                after, _ = await access.head(session)
        except BaseException:
            access.leave(watcher)
            raise
        watcher.cursor = after
        heartbeat = self._context.limits.heartbeat
        return EventStream(watcher, access.leave, SessionStream(), heartbeat, first=HEARTBEAT)

    async def _turn(
        self, session: Handle, begin: Callable[[Handle], Awaitable[Sent]]
    ) -> EventStream:
        return await turn_stream(
            self._context,
            session,
            begin,
            lambda sent: TurnStream(sent.message.id, sent.answer_id),
        )
