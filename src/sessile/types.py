"""The values of Sessile: what is stored, sent and given to agents. No I/O.

JSON names are camelCase, Python names snake_case; times are unix seconds (UTC) as integers.
A field that holds its default is left out of the JSON, unless the contract always shows it.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

Role: TypeAlias = Literal["user", "assistant", "system"]
MessageStatus: TypeAlias = Literal[
    "complete", "queued", "streaming", "stopped", "interrupted", "error"
]
SessionStatus: TypeAlias = Literal["idle", "queued", "running"]
ToolState: TypeAlias = Literal["pending", "running", "complete", "error"]
ApprovalState: TypeAlias = Literal["asked", "approved", "denied", "expired"]
WhileBusy: TypeAlias = Literal["queue", "interrupt", "reject"]
Metadata: TypeAlias = dict[str, Any]


# Parts ------------------------------------------------------------------------------------------


class TextPart(Struct, tag="text", rename="camel"):
    """Text, in Markdown where the agent writes it."""

    content: str


class ReasoningPart(Struct, tag="reasoning", rename="camel"):
    """What the agent thought before or between its words."""

    content: str


class Approval(Struct, rename="camel"):
    """Whether a tool call has leave to run."""

    id: str
    state: ApprovalState


class ToolCallPart(Struct, tag="tool-call", rename="camel", omit_defaults=True):
    """One use of a tool; yielded again with the same ``tool_call_id`` it replaces itself.

    ``tool_input`` and ``tool_output`` are any JSON value.
    """

    tool_call_id: str
    tool_name: str
    tool_input: Any
    state: ToolState
    tool_output: Any | UnsetType = UNSET
    error: str | UnsetType = UNSET
    approval: Approval | UnsetType = UNSET


class ToolResultPart(Struct, tag="tool-result", rename="camel", omit_defaults=True):
    """A tool's result as a client sent it; kept and returned as sent."""

    tool_name: str
    tool_output: Any
    state: str
    tool_call_id: str | UnsetType = UNSET


class FilePart(Struct, tag="file", rename="camel", omit_defaults=True):
    """A file or an image by its address; ``url`` may be a ``data:`` URL."""

    media_type: str
    url: str
    filename: str | UnsetType = UNSET


class SourcePart(Struct, tag="source", rename="camel", omit_defaults=True):
    """Where an answer has something from."""

    url: str
    title: str | UnsetType = UNSET


class DataPart(Struct, tag="data", rename="camel"):
    """Any JSON value under a name; an agent that yields a name again replaces its value."""

    name: str
    data: Any


Part: TypeAlias = (
    TextPart | ReasoningPart | ToolCallPart | ToolResultPart | FilePart | SourcePart | DataPart
)


def text_of(parts: Sequence[Part]) -> str:
    """All text parts, joined: the ``content`` of the message that has these parts."""
    return "".join([part.content for part in parts if isinstance(part, TextPart)])


# Messages and sessions --------------------------------------------------------------------------


class Message(Struct, rename="camel"):
    """One message of a session's history."""

    id: str
    role: Role
    content: str
    parts: list[Part]
    created_at: int
    seq: int
    status: MessageStatus
    metadata: Metadata | UnsetType = UNSET
    reply_to: str | UnsetType = UNSET


class Session(Struct, rename="camel"):
    """A session as its clients see it."""

    id: str
    title: str
    status: SessionStatus
    message_count: int
    created_at: int
    updated_at: int
    archived: bool
    metadata: Metadata
    seq: int


class Page(Struct):
    """Some of a session's messages, oldest first, and whether there are more that way."""

    messages: list[Message]
    has_more: bool


# Events -----------------------------------------------------------------------------------------


class MessageEvent(Struct, tag="message", rename="camel"):
    """A whole message: stored, settled, or replacing what a watcher had of it."""

    seq: int
    message: Message


class DeltaEvent(Struct, tag="delta", rename="camel"):
    """More text of a part. ``offset`` counts the characters (code points) that stand before it."""

    seq: int
    message_id: str
    part: int
    kind: Literal["text", "reasoning"]
    offset: int
    text: str


class PartEvent(Struct, tag="part", rename="camel"):
    """A part, created at ``index`` or replaced whole."""

    seq: int
    message_id: str
    index: int
    part: Part


class StatusEvent(Struct, tag="status", rename="camel", omit_defaults=True):
    """A user message waits (``queued``, at a 1-based ``position``) or its turn began (``running``)."""

    seq: int
    message_id: str
    status: Literal["queued", "running"]
    position: int | UnsetType = UNSET


class PartsEvent(Struct, tag="message-parts", rename="camel"):
    """The parts of a stored message were replaced."""

    seq: int
    message_id: str
    parts: list[Part]


class DeletedEvent(Struct, tag="deleted", rename="camel", omit_defaults=True):
    """A message is gone; without ``message_id`` the whole session is."""

    seq: int
    message_id: str | UnsetType = UNSET


class SessionEvent(Struct, tag="session", rename="camel"):
    """The session itself changed: its title, metadata, or whether it is archived."""

    seq: int
    session: Session


class ResetEvent(Struct, tag="reset", rename="camel"):
    """Single events are gone: what changed comes whole, until the session's number ``seq``.

    Not part of the sequence.
    """

    seq: int


class ErrorEvent(Struct, tag="error", rename="camel"):
    """Something went wrong for those who watch at this moment. Not part of the sequence."""

    error: str
    code: str


class BroadcastEvent(Struct, tag="broadcast", rename="camel"):
    """Stands for whatever JSON was broadcast. Not part of the sequence."""


Event: TypeAlias = (
    MessageEvent
    | DeltaEvent
    | PartEvent
    | StatusEvent
    | PartsEvent
    | DeletedEvent
    | SessionEvent
    | ResetEvent
    | ErrorEvent
    | BroadcastEvent
)

_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
encode = _encoder.encode
decode_json: Callable[[bytes | str], Any] = msgspec.json.decode
decode_message = msgspec.json.Decoder(Message).decode
decode_part: Callable[[bytes], Part] = msgspec.json.Decoder(Part).decode
decode_metadata = msgspec.json.Decoder(Metadata).decode


class Frame(Struct, eq=False):
    """An event and its JSON, encoded once and shared by the store, the bus and every watcher.

    ``seq`` is 0 for what is not part of the session's sequence: it is sent to those who watch at
    that moment and kept nowhere. ``sse`` and ``websocket`` are the frame in these protocols, kept
    here by those who make them.
    """

    seq: int
    data: bytes
    _event: Event | None = None
    sse: bytes | None = None
    websocket: bytes | None = None
    _text: str | None = None

    @classmethod
    def of(cls, event: Event, seq: int) -> "Frame":
        return cls(seq, _encoder.encode(event), event)

    @classmethod
    def of_message(cls, message: Message, body: bytes, seq: int) -> "Frame":
        """A message event around the message's JSON, which is encoded once for all its uses."""
        data = b'{"type":"message","seq":%d,"message":%s}' % (seq, body)
        return cls(seq, data, MessageEvent(seq, message))

    @property
    def event(self) -> Event:
        """The event; decoded when first asked for where the frame came from the store."""
        if self._event is None:
            self._event = _event_decoder.decode(self.data)
        return self._event

    @property
    def text(self) -> str:
        """The JSON as text, for a WebSocket's text frame."""
        if self._text is None:
            self._text = self.data.decode()
        return self._text


# Making values ----------------------------------------------------------------------------------


_random = random.Random()  # nobody else's, so that nobody else's seed makes ids repeat


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): unique, and sorted by the millisecond it was made in."""
    stamp = time.time_ns() // 1_000_000
    value = (
        stamp << 80
        | 0x7 << 76
        | _random.getrandbits(12) << 64
        | 0b10 << 62
        | _random.getrandbits(62)
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def now() -> int:
    """Unix seconds."""
    return int(time.time())


def merged(metadata: Metadata, changes: Metadata) -> Metadata:
    """Metadata with changes (RFC 7396, one level: None removes a name)."""
    return {name: value for name, value in (metadata | changes).items() if value is not None}


def clean(text: str) -> str:
    """``text`` as it can be stored: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
