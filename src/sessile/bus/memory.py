"""The bus inside one process: a call for each receiver."""

import asyncio
from collections.abc import Callable

from sessile.bus.base import Answerer, NobodyThere, Publication, Receiver


class MemoryBus:
    """Events from the sessions of this process to the watchers of this process."""

    name = "in-process"
    may_lose = False
    doubts = 0

    def __init__(self) -> None:
        self._receivers: dict[str, list[Receiver]] = {}
        self._nodes: dict[int, Answerer] = {}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None: ...

    def publish(self, session: str, publication: Publication) -> None:
        for receiver in tuple(self._receivers.get(session, ())):
            receiver(publication)

    async def subscribe(self, session: str, receiver: Receiver) -> Callable[[], None]:
        receivers = self._receivers.setdefault(session, [])
        receivers.append(receiver)

        def unsubscribe() -> None:
            receivers.remove(receiver)
            if not receivers and self._receivers.get(session) is receivers:
                del self._receivers[session]

        return unsubscribe

    async def serve(self, node: int, answer: Answerer) -> None:
        self._nodes[node] = answer

    async def request(self, node: int, request: bytes, patience: float) -> bytes:
        if node not in self._nodes:
            raise NobodyThere
        return await asyncio.wait_for(self._nodes[node](request), patience)
