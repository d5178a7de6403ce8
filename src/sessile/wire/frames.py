"""An event with its JSON, encoded once for everything that uses it."""

from collections.abc import Callable

import msgspec
from msgspec import UNSET, Struct

from sessile.wire.codec import decode_json, encode, readable
from sessile.wire.events import BroadcastEvent, DeletedEvent, Event, MessageEvent
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

    @classmethod
    def of(cls, event: Event, seq: int) -> "Frame":
        return cls(seq, encode(event), event)

    @classmethod
    def of_message(cls, message: Message, body: bytes, seq: int) -> "Frame":
        """A message event around the message's JSON, which is encoded once for all its uses."""
        data = b'{"type":"message","seq":%d,"message":%s}' % (seq, body)
        return cls(seq, data, MessageEvent(seq, message))

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
        event = self.event
        if isinstance(event, MessageEvent):
            return event.message.id
        id = getattr(event, "message_id", None)
        return None if id is UNSET else id

    @property
    def ends_session(self) -> bool:
        """Whether the event says that the session was deleted."""
        if not self.data.startswith(b'{"type":"deleted"'):
            return False
        event = self.event
        return isinstance(event, DeletedEvent) and event.message_id is UNSET
