"""What `sessile serve` lets its application do beyond ASGI.

It may send from anywhere, not only in the task that serves the client. And a WebSocket takes
frames that are made once for all watchers.

ASGI hands over one message at a time, and the server frames it for every client again. What a
server sends is not masked (RFC 6455, 5.1), so a frame is the same bytes for all: where the server
takes such bytes, many frames to many clients cost one write each. It says so by an extension of
the scope; under any other server messages go the common way.
"""

from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

FRAMES = "sessile.websocket.frames"
ANYWHERE = "sessile.send.anywhere"


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


class FramesProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which takes frames as bytes too."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        scope = cast("dict[str, Any] | None", getattr(self, "scope", None))
        if scope is not None:  # else the handshake was refused
            scope["extensions"][FRAMES] = {}

    async def send(self, message: Any) -> None:
        if message["type"] != FRAMES:
            await super().send(message)
            return
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        self.transport.write(message["data"])


def framed(data: bytes) -> bytes:
    """A text as one frame of a server."""
    return Frame(Opcode.TEXT, data).serialize(mask=False)
