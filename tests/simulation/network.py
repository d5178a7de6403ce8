"""The network between the nodes and to the database, with delays and losses."""

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

LOST = 0.02  # of the publications, requests and replies on the bus
REPEATED = 0.02
ANSWER_LOST = 0.002  # of the statements: executed, but the answer is lost
LATE = 0.01  # of the statements: executed when its node may be dead or has retried
LATEST = 12.0  # seconds


class Network:
    """``calm`` stops all random faults; ``wrong`` lists what must not have happened."""

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
        """How many times a publication arrives."""
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
        """Execute a statement in the database; its answer may be lost.

        Raises ``OSError`` or ``TimeoutError`` if it is unknown whether it was or will be executed.
        """
        if is_cut() or not self.database.up:
            await asyncio.sleep(self._rng.uniform(0, 0.5))
            raise OSError
        here = contextvars.copy_context()
        answer: asyncio.Future[T] = self._loop.create_future()
        is_lost = self._happens(ANSWER_LOST)

        def receive_answer(value: T) -> None:
            if not answer.done():
                answer.set_result(value)

        def execute() -> None:
            if self.database.up:
                value = statement()
                if not is_lost and not is_cut():
                    self.later(receive_answer, value, context=here)

        late = self._rng.uniform(0.1, LATEST) if self._happens(LATE) else self.delay()
        self._loop.call_later(late, execute, context=self._outside)
        return await asyncio.wait_for(answer, wait)

    def _happens(self, chance: float) -> bool:
        return not self.calm and self._rng.random() < chance
