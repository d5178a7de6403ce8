"""Brings a session's events to one client: the one loop behind every protocol."""

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol

from sessile.http.access import Watcher
from sessile.wire.errors import StoreUnavailable
from sessile.wire.frames import Piece

log = logging.getLogger(__name__)

# A client is too slow when it takes nothing while so many bytes are published, or for so many
# seconds. One that reads slowly is not: it is read for from the store, a little at a time.
LAG = 8 * 1024 * 1024
STALL = 30.0

# A read of the store that fails is tried again, for so many seconds in all.
FIRST_PAUSE, LONGEST_PAUSE, PATIENCE = 0.1, 2.0, 15.0


class Receiver(Protocol):
    """The client's end, as its protocol speaks."""

    def take(self, frames: list[Piece]) -> bool | None:
        """Send frames at once; True if nothing may follow. None, and nothing is done, where the
        client is not ready for that: :meth:`deliver` waits for it."""

    async def deliver(self, frames: list[Piece]) -> bool:
        """Send frames; True if nothing may follow."""

    async def let_go(self) -> None:
        """Say that the server ends, and close."""

    def break_off(self) -> None:
        """Close without an end, so that the client comes back: its stream failed."""

    def cut_off(self) -> None:
        """Give up a client that is too slow; it comes back and says what it saw last."""


class Pump:
    """Runs whenever there is something to read, until the client has everything.

    With ``inline`` it has no task while its client keeps up: what is published is sent at once, as
    far as that goes without waiting. Where it would wait, for the store or for a client whose
    buffer is full, the rest becomes a task, until the client has caught up. This needs a server in
    which any task may send; in any other each time there is something to send gets a task.
    """

    def __init__(self, watcher: Watcher, receiver: Receiver, inline: bool) -> None:
        self._inline = inline
        self._watcher = watcher
        self._receiver = receiver
        self._busy = False
        self._again = False
        self._over = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._mark = 0
        self._since = 0.0
        watcher.listener = self.wake

    @property
    def busy(self) -> bool:
        """It is sending, or waits to."""
        return self._busy

    def wake(self) -> None:
        """There may be something to send."""
        if self._over:
            return
        if self._busy:
            self._again = True
            if self._task is not None and self._watcher.published - self._mark > LAG:
                self._cut_off()
            return
        if not self._inline or self._watcher.closed:
            self._step(self._loop())
            return
        recent = self._watcher.recent()
        if recent is None:
            self._step(self._loop())
        elif recent:
            self._take(recent)

    def _take(self, frames: list[Piece]) -> None:
        try:
            over = self._receiver.take(frames)
        except Exception as error:
            self._failed(error)
            return
        if over is None:
            self._step(self._loop(frames))
        elif over:
            self._over = True

    def also(self, send: Coroutine[Any, Any, None]) -> None:
        """Send something beside the events, while the loop is not busy."""
        if self._over or self._busy:
            send.close()
        else:
            self._step(self._guarded(send))

    def stop(self) -> None:
        """Send no more."""
        self._over = True
        self._watcher.listener = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _step(self, run: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        if self._inline:
            try:
                waits_for = run.send(None)
            except StopIteration:
                self._busy = False
                return
            run = _resume(run, waits_for)
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._task = loop.create_task(run)
        self._task.add_done_callback(self._caught_up)
        self._watch_for_stall(STALL)

    def _caught_up(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._busy = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._again:
            self.wake()

    async def _guarded(self, sending: Coroutine[Any, Any, None]) -> None:
        try:
            await sending
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._over = True
        self._receiver.break_off()
        # A client that is gone needs no word in the log.
        if not isinstance(error, OSError) and type(error).__name__ != "ClientDisconnected":
            log.error("a client's stream failed", exc_info=error)

    async def _loop(self, frames: list[Piece] | None = None) -> None:
        try:
            if frames:
                self._mark = self._watcher.published
                self._over = await self._receiver.deliver(frames)
            while not self._over:
                self._again = False
                self._mark = self._watcher.published
                if self._task is not None:
                    self._since = asyncio.get_running_loop().time()
                if self._watcher.closed:
                    self._over = True
                    await self._receiver.let_go()
                    return
                recent = self._watcher.recent()
                frames = await self._read() if recent is None else recent
                if frames:
                    self._over = await self._receiver.deliver(frames)
                if not self._again and (recent is not None or not frames):
                    return
        except Exception as error:
            self._failed(error)

    async def _read(self) -> list[Piece]:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + PATIENCE, FIRST_PAUSE
        while True:
            try:
                return await self._watcher.read()
            except StoreUnavailable:
                if loop.time() + pause > until:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._since = loop.time()  # the client is not at fault

    def _watch_for_stall(self, patience: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(patience, self._check_for_stall)

    def _check_for_stall(self) -> None:
        left = self._since + STALL - asyncio.get_running_loop().time()
        if left <= 0:
            self._cut_off()
        else:
            self._watch_for_stall(left)

    def _cut_off(self) -> None:
        self.stop()
        self._receiver.cut_off()


@types.coroutine
def _resume(run: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on, in a task, with a coroutine that was started outside of one."""
    while True:
        try:
            value = yield waits_for
        except BaseException as error:
            step: Callable[[], Any] = lambda error=error: run.throw(error)  # type: ignore[misc]
        else:
            step = lambda value=value: run.send(value)  # type: ignore[misc]
        try:
            waits_for = step()
        except StopIteration:
            return
