"""A session over WebSocket: its events out, messages, stops and answers in."""

import asyncio
import contextlib
from typing import Any

from msgspec import Struct
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from sessile.http.bodies import AnswerBody, SendBody, draft_of, reply_of
from sessile.http.context import Context
from sessile.http.frames import (
    FRAMES,
    framed,
    sends_anywhere,
    takes_frames,
    writes_frames,
)
from sessile.http.pump import Pump
from sessile.http.query import cursor
from sessile.http.responses import error_response
from sessile.node.handle import Handle
from sessile.wire.codec import encode
from sessile.wire.errors import InvalidRequest, SessileError
from sessile.wire.events import ErrorEvent
from sessile.wire.frames import Deltas, Piece, singly
from sessile.wire.messages import SessionStatus
from sessile.wire.parse import parse

NORMAL, GOING_AWAY, TOO_BIG, FAILED, TOO_SLOW = 1000, 1001, 1009, 1011, 1013


def _framed(frame: Piece) -> bytes:
    """An event as a WebSocket's frame; made once and kept with the event."""
    if frame.websocket is None:
        lines = frame.lines() if isinstance(frame, Deltas) else [frame.data]
        frame.websocket = b"".join(map(framed, lines))
    return frame.websocket


class Hello(Struct, tag="hello"):
    """The first frame: the session's newest number when the socket began to watch."""

    seq: int
    status: SessionStatus


class SendCommand(SendBody, tag="send", rename="camel"):
    """Send a message and have it answered."""


class StopCommand(Struct, tag="stop"):
    """Stop the turn that runs."""


class AnswerCommand(AnswerBody, tag="answer", rename="camel"):
    """Answer a question, whose id is ``questionId`` or ``id``."""

    question_id: str | None = None
    id: str | None = None


class ApproveCommand(AnswerBody, tag="approve", rename="camel"):
    """The same under its former name, with ``approvalId``."""

    approval_id: str | None = None
    id: str | None = None


class PingCommand(Struct, tag="ping"):
    """Ask for a ``pong``."""


COMMANDS: Any = SendCommand | StopCommand | AnswerCommand | ApproveCommand | PingCommand


class SocketRoute:
    """Accepts sockets; one object for all of them."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            session = self._context.access.session(scope["path_params"]["session_id"])
            after = cursor(QueryParams(scope["query_string"]).get("after"), "after")
        except SessileError as error:
            await refuse(scope, receive, send, error)
            return
        message = await receive()
        if message["type"] == "websocket.connect":
            await _Socket(self._context, session, scope, receive, send).run(after)


async def refuse(scope: Scope, receive: Receive, send: Send, error: SessileError) -> None:
    """Answer a WebSocket's request with an HTTP error, where the server can do that."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    response = error_response(error)
    await send(
        {
            "type": "websocket.http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": response.body})


class _Socket:
    """One client's WebSocket."""

    def __init__(
        self, context: Context, session: Handle, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._context = context
        self._session = session
        self._scope = scope
        self._takes_frames = takes_frames(scope)
        self._write = writes_frames(scope)
        self._receive = receive
        self._send = send

    async def run(self, after: int | None) -> None:
        access = self._context.access
        watcher = await access.watch(self._session)
        try:
            try:
                seq, status = await access.head(self._session)
            except SessileError as error:
                await refuse(self._scope, self._receive, self._send, error)
                return
            watcher.cursor = seq if after is None else after
            await self._send({"type": "websocket.accept"})
            await self._send_value(Hello(seq, status))
            # Only from here on may anything else be sent.
            pump = Pump(watcher, self, sends_anywhere(self._scope))
            try:
                pump.wake()
                await self._take_commands()
            finally:
                pump.stop()
        finally:
            access.leave(watcher)

    def take(self, frames: list[Piece]) -> bool | None:
        if self._write is None or frames[-1].ends_session:
            return None
        return False if self._write(b"".join([_framed(frame) for frame in frames])) else None

    async def deliver(self, frames: list[Piece]) -> bool:
        if self._takes_frames:
            data = b"".join([_framed(frame) for frame in frames])
            await self._send({"type": FRAMES, "data": data})
        else:
            for frame in singly(frames):
                await self._send({"type": "websocket.send", "text": frame.text})
        if frames[-1].ends_session:
            await self._close(NORMAL, "the session was deleted")
            return True
        return False

    async def let_go(self) -> None:
        await self._close(GOING_AWAY, "the server is shutting down")

    def cut_off(self) -> None:
        # The close waits behind what the client has not read; its answer ends the socket.
        self._closing = asyncio.create_task(
            self._give_up(TOO_SLOW, "too slow; come back with ?after=")
        )

    def break_off(self) -> None:
        self._closing = asyncio.create_task(
            self._give_up(FAILED, "the stream failed; come back with ?after=")
        )

    async def _take_commands(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                return
            data = message.get("text")
            if data is None:
                data = message.get("bytes") or b""
            size = len(data.encode()) if isinstance(data, str) else len(data)
            if size > self._context.limits.body:
                await self._close(TOO_BIG, "the frame is over the limit")
                return
            try:
                await self._obey(data)
            except SessileError as error:
                await self._send_value(ErrorEvent(str(error), error.code))

    async def _obey(self, data: str | bytes) -> None:
        command: Any = parse(data, COMMANDS)
        match command:
            case PingCommand():
                await self._send({"type": "websocket.send", "text": '{"type":"pong"}'})
            case SendCommand():
                await self._session.send(draft_of(command), command.while_busy, command.replaces)
            case StopCommand():
                await self._session.stop()
            case AnswerCommand():
                await self._answer("answer", "questionId", command.question_id, command)
            case ApproveCommand():
                await self._answer("approve", "approvalId", command.approval_id, command)

    async def _answer(
        self, type: str, name: str, id: str | None, command: AnswerCommand | ApproveCommand
    ) -> None:
        question = id or command.id
        if not question:
            raise InvalidRequest(f"`{type}` needs the `{name}` that it answers.")
        await self._session.answer(question, reply_of(command))

    async def _send_value(self, value: Any) -> None:
        await self._send({"type": "websocket.send", "text": encode(value).decode()})

    async def _give_up(self, code: int, reason: str) -> None:
        with contextlib.suppress(Exception):  # the client may be gone already
            await self._close(code, reason)

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
