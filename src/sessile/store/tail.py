"""How the events of one commit are kept, pure: a JSON array of them, a run of deltas as one entry.

A token of a few letters makes an event of 150 bytes, most of them the same for every token of an
answer. What is unpacked is byte for byte what was packed.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from sessile.wire.codec import encode, readable
from sessile.wire.events import Kind
from sessile.wire.frames import Deltas, Frame, Piece


class _Deltas(Struct, array_like=True):
    """Deltas of one part, each beginning where the one before ends."""

    message_id: str
    part: int
    kind: Kind
    offset: int
    texts: list[str]


_decode_entries = msgspec.json.Decoder(list[Raw]).decode
_decode_deltas = msgspec.json.Decoder(_Deltas).decode


def pack(frames: Sequence[Piece]) -> bytes:
    """Events with consecutive numbers as one value."""
    return encode(
        [
            _Deltas(piece.message_id, piece.part, piece.kind, piece.offset, piece.texts)
            if isinstance(piece, Deltas)
            else Raw(piece.data)
            for piece in frames
        ]
    )


@readable
def unpack(first: int, events: bytes) -> list[Piece]:
    """The events of a value, the first of which has that number.

    Raises :class:`~sessile.wire.errors.SessionUnreadable`.
    """
    frames: list[Piece] = []
    seq = first
    for entry in _decode_entries(events):
        data = bytes(entry)
        if data.startswith(b"{"):
            frames.append(Frame(seq, data))
            seq += 1
            continue
        run = _decode_deltas(data)
        frames.append(Deltas(seq, run.message_id, run.part, run.kind, run.offset, run.texts))
        seq += len(run.texts)
    return frames
