"""Messages that differ from stored ones: edited, or copied into another session. Pure."""

import msgspec
from msgspec import UNSET

from sessile.wire.fold import Answer
from sessile.wire.messages import Message, MessageStatus, Metadata, merged
from sessile.wire.parts import Part, text_of


def changed_message(
    message: Message, parts: list[Part] | None, metadata: Metadata | None
) -> Message:
    """A message with other parts, and with changes merged into its metadata."""
    changed = msgspec.structs.replace(message)
    if parts is not None:
        changed.parts, changed.content = parts, text_of(parts)
    if metadata is not None:
        former = {} if message.metadata is UNSET else message.metadata
        changed.metadata = merged(former, metadata)
    return changed


def settled_copy(message: Message, seq: int) -> Message:
    """A message of another session, in a new place; what was not over there is over."""
    if message.role == "assistant":
        over: MessageStatus = "interrupted" if message.status == "streaming" else message.status
        copied = Answer.of(message).settled(over)
    else:
        copied = msgspec.structs.replace(message, status="complete")
    copied.seq = seq
    copied.content = text_of(copied.parts)
    return copied
