"""The port of the bus: what to read before writing an adapter, and nothing else.

The bus carries a session's events, after their commit, to the nodes with watchers. It may lose, repeat
and delay them: the numbers show a gap, the epoch shows another life of the session's id, and the
store fills what is missing. It also carries requests to another node.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from sessile.wire.frames import Piece


class Publication(NamedTuple):
    """News of a session.

    ``epoch`` is unique for each life of the session's id, ``head`` the number of its newest
    stored event. ``frames`` are events with consecutive numbers, the last of them ``head``, where
    deltas may be one value; or frames without a number, which are not part of the sequence. Of a frame its number, its data
    and whether it is a broadcast are carried. The data of a numbered frame may be missing where
    it is too large for the bus: the store has it.
    """

    epoch: int
    head: int
    frames: Sequence[Piece]


Receiver: TypeAlias = Callable[[Publication], None]
Answerer: TypeAlias = Callable[[bytes], Awaitable[bytes]]


class NobodyThere(Exception):
    """No node of that number listens."""


class Bus(Protocol):
    """From the node that writes a session to the nodes where it is watched.

    ``may_lose`` is whether a publication may be lost. ``doubts`` grows each time that something
    may have been lost; the heads of all watched sessions are then compared with the store's.
    """

    name: str  # for the start's banner and for logs: technology and place, no secrets
    may_lose: bool
    doubts: int

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Let go."""

    async def check(self) -> None:
        """Answer, or raise."""

    def publish(self, session: str, publication: Publication) -> None:
        """Hand news to all receivers of the session; never blocks, never raises."""

    async def subscribe(self, session: str, receiver: Receiver) -> Callable[[], None]:
        """Call ``receiver`` with what is published from here on.

        Returns when the subscription is in force, with the function that ends it.
        """

    async def serve(self, node: int, answer: Answerer) -> None:
        """Answer the requests to a node, many at a time."""

    async def request(self, node: int, request: bytes, patience: float) -> bytes:
        """Ask a node; ``patience`` is in seconds.

        Raises :class:`NobodyThere`, or ``TimeoutError`` where nobody knows what became of it.
        """
