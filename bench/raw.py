"""The ceiling: a bare ASGI application that sends given bytes, and stores nothing.

    python -m bench.raw

runs the application as ``sessile serve`` does, with the same server and the same settings. ``PUT /script``
with ``{"stream": [...], "page": ..., "frames": [...]}`` sets the bytes: the response to a POST, with
each text of ``stream`` in its own write; the response to a GET; and what every WebSocket receives for
each POST.
"""

import asyncio
import socket

import uvicorn
from msgspec import Struct
from msgspec.json import decode
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
JSON = [(b"content-type", b"application/json")]


class Script(Struct):
    """What to send."""

    stream: list[str] = []
    page: str = "[]"
    frames: list[str] = []


class Raw:
    def __init__(self) -> None:
        self._stream: list[bytes] = []
        self._page = b""
        self._frames: list[str] = []
        self._sockets: dict[ASGISendCallable, None] = {}

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "websocket":
            await self._watch(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope["method"], receive, send)

    async def _answer(
        self, method: str, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if method == "GET":
            await _whole(send, self._page)
            return
        body = await _body(receive)
        if method == "PUT":
            script = decode(body, type=Script)
            self._stream = [text.encode() for text in script.stream]
            self._page, self._frames = script.page.encode(), script.frames
            await _whole(send, b"{}")
            return
        decode(body)
        await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        for text in self._frames:
            for send_to in self._sockets:
                await send_to({"type": "websocket.send", "bytes": None, "text": text})
        for data in self._stream:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
        self._sockets[send] = None
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            del self._sockets[send]


async def _body(receive: ASGIReceiveCallable) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += message["body"]
        if not message["more_body"]:
            return body


async def _whole(send: ASGISendCallable, body: bytes) -> None:
    headers = [*JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        Raw(),
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
    )
    server = uvicorn.Server(config)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve([listener]))


if __name__ == "__main__":
    main()
