"""Messages, and sessions as their clients see them."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sessile.wire.codec import readable
from sessile.wire.parts import Part

Role: TypeAlias = Literal["user", "assistant", "system"]
MessageStatus: TypeAlias = Literal[
    "complete", "queued", "streaming", "stopped", "interrupted", "error"
]
SessionStatus: TypeAlias = Literal["idle", "queued", "running", "waiting"]
WhileBusy: TypeAlias = Literal["queue", "interrupt", "reject"]
Metadata: TypeAlias = dict[str, Any]


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


class PastMessage(Message):
    """A message as an agent sees it: ``record`` is what an agent kept with it, and never sent."""

    record: Any = None


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


class ExportedSession(Struct):
    """What is taken over of an exported session."""

    id: str
    title: str = ""
    archived: bool = False
    metadata: Metadata = {}


class ForeignExport(Struct):
    """The beginning of a file of another chat, with how many conversations it has."""

    count: int


class Skipped(Struct, omit_defaults=True):
    """A conversation that was not imported, and why."""

    title: str
    error: str
    id: str = ""


# What is read of an imported file, in this order: a session and its messages in chunks; or that a
# file is of another chat, and then each of its conversations in the same way, or why it is skipped.
ReadPiece: TypeAlias = ForeignExport | Skipped | ExportedSession | list[Message]


class Page(Struct):
    """Some of a session's messages, oldest first, and whether there are more that way."""

    messages: list[Message]
    has_more: bool


class _Id(Struct):
    """Of a message, its id."""

    id: str


decode_message: Callable[[bytes], Message] = readable(msgspec.json.Decoder(Message).decode)
decode_past: Callable[[bytes], PastMessage] = readable(msgspec.json.Decoder(PastMessage).decode)
_decode_id: Callable[[bytes], _Id] = readable(msgspec.json.Decoder(_Id).decode)
decode_metadata = msgspec.json.Decoder(Metadata).decode


def id_of(body: bytes) -> str:
    """The id of a message, from its JSON."""
    return _decode_id(body).id


def merged(metadata: Metadata, changes: Metadata) -> Metadata:
    """Metadata with changes (RFC 7396, one level: None removes a name)."""
    return {name: value for name, value in (metadata | changes).items() if value is not None}
