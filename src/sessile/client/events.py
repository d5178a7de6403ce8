"""The events of a session's stream as values, the same as those of its WebSocket. Pure."""

from typing import Any

import msgspec

from sessile.wire.codec import decode_json
from sessile.wire.events import Event, MessageEvent
from sessile.wire.messages import Message
from sessile.wire.sse import ServerSentEvent

_decode: Any = msgspec.json.Decoder(Event).decode
_decode_message = msgspec.json.Decoder(Message).decode


class _Ack(msgspec.Struct):
    message: Message


_decode_ack = msgspec.json.Decoder(_Ack).decode
_KINDS = ("delta", "part", "status", "message-parts", "deleted", "session", "reset")


def event_of(sent: ServerSentEvent) -> Event | None:
    """The event, or None for one that is not of Sessile, such as an application's broadcast.

    In a stream a message is named by its author: it becomes a :class:`MessageEvent` again.
    """
    if sent.event != "message":
        found: Event | None = _decode(sent.data) if sent.event in _KINDS else None
        return found
    seq, kind = int(sent.id or 0), decode_json(sent.data)["type"]
    if kind == "ack":
        return MessageEvent(seq, _decode_ack(sent.data).message)
    if kind == "assistant":
        return MessageEvent(seq, _decode_message(sent.data))
    found = _decode(sent.data)
    return found


def about(event: Event) -> str | None:
    """The id of the message that an event is about; None if it is about the session."""
    if isinstance(event, MessageEvent):
        return event.message.id
    id = getattr(event, "message_id", None)
    return id if isinstance(id, str) else None


def settles(event: Event, answer: str) -> bool:
    """Whether an event is an answer at its end."""
    if not isinstance(event, MessageEvent) or event.message.id != answer:
        return False
    return event.message.status not in ("streaming", "queued")
