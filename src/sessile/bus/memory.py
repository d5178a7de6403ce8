"""The bus inside one process: a call for each receiver."""

from collections.abc import Callable, Sequence

from sessile.bus.base import Receiver
from sessile.wire.frames import Frame


class MemoryBus:
    """Events from the sessions of this process to the watchers of this process."""

    name = "in-process"

    def __init__(self) -> None:
        self._receivers: dict[str, list[Receiver]] = {}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None: ...

    def publish(self, session: str, frames: Sequence[Frame]) -> None:
        for receiver in tuple(self._receivers.get(session, ())):
            receiver(frames)

    def subscribe(self, session: str, receiver: Receiver) -> Callable[[], None]:
        receivers = self._receivers.setdefault(session, [])
        receivers.append(receiver)

        def unsubscribe() -> None:
            receivers.remove(receiver)
            if not receivers and self._receivers.get(session) is receivers:
                del self._receivers[session]

        return unsubscribe
