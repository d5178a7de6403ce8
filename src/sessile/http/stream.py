"""A response that streams a session's events; a protocol only encodes them."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from sessile.http.access import Watcher
from sessile.http.frames import sends_anywhere
from sessile.http.pump import Pump
from sessile.http.responses import SAFE
from sessile.wire.frames import Piece
from sessile.wire.sse import HEARTBEAT

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    *SAFE,
]


class Encoder(Protocol):
    """A protocol's view of a session's events."""

    def encode(self, frames: Iterable[Piece]) -> tuple[bytes, bool]:
        """The frames as bytes, and whether the stream is at its end."""


class EventStream:
    """A response that begins with ``first``, goes on with what is watched, and ends with ``last``.

    With ``encoder`` None it is ``first`` and ``last`` alone. ``cut`` comes before ``last`` where
    the server lets go of the stream before its end. After ``heartbeat`` seconds without a byte
    comes a comment.
    """

    def __init__(
        self,
        watcher: Watcher,
        leave: Callable[[Watcher], None],
        encoder: Encoder | None,
        heartbeat: float,
        first: bytes = b"",
        last: bytes = b"",
        cut: bytes = b"",
    ) -> None:
        self._leave = leave
        self._watcher = watcher
        self._encoder = encoder
        self._heartbeat = heartbeat
        self._first = first
        self._last = last
        self._cut = cut
        self._broken_off = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._pump = Pump(self._watcher, self, sends_anywhere(scope))
        self._sent_at = self._loop.time()
        self._beat(self._heartbeat)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            if self._encoder is None or scope["method"] == "HEAD":
                await self._body(self._first + self._last, more=False)
                return
            if self._first:
                await self._body(self._first, more=True)
            self._pump.wake()
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if not self._broken_off:
                raise
        finally:
            self._timer.cancel()
            self._pump.stop()
            self._leave(self._watcher)
            # The two know each other, and would wait for the collector of cycles.
            del self._pump, self._timer

    def take(self, frames: list[Piece]) -> bool | None:
        return None  # ASGI has only ways to send that may wait

    async def deliver(self, frames: list[Piece]) -> bool:
        assert self._encoder is not None
        data, ended = self._encoder.encode(frames)
        if ended:
            await self._body(data + self._last, more=False)
        elif data:
            await self._body(data, more=True)
        return ended

    async def let_go(self) -> None:
        await self._body(self._cut + self._last, more=False)

    def cut_off(self) -> None:
        self._broken_off = True
        if self._task is not None:
            self._task.cancel()

    break_off = cut_off

    def _beat(self, patience: float) -> None:
        self._timer = self._loop.call_later(patience, self._keep_alive)

    def _keep_alive(self) -> None:
        silence = self._loop.time() - self._sent_at
        if silence >= self._heartbeat:
            self._pump.also(self._body(HEARTBEAT, more=True))
            silence = 0.0
        self._beat(self._heartbeat - silence)

    async def _body(self, data: bytes, more: bool) -> None:
        self._sent_at = self._loop.time()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
