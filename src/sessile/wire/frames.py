"""Events with their JSON, encoded once for everything that uses it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sessile.wire.codec import decode_json, encode, readable
from sessile.wire.events import BroadcastEvent, DeletedEvent, DeltaEvent, Event, Kind, MessageEvent
from sessile.wire.messages import Message

_decode_event: Callable[[bytes], Event] = readable(msgspec.json.Decoder(Event).decode)


class Frame(Struct, eq=False):
    """An event and its JSON, encoded once and shared by the store, the bus and every watcher.

    ``seq`` is 0 for what is not part of the session's sequence: it is sent to those who watch at
    that moment and kept nowhere. A ``broadcast`` is the value of an application, whatever it looks
    like. ``sse`` and ``websocket`` are the frame in these protocols, kept
    here by those who make them.
    """

    seq: int
    data: bytes
    _event: Event | None = None
    sse: bytes | None = None
    websocket: bytes | None = None
    _text: str | None = None
    broadcast: bool = False
    _about: str | UnsetType | None = UNSET

    @classmethod
    def of(cls, event: Event, seq: int) -> "Frame":
        return cls(seq, encode(event), event)

    @classmethod
    def of_message(cls, message: Message, body: bytes, seq: int) -> "Frame":
        """A message event around the message's JSON, which is encoded once for all its uses."""
        data = b'{"type":"message","seq":%d,"message":%s}' % (seq, body)
        return cls(seq, data, MessageEvent(seq, message), _about=message.id)

    @property
    def first(self) -> int:
        """The number of the first event: of this one."""
        return self.seq

    @property
    def size(self) -> int:
        """Bytes of JSON."""
        return len(self.data)

    @property
    def event(self) -> Event:
        """The event; decoded when first asked for where the frame came from the store."""
        if self._event is None and self.broadcast:
            self._event = BroadcastEvent(decode_json(self.data))
        elif self._event is None:
            self._event = _decode_event(self.data)
        return self._event

    @property
    def text(self) -> str:
        """The JSON as text, for a WebSocket's text frame."""
        if self._text is None:
            self._text = self.data.decode()
        return self._text

    @property
    def about(self) -> str | None:
        """The id of the message that the event is about; None if it is about the session."""
        if self._about is UNSET:
            event = self.event
            if isinstance(event, MessageEvent):
                self._about = event.message.id
            else:
                id = getattr(event, "message_id", None)
                self._about = None if id is UNSET else id
        return self._about

    @property
    def ends_session(self) -> bool:
        """Whether the event says that the session was deleted."""
        if not self.data.startswith(b'{"type":"deleted"'):
            return False
        event = self.event
        return isinstance(event, DeletedEvent) and event.message_id is UNSET


class Deltas:
    """Deltas of one part that follow one another, as one value: the events ``first`` to ``seq``.

    It is shared as a :class:`Frame` is. It may grow until it is stored.
    """

    __slots__ = (
        "first",
        "kind",
        "message_id",
        "offset",
        "part",
        "seq",
        "sse",
        "texts",
        "websocket",
    )
    ends_session = False

    def __init__(
        self, first: int, message_id: str, part: int, kind: Kind, offset: int, texts: list[str]
    ) -> None:
        self.first = first
        self.seq = first + len(texts) - 1
        self.message_id = message_id
        self.part = part
        self.kind = kind
        self.offset = offset  # of the first
        self.texts = texts
        self.sse: bytes | None = None
        self.websocket: bytes | None = None

    @property
    def about(self) -> str:
        """The id of the message that the events are about."""
        return self.message_id

    @property
    def size(self) -> int:
        """About how many bytes of JSON."""
        return ENVELOPE * len(self.texts) + sum(map(len, self.texts))

    def continues(self, message_id: str, part: int, kind: Kind) -> bool:
        """Whether more text of a part may be added."""
        return self.part == part and self.kind == kind and self.message_id == message_id

    def add(self, text: str) -> None:
        """Take the next event."""
        self.texts.append(text)
        self.seq += 1

    def after(self, seq: int) -> "Deltas":
        """The events after a number, which is that of one of them."""
        gone = seq + 1 - self.first
        offset = self.offset + sum(map(len, self.texts[:gone]))
        return Deltas(seq + 1, self.message_id, self.part, self.kind, offset, self.texts[gone:])

    def before(self, seq: int) -> "Deltas":
        """The events before a number, which is that of one of them."""
        texts = self.texts[: seq - self.first]
        return Deltas(self.first, self.message_id, self.part, self.kind, self.offset, texts)

    def joined(self) -> DeltaEvent:
        """All of them as one event, which has the number of the first."""
        text = "".join(self.texts)
        return DeltaEvent(self.first, self.message_id, self.part, self.kind, self.offset, text)

    def events(self) -> Iterator[DeltaEvent]:
        """Each event."""
        offset = self.offset
        for seq, text in enumerate(self.texts, self.first):
            yield DeltaEvent(seq, self.message_id, self.part, self.kind, offset, text)
            offset += len(text)

    def lines(self, before: bytes = b"", after: bytes = b"") -> list[bytes]:
        """The JSON of each event between two texts; each %d in ``before`` is the event's number."""
        id = encode(self.message_id).replace(b"%", b"%%")
        line = _DELTA % (id, self.part, encode(self.kind))
        line = before + line + after
        numbers = before.count(b"%d") + 1
        offset, found = self.offset, []
        for seq, text in enumerate(self.texts, self.first):
            found.append(line % (*(seq,) * numbers, offset, encode(text)))
            offset += len(text)
        return found


ENVELOPE = 150  # about as many bytes of JSON a delta has beside its text
_DELTA = b'{"type":"delta","seq":%%d,"messageId":%b,"part":%d,"kind":%b,"offset":%%d,"text":%%b}'


# What is stored, published and sent: an event, or a run of deltas.
Piece: TypeAlias = Frame | Deltas


def singly(frames: Iterable[Piece]) -> Iterator[Frame]:
    """Every event as a frame of its own."""
    for frame in frames:
        if isinstance(frame, Deltas):
            for event in frame.events():
                yield Frame.of(event, event.seq)
        else:
            yield frame


def before(frames: Sequence[Piece], seq: int) -> list[Piece]:
    """Those of some consecutive events that come before a number."""
    found = [frame for frame in frames if frame.first < seq]
    if found and found[-1].seq >= seq and isinstance(found[-1], Deltas):
        found[-1] = found[-1].before(seq)
    return found


def after(frames: Sequence[Piece], seq: int) -> list[Piece]:
    """Those of some consecutive events that come after a number."""
    found = [frame for frame in frames if frame.seq > seq]
    if found and found[0].first <= seq and isinstance(found[0], Deltas):
        found[0] = found[0].after(seq)
    return found
