"""The port of a protocol: what to read before writing an adapter, and nothing else.

A protocol turns one turn of a session into bytes for one client. It does no I/O, keeps no clock,
and is deterministic: fed with the same events from the turn's first on, in whatever portions, it
gives the same bytes. So a client is resumed by feeding a new one with everything and dropping
what the client has.
"""

from collections.abc import Iterable
from typing import Protocol as TypingProtocol

from sessile.wire.frames import Piece
from sessile.wire.messages import Message


class Protocol(TypingProtocol):
    """One client's view of one turn. Its methods are called in the order they stand in here."""

    def begin(self, repeat: Message | None) -> bytes:
        """What comes first; ``repeat`` is the message where it was stored by an earlier request."""

    def encode(self, frames: Iterable[Piece]) -> tuple[bytes, bool]:
        """Events as bytes, and whether they end the response. Other turns' events are left out."""

    def settled(self, answer: Message) -> bytes:
        """Instead of events: an answer that was settled before, whole."""

    def cut(self) -> bytes:
        """Before the end where the server lets the client go too early."""

    def end(self) -> bytes:
        """What comes last."""
