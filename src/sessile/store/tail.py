"""How the events of one commit are kept, pure: a JSON array of them, the deltas packed.

A token of a few letters makes an event of 150 bytes, most of them the same for every token of an
answer. Deltas that follow each other become one entry with their texts; all other events are as
they are. What is unpacked is byte for byte what was packed.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from sessile.wire.codec import encode, readable
from sessile.wire.events import DeltaEvent
from sessile.wire.frames import Frame


class _Deltas(Struct, array_like=True):
    """Deltas of one part, each beginning where the one before ends."""

    message_id: str
    part: int
    kind: Literal["text", "reasoning"]
    offset: int
    texts: list[str]


_decode_entries = msgspec.json.Decoder(list[Raw]).decode
_decode_deltas = msgspec.json.Decoder(_Deltas).decode


def pack(frames: Sequence[Frame]) -> bytes:
    """Events with consecutive numbers as one value."""
    entries: list[_Deltas | Raw] = []
    deltas: _Deltas | None = None
    end = 0
    for frame in frames:
        event = frame.event
        if not isinstance(event, DeltaEvent):
            deltas = None
            entries.append(Raw(frame.data))
            continue
        if (
            deltas is not None
            and event.offset == end
            and event.part == deltas.part
            and event.message_id == deltas.message_id
            and event.kind == deltas.kind
        ):
            deltas.texts.append(event.text)
        else:
            deltas = _Deltas(event.message_id, event.part, event.kind, event.offset, [event.text])
            entries.append(deltas)
        end = event.offset + len(event.text)
    return encode(entries)


@readable
def unpack(first: int, events: bytes) -> list[Frame]:
    """The events of a value, the first of which has that number.

    Raises :class:`~sessile.wire.errors.SessionUnreadable`.
    """
    frames: list[Frame] = []
    for entry in _decode_entries(events):
        data = bytes(entry)
        if data.startswith(b"{"):
            frames.append(Frame(first + len(frames), data))
            continue
        deltas = _decode_deltas(data)
        offset = deltas.offset
        for text in deltas.texts:
            seq = first + len(frames)
            event = DeltaEvent(seq, deltas.message_id, deltas.part, deltas.kind, offset, text)
            frames.append(Frame.of(event, seq))
            offset += len(text)
    return frames
