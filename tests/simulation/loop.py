"""An event loop with virtual time, whose callbacks belong to nodes that can be paused or killed."""

import asyncio
import contextlib
import random
import selectors
from collections import defaultdict, deque
from contextvars import ContextVar
from typing import Any

# The node that a callback runs on; None for the database, the bus and the story itself.
NODE: ContextVar[int | None] = ContextVar("node", default=None)


class _Clock(selectors.SelectSelector):
    """Nothing is read or written; waiting advances the time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen")
        self.now += max(timeout, 0)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The callbacks of one node keep their order; those of different nodes run in any order.

    Callbacks of a ``paused`` node wait; those of a ``dead`` node never run.
    """

    def __init__(self, rng: random.Random) -> None:
        self.paused: set[int] = set()
        self.dead: set[int] = set()
        self.steps = 0
        self._rng = rng
        self._held: list[asyncio.Handle] = []
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        rest: list[asyncio.Handle] = []
        if ready or self._held:
            mixed = self._mix([*self._held, *ready])
            some = self._rng.choice((1, 3, 100))
            ready.clear()
            ready.extend(mixed[:some])
            rest = mixed[some:]
            self.steps += len(ready)
        super()._run_once()  # type: ignore[misc]
        ready.extendleft(reversed(rest))

    def _mix(self, handles: list[asyncio.Handle]) -> list[asyncio.Handle]:
        lanes: dict[int | None, deque[asyncio.Handle]] = defaultdict(deque)
        self._held = []
        for handle in handles:
            node = handle._context.get(NODE)  # type: ignore[attr-defined]
            if node in self.paused:
                self._held.append(handle)
            elif node not in self.dead:
                lanes[node].append(handle)
        mixed = []
        while lanes:
            node = self._rng.choice(list(lanes))
            mixed.append(lanes[node].popleft())
            if not lanes[node]:
                del lanes[node]
        return mixed

    def end(self) -> None:
        """Cancel all tasks, on dead nodes too, and close the loop."""
        self.paused.clear()
        self.dead.clear()
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks, timeout=60))
        for task in asyncio.all_tasks(self):  # tasks whose next step was dropped with their node
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(BaseException):
                task.get_coro().close()
        self.close()
