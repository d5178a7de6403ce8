"""The events of a session, and what is said to its watchers beside them."""

from typing import Any, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from sessile.wire.messages import Message, Metadata, Session
from sessile.wire.parts import Part

Kind: TypeAlias = Literal["text", "reasoning"]


class MessageEvent(Struct, tag="message", rename="camel"):
    """A whole message: stored, settled, or replacing what a watcher had of it."""

    seq: int
    message: Message


class DeltaEvent(Struct, tag="delta", rename="camel"):
    """More text of a part. ``offset`` counts the characters (code points) that stand before it."""

    seq: int
    message_id: str
    part: int
    kind: Kind
    offset: int
    text: str


class PartEvent(Struct, tag="part", rename="camel"):
    """A part, created at ``index`` or replaced whole."""

    seq: int
    message_id: str
    index: int
    part: Part


class StatusEvent(Struct, tag="status", rename="camel", omit_defaults=True):
    """A user message waits (``queued``, at a 1-based ``position``) or its turn began (``running``).

    A turn that goes on after a restart says so again, as ``continued``.
    """

    seq: int
    message_id: str
    status: Literal["queued", "running"]
    position: int | UnsetType = UNSET
    continued: bool = False


class PartsEvent(Struct, tag="message-parts", rename="camel", omit_defaults=True):
    """The parts of a stored message were replaced; ``metadata`` is there if it changed too."""

    seq: int
    message_id: str
    parts: list[Part]
    metadata: Metadata | UnsetType = UNSET


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
    """What an application broadcast: any JSON value. Not part of the sequence.

    On the wire it is the value alone, without the type.
    """

    data: Any = None


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
