"""The port of the bus: what somebody reads to write an adapter, and nothing else.

The bus carries a session's events, after their commit, to the nodes where somebody watches. It
may lose and repeat them: their numbers show a gap, and the store fills it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from sessile.wire.frames import Frame

Receiver: TypeAlias = Callable[[Sequence[Frame]], None]


class Bus(Protocol):
    """From whoever writes a session to whoever watches it."""

    name: str  # for the start's banner and for logs: technology and place, no secrets

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let go."""

    async def check(self) -> None:
        """Answer, or raise."""

    def publish(self, session: str, frames: Sequence[Frame]) -> None:
        """Hand frames to all receivers of the session; never blocks, never raises."""

    def subscribe(self, session: str, receiver: Receiver) -> Callable[[], None]:
        """Call ``receiver`` with what is published from here on; returns what ends that."""
