"""The one loop that sends a session's events over HTTP; a protocol only encodes them."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from sessile.feed import Feeds, Watcher
from sessile.sse import HEARTBEAT
from sessile.types import Frame

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

# Seconds that a stream must last before it costs a task that listens for its client's leaving.
SETTLES_IN = 1.0


class Encoder(Protocol):
    """A protocol's view of a session's events."""

    def encode(self, frames: Iterable[Frame]) -> tuple[bytes, bool]:
        """The frames as bytes, and whether the stream is at its end."""


class EventStream:
    """A response that begins with ``first``, goes on with what is watched, and ends with ``last``.

    With ``encoder`` None it is ``first`` and ``last`` alone. ``cut`` comes before ``last`` where
    the server lets go of the stream before its end. After ``heartbeat`` seconds without a byte
    comes a comment.
    """

    def __init__(
        self,
        feeds: Feeds,
        watcher: Watcher,
        encoder: Encoder | None,
        heartbeat: float,
        first: bytes = b"",
        last: bytes = b"",
        cut: bytes = b"",
    ) -> None:
        self._feeds = feeds
        self._watcher = watcher
        self._encoder = encoder
        self._heartbeat = heartbeat
        self._first = first
        self._last = last
        self._cut = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = _Leaving(receive, self._watcher)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._run(send)
        finally:
            leaving.forget()
            self._feeds.leave(self._watcher)

    async def _run(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        if self._first:
            await _body(send, self._first, more=True)
        silent_since = clock()
        while self._encoder is not None:
            patience = silent_since + self._heartbeat - clock()
            frames = await self._watcher.next(patience)
            if self._watcher.closed:
                await _body(send, self._cut, more=True)
                break
            data, ended = self._encoder.encode(frames)
            if ended:
                await _body(send, data + self._last, more=False)
                return
            if not data and clock() - silent_since >= self._heartbeat:
                data = HEARTBEAT
            if data:
                await _body(send, data, more=True)
                silent_since = clock()
        await _body(send, self._last, more=False)


async def _body(send: Send, data: bytes, more: bool) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


class _Leaving:
    """Closes the watcher when the client has gone, if the stream lasts long enough to care."""

    def __init__(self, receive: Receive, watcher: Watcher) -> None:
        self._receive = receive
        self._watcher = watcher
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(SETTLES_IN, self._listen)

    def forget(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _listen(self) -> None:
        self._task = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._watcher.close()
