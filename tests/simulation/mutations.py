"""Faults that are injected into the code; the stories must find each of them."""

from collections.abc import Callable
from typing import Any

from sessile.node.cluster import Cluster
from sessile.node.registry import Registry
from sessile.session.queue import QueuedTurn, TurnQueue
from sessile.session.session import Session
from sessile.wire.ids import new_id
from sessile.wire.messages import Message


def _new_answer_ids() -> None:
    def queued(
        self: TurnQueue, message: Message, request: dict[str, Any] | None = None
    ) -> QueuedTurn:
        return QueuedTurn(message, new_id(), request)

    TurnQueue.queued = queued  # type: ignore[method-assign]


def _no_sweep() -> None:
    async def sweep(self: Cluster) -> None: ...

    Cluster._sweep = sweep  # type: ignore[method-assign]


def _no_second_look() -> None:
    async def acquire(self: Registry, id: str) -> Session:
        session = self.live(id)
        if session is None:
            waking = self._waking.get(id)
            if waking is None:
                await self._wake(id)
                session = self._live[id]
            else:
                session = await waking
        session.users += 1
        self._asleep_next.pop(id, None)
        return session

    Registry.acquire = acquire  # type: ignore[method-assign]


def _no_proof() -> None:
    async def prove(self: Cluster, session: Any) -> None: ...

    Cluster._prove = prove  # type: ignore[method-assign]


# The first two are in the database of the simulation.
MUTATIONS: dict[str, Callable[[], None]] = {
    "no-compare": lambda: None,
    "no-owner": lambda: None,
    "new-answer-ids": _new_answer_ids,
    "no-sweep": _no_sweep,
    "no-second-look": _no_second_look,
    "no-proof": _no_proof,
}
