"""What lies between the nodes, and between them and the database: delay and loss."""

import asyncio
import contextvars
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tests.simulation.database import Database
from tests.simulation.loop import SimulatedLoop

if TYPE_CHECKING:
    from tests.simulation.engines import SimulatedBus

T = TypeVar("T")

LOST = 0.02  # of what goes over the bus
REPEATED = 0.02
ANSWER_LOST = 0.002  # of the statements: done, but nobody hears of it
LATE = 0.01  # of the statements: done when its node may be dead, or has asked again
LATEST = 12.0  # seconds


class Network:
    """``calm`` ends all faults that come by chance; ``wrong`` is what must not have happened."""

    def __init__(self, loop: SimulatedLoop, rng: random.Random, database: Database) -> None:
        self.database = database
        self.buses: dict[int, SimulatedBus] = {}
        self.calm = False
        self.wrong: list[str] = []
        self._loop = loop
        self._rng = rng
        self._outside = contextvars.copy_context()  # of all nodes

    def delay(self) -> float:
        return self._rng.uniform(0.0002, 0.003)

    def loses(self) -> bool:
        return self._happens(LOST)

    def copies(self) -> int:
        """How often something that is published arrives."""
        return 2 if self._happens(REPEATED) else 1

    def later(self, call: Callable[..., Any], *given: Any, context: contextvars.Context) -> None:
        self._loop.call_later(self.delay(), call, *given, context=context)

    def others(self, node: int) -> list["SimulatedBus"]:
        return [
            bus for other, bus in self.buses.items() if other != node and not self.is_dead(other)
        ]

    def is_dead(self, node: int) -> bool:
        return node in self._loop.dead

    async def ask(self, statement: Callable[[], T], is_cut: Callable[[], bool], wait: float) -> T:
        """Have the database do a statement; it may be done though nobody hears of it.

        Raises ``OSError`` or ``TimeoutError``, where nobody knows whether it was or will be done.
        """
        if is_cut() or not self.database.up:
            await asyncio.sleep(self._rng.uniform(0, 0.5))
            raise OSError
        here = contextvars.copy_context()
        answer: asyncio.Future[T] = self._loop.create_future()
        is_lost = self._happens(ANSWER_LOST)

        def heard(value: T) -> None:
            if not answer.done():
                answer.set_result(value)

        def done() -> None:
            if self.database.up:
                value = statement()
                if not is_lost and not is_cut():
                    self.later(heard, value, context=here)

        late = self._rng.uniform(0.1, LATEST) if self._happens(LATE) else self.delay()
        self._loop.call_later(late, done, context=self._outside)
        return await asyncio.wait_for(answer, wait)

    def _happens(self, chance: float) -> bool:
        return not self.calm and self._rng.random() < chance
