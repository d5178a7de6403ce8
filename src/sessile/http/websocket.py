"""A session over WebSocket: its events out, messages, stops and approvals in."""

import asyncio
from typing import Any

from msgspec import Struct
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from sessile.http.context import Context
from sessile.http.frames import FRAMES, framed, takes_frames
from sessile.http.parsing import (
    ApproveCommand,
    SendBody,
    check_session_id,
    cursor,
    decision_of,
    draft_of,
    parse,
)
from sessile.http.pump import Pump
from sessile.http.responses import error_response
from sessile.session.journal import value_of
from sessile.store.base import Row
from sessile.watch.feed import is_end
from sessile.wire.codec import encode
from sessile.wire.errors import InvalidRequest, SessileError
from sessile.wire.events import ErrorEvent
from sessile.wire.frames import Frame
from sessile.wire.messages import SessionStatus

NORMAL, GOING_AWAY, TOO_BIG, TOO_SLOW = 1000, 1001, 1009, 1013


def _framed(frame: Frame) -> bytes:
    """An event as a WebSocket's frame; made once and kept with the event."""
    if frame.websocket is None:
        frame.websocket = framed(frame.data)
    return frame.websocket


class Hello(Struct, tag="hello"):
    """The first frame: the session's newest number when the socket began to watch."""

    seq: int
    status: SessionStatus


class Command(Struct):
    """What every frame of a client has."""

    type: str


class SocketRoute:
    """Accepts sockets; one object for all of them."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            id = check_session_id(scope["path_params"]["session_id"])
            after = cursor(QueryParams(scope["query_string"]).get("after"), "after")
        except SessileError as error:
            await refuse(scope, receive, send, error)
            return
        message = await receive()
        if message["type"] == "websocket.connect":
            await _Socket(self._context, id, scope, receive, send).run(after)


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
        self, context: Context, id: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._context = context
        self._id = id
        self._scope = scope
        self._takes_frames = takes_frames(scope)
        self._receive = receive
        self._send = send

    async def run(self, after: int | None) -> None:
        watcher = self._context.feeds.watch(self._id)
        pump = Pump(watcher, self)
        try:
            try:
                row = await self._context.store.row(self._id) or Row(self._id)
            except SessileError as error:
                await refuse(self._scope, self._receive, self._send, error)
                return
            watcher.cursor = row.seq if after is None else after
            await self._send({"type": "websocket.accept"})
            await self._send_value(Hello(row.seq, value_of(row).status))
            pump.wake()
            await self._take_commands()
        finally:
            pump.stop()
            self._context.feeds.leave(watcher)

    async def deliver(self, frames: list[Frame]) -> bool:
        if self._takes_frames:
            data = b"".join([_framed(frame) for frame in frames])
            await self._send({"type": FRAMES, "data": data})
        else:
            for frame in frames:
                await self._send({"type": "websocket.send", "text": frame.text})
        if is_end(frames[-1]):
            await self._close(NORMAL, "the session was deleted")
            return True
        return False

    async def let_go(self) -> None:
        await self._close(GOING_AWAY, "the server is shutting down")

    def cut_off(self) -> None:
        # The close waits behind what the client has not read; its answer ends the socket.
        self._closing = asyncio.create_task(
            self._close(TOO_SLOW, "too slow; come back with ?after=")
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
        depth = self._context.limits.depth
        command = parse(data, Command, depth).type
        if command == "ping":
            await self._send({"type": "websocket.send", "text": '{"type":"pong"}'})
        elif command == "send":
            body = parse(data, SendBody, depth)
            async with self._context.registry.use(self._id) as session:
                await session.send(draft_of(body), body.while_busy, body.replaces)
        elif command == "stop":
            async with self._context.registry.use(self._id) as session:
                await session.stop()
        elif command == "approve":
            answer = parse(data, ApproveCommand, depth)
            approval = answer.approval_id or answer.id
            if not approval:
                raise InvalidRequest("`approve` needs the `approvalId` that it answers.")
            async with self._context.registry.use(self._id) as session:
                await session.approve(approval, decision_of(answer))
        else:
            raise InvalidRequest(
                f"A client sends `send`, `stop`, `approve` or `ping`, not `{command}`."
            )

    async def _send_value(self, value: Any) -> None:
        await self._send({"type": "websocket.send", "text": encode(value).decode()})

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
