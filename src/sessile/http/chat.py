"""The routes under ``/chat``: send, read, stop, regenerate, follow."""

from collections.abc import Awaitable, Callable

from msgspec import Struct
from starlette.requests import Request
from starlette.types import ASGIApp

from sessile.http.bodies import AnswerBody, RegenerateBody, SendBody, draft_of, reply_of
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
from sessile.http.query import PAGE_DEFAULT, PAGE_MOST, cursor, message_id, number, parameter
from sessile.http.responses import JSONResponse, Response, json_array, page_headers, streamed
from sessile.http.stream import EventStream
from sessile.http.turns import turn_stream
from sessile.http.waiting import WAIT_MOST, responds_async, wants_json, when_settled
from sessile.node.handle import Handle
from sessile.protocols.native import SessionStream, TurnStream
from sessile.session.inbox import Sent
from sessile.session.reply import AskedQuestion
from sessile.wire.errors import (
    ContentRequired,
    InvalidMessageId,
    InvalidOutput,
    InvalidRequest,
    MessageConflict,
    MessageDeleted,
    MessageNotFound,
    OriginNotAllowed,
    QuestionAnswered,
    QuestionNotFound,
    QueueFull,
    SessionNotFound,
    ShuttingDown,
    StillRunning,
    TurnInProgress,
)
from sessile.wire.messages import Message
from sessile.wire.parts import Question
from sessile.wire.sse import HEARTBEAT

PATIENCE = 300  # seconds that a client waits for a whole answer
ANSWERS = (
    text("Accept", "`application/json`: the settled answer, when the turn has ended.", "header"),
    text("Prefer", "`respond-async`: 202 as soon as the message is stored.", "header"),
    whole_number(
        "timeout",
        "Seconds to wait for the settled answer.",
        minimum=1,
        maximum=WAIT_MOST,
        default=PATIENCE,
    ),
)


class Accepted(Struct, rename="camel"):
    """A message that is stored, and the id that its answer has or will have."""

    message: Message
    answer_id: str | None


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
        parameters=[KEY, *ANSWERS],
        errors=[
            *WRITING,
            ContentRequired,
            MessageNotFound,
            MessageConflict,
            MessageDeleted,
            TurnInProgress,
            QueueFull,
            StillRunning,
        ],
        others=[(200, Message), (202, Accepted)],
    )
    async def send(self, request: Request) -> ASGIApp:
        """Send a message and watch its answer."""
        session = self._access.of(request)
        body = await parse_body(request, SendBody, self._context.limits)
        draft = draft_of(body, key=request.headers.get("idempotency-key"))
        return await self._turn(
            request, session, lambda session: session.send(draft, body.while_busy, body.replaces)
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

    @operation(
        "GET",
        CHAT + "/messages/{message_id:path}",
        Message,
        parameters=[whole_number("wait", "Seconds.", minimum=0, maximum=WAIT_MOST, default=0)],
        errors=[*READING, InvalidRequest, InvalidMessageId, MessageNotFound, ShuttingDown],
    )
    async def message(self, request: Request) -> Response:
        """One message, once it is settled or the time is over."""
        session, id = self._access.of(request), message_id(request)
        patience = number(request, "wait", 0, 0, WAIT_MOST)
        settled = None
        if patience:
            watcher = await self._access.watch(session)
            try:
                watcher.cursor, _ = await self._access.head(session)
                settled = await when_settled(session, watcher, request, id, patience)
            finally:
                self._access.leave(watcher)
        return JSONResponse(settled or await session.standing(id))

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
        parameters=ANSWERS,
        errors=[*WRITING, SessionNotFound, MessageNotFound, TurnInProgress, StillRunning],
        others=[(200, Message), (202, Accepted)],
    )
    async def regenerate(self, request: Request) -> ASGIApp:
        """Delete an answer and what follows it, and answer again."""
        session = self._access.of(request)
        body = await parse_body(request, RegenerateBody, self._context.limits, empty=b"{}")
        return await self._turn(
            request, session, lambda session: session.regenerate(body.message_id)
        )

    @operation("GET", CHAT + "/questions", list[AskedQuestion], errors=[*READING])
    async def questions(self, request: Request) -> Response:
        """The open questions of the agent."""
        return JSONResponse(await self._access.of(request).questions())

    @operation(
        "POST",
        CHAT + "/questions/{question_id}",
        Question,
        body=AnswerBody,
        errors=[*WRITING, InvalidOutput, QuestionNotFound, QuestionAnswered],
    )
    async def answer(self, request: Request) -> Response:
        """Answer a question of the agent."""
        session = self._access.of(request)
        reply = reply_of(await parse_body(request, AnswerBody, self._context.limits))
        return JSONResponse(await session.answer(request.path_params["question_id"], reply))

    @operation(
        "POST",
        CHAT + "/approvals/{question_id}",
        Question,
        body=AnswerBody,
        errors=[*WRITING, InvalidOutput, QuestionNotFound, QuestionAnswered],
    )
    async def approve(self, request: Request) -> Response:
        """The same, at its former address."""
        return await self.answer(request)

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
        self, request: Request, session: Handle, begin: Callable[[Handle], Awaitable[Sent]]
    ) -> ASGIApp:
        """Begin a turn, and answer as the client prefers."""
        patience = number(request, "timeout", PATIENCE, 1, WAIT_MOST)
        if responds_async(request.headers.get("prefer", "")):
            sent = await begin(session)
            headers = {"preference-applied": "respond-async"}
            return JSONResponse(Accepted(sent.message, sent.answer_id), 202, headers)
        if wants_json(request.headers.get("accept", "")):
            return await self._whole_answer(request, session, begin, patience)
        return await turn_stream(
            self._context,
            session,
            begin,
            lambda sent: TurnStream(sent.message.id, sent.answer_id),
        )

    async def _whole_answer(
        self,
        request: Request,
        session: Handle,
        begin: Callable[[Handle], Awaitable[Sent]],
        patience: int,
    ) -> Response:
        watcher = await self._access.watch(session)
        try:
            sent = await begin(session)
            if sent.answer is not None:
                return JSONResponse(sent.answer)
            if sent.answer_id is None:
                raise MessageNotFound("Nobody was asked to answer this message.")
            watcher.cursor = sent.after
            answer = await when_settled(session, watcher, request, sent.answer_id, patience)
        finally:
            self._access.leave(watcher)
        if answer is None:
            raise StillRunning(sent.answer_id)
        return JSONResponse(answer)
