"""What `sessile serve` does with WebSockets beyond ASGI.

Its application may send from anywhere, not only in the task that serves the client. A WebSocket
takes frames that are made once for all watchers, and has bounds for what a client sends.

ASGI hands over one message at a time, and the server frames it for every client again. What a
server sends is not masked (RFC 6455, 5.1), so a frame is the same bytes for all: where the server
takes such bytes, many frames to many clients cost one write each. It says so by an extension of
the scope; under any other server messages go the common way.
"""

from asyncio import BaseTransport
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from sessile.http.guard import LINGER, EdgeLimits, Guard, Owed, answer
from sessile.http.responses import error_response
from sessile.wire.errors import HeadTooLarge, InvalidRequest, SessileError, UpgradeRequired

FRAMES = "sessile.websocket.frames"
ANYWHERE = "sessile.send.anywhere"

PIECE = 16 * 1024  # bytes that are parsed at once
PING_TIME = 10.0  # seconds in which pings are counted


def sending_anywhere(app: ASGIApp) -> ASGIApp:
    """An application that stands right under a server whose ``send`` is bound to no task."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[ANYWHERE] = {}
        await app(scope, receive, send)

    return marked


def sends_anywhere(scope: Scope) -> bool:
    """Whether ``send`` may be called outside of the task that serves the client.

    Where an application mounts this one that is not known: its middleware may bind it to tasks.
    """
    return ANYWHERE in (scope.get("extensions") or {})


def takes_frames(scope: Scope) -> bool:
    """Whether ``{"type": FRAMES, "data": bytes}`` may be sent."""
    return FRAMES in (scope.get("extensions") or {})


def writes_frames(scope: Scope) -> Callable[[bytes], bool] | None:
    """What writes frames at once where :func:`sends_anywhere`; False, and nothing is done, where
    the client's buffer is full."""
    write: Callable[[bytes], bool] | None = (
        (scope.get("extensions") or {}).get(FRAMES, {}).get("write")
    )
    return write


class FramesProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which takes frames as bytes too, and bounds what a client may send.

    Frames are parsed only as fast as the application takes messages. A client gets no answer to a
    ping while it does not read, and is let go after too many of them.
    """

    guard = Guard(EdgeLimits())

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._owed = Owed()
        self._unparsed = b""
        self._given_up = False
        self._pings: deque[float] = deque(maxlen=self.guard.limits.pings)
        self.conn.reject = _reject  # type: ignore[method-assign]

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._address = self.client[0] if self.client else None
        self.guard.admit(self._address)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.release(self._address)
        self._unparsed = b""
        super().connection_lost(exc)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        scope = cast("dict[str, Any] | None", getattr(self, "scope", None))
        if scope is not None:  # else the handshake was refused
            scope["extensions"][FRAMES] = {"write": self._write_frames}

    # What comes in ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        self._parse()

    async def receive(self) -> Any:
        message = await super().receive()
        self._parse()
        return message

    def _parse(self) -> None:
        """Parse what the application can take, a little at a time, and after its end what still
        comes, among it the client's answer to the close."""
        while self._unparsed and not self.read_paused and not self._given_up:
            piece, self._unparsed = self._unparsed[:PIECE], self._unparsed[PIECE:]
            super().data_received(piece)
            if self.conn.handshake_exc is not None and not self.handshake_complete:
                self._refuse_handshake()
        if self._given_up:
            self._unparsed = b""

    def _refuse_handshake(self) -> None:
        self.handshake_complete = self.close_sent = self._given_up = True
        data = b"".join(self.conn.data_to_send())
        self.transport.write(data or answer(InvalidRequest("The handshake is not valid.")))
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= self.guard.limits.fragments:
            self._give_up("the message has too many fragments")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        if self._pings_too_often():
            return
        answer = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(answer)

    def handle_pong(self, event: Frame) -> None:
        if not self._pings_too_often():
            super().handle_pong(event)

    def _pings_too_often(self) -> bool:
        now = self.loop.time()
        if len(self._pings) == self._pings.maxlen and now - self._pings[0] < PING_TIME:
            self._give_up("too many pings")
            return True
        self._pings.append(now)
        return False

    def _give_up(self, reason: str) -> None:
        if not self.close_sent:
            self.conn.fail(CloseCode.POLICY_VIOLATION, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": close.code, "reason": close.reason}
        )
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self._given_up = True
        # What the client still sends is read: else its system throws the reason away.
        self.close_timer = self.loop.call_later(LINGER, self.transport.abort)
        self.transport.write_eof()
        self.transport.resume_reading()

    # What goes out ------------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        if message["type"] != FRAMES:
            await super().send(message)
            if self.close_sent:
                self._parse()
            return
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        self.transport.write(message["data"])

    def _write_frames(self, data: bytes) -> bool:
        if self.disconnected or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        if not self.writable.is_set():
            return False
        self.transport.write(data)
        return True

    def resume_writing(self) -> None:
        self._owed.took()
        super().resume_writing()

    def look(self, now: float) -> None:
        # A watcher that is too slow is notified first, which the pump does.
        if self._owed.is_stuck(self.transport, now, 2 * self.guard.limits.send_timeout):
            self.transport.abort()


def guarded_frames(guard: Guard) -> type[FramesProtocol]:
    """The protocol with a guard of its own."""
    return type("FramesProtocol", (FramesProtocol,), {"guard": guard})


def framed(data: bytes) -> bytes:
    """A text as one frame of a server."""
    return Frame(Opcode.TEXT, data).serialize(mask=False)


_REJECTED = {426: UpgradeRequired, 431: HeadTooLarge, 500: SessileError}


def _reject(status: HTTPStatus | int, text: str) -> Response:
    """Answers a handshake as all errors are answered; for ``ServerProtocol.reject``."""
    error = _REJECTED[status]() if status in _REJECTED else InvalidRequest(text.strip())
    response = error_response(error, {"connection": "close"})
    fields = Headers((name.decode(), value.decode()) for name, value in response.raw_headers)
    phrase = HTTPStatus(error.status).phrase
    return Response(error.status, phrase, fields, bytes(response.body))
