"""How much of a session's history an agent is shown. Pure."""

from typing import Any

import msgspec
from msgspec import UNSET

from sessile.wire.codec import encode
from sessile.wire.messages import Message, PastMessage
from sessile.wire.parts import FilePart, Part, ReasoningPart, TextPart, ToolCallPart

IMAGE = 4_000  # characters that an image counts: about what its tokens cost
CUT = "… [cut]"


def fitting(newest: list[PastMessage], messages: int, characters: int | None) -> list[PastMessage]:
    """Of the ``newest`` messages of a session, which are at most ``messages``, those that fit into
    ``characters``; where older ones are left out, a user's first."""
    kept: list[PastMessage] = []
    room = characters
    for message in reversed(newest):
        if room is not None:
            shown = _shortened(message, room)
            if shown is None:
                break
            message, room = shown, room - extent(shown)
        kept.append(message)
    kept.reverse()
    if len(kept) < len(newest) or len(newest) >= messages:
        while kept and kept[0].role == "assistant":
            del kept[0]
    return kept


def extent(message: Message) -> int:
    """Characters of all that a message has."""
    return sum(map(_extent, message.parts))


def _extent(part: Part) -> int:
    if isinstance(part, TextPart | ReasoningPart):
        return len(part.content)
    if isinstance(part, FilePart) and part.media_type.startswith("image/"):
        return IMAGE
    return _length(part)


def _length(value: Any) -> int:
    return len(encode(value).decode())


def _shortened(message: PastMessage, room: int) -> PastMessage | None:
    """A message that fits, if need be with shorter tool calls and without what its agent kept; None
    if it does not fit then."""
    over = extent(message) - room
    if over <= 0:
        return message
    parts = list(message.parts)
    for name in ("tool_output", "error", "tool_input"):
        for index, part in enumerate(parts):
            value = getattr(part, name, UNSET) if isinstance(part, ToolCallPart) else UNSET
            if over > 0 and value is not UNSET:
                shorter = _shorter(value, over)
                over -= _length(value) - _length(shorter)
                parts[index] = msgspec.structs.replace(parts[index], **{name: shorter})
    return msgspec.structs.replace(message, parts=parts, record=None) if over <= 0 else None


def _shorter(value: Any, over: int) -> Any:
    """A JSON value with so many characters less, as far as its texts have them."""
    if isinstance(value, str):
        return (
            value[: max(0, len(value) - over - len(CUT))] + CUT if len(value) > len(CUT) else value
        )
    if isinstance(value, list):
        return _shorter(encode(value).decode(), over)
    if not isinstance(value, dict):
        return value
    cut = dict(value)
    for name in sorted(cut, key=lambda name: -_length(cut[name])):
        if over > 0:
            cut[name] = _shorter(value[name], over)
            over -= _length(value[name]) - _length(cut[name])
    return cut
