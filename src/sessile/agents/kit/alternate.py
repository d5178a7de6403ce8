"""A history in which a user and the model speak by turns. Pure.

Chat templates of local models, and servers that translate to other protocols, refuse a conversation
in which a user speaks twice in a row or that does not begin with a user. Both happen: answers are
stopped, fail, or are deleted, and an application may greet its users.
"""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from sessile.wire.messages import Message, PastMessage
from sessile.wire.parts import Part, TextPart, text_of

FIRST = "(The assistant begins the conversation.)"


def alternating(messages: Iterable[Message]) -> list[Message]:
    """Messages with those of one role in a row joined, and a user's first; system messages stay
    where they are. What has no text and no parts is left out."""
    found: list[Message] = []
    for message in messages:
        if not (message.content or message.parts):
            continue
        if found and message.role != "system" and found[-1].role == message.role:
            found[-1] = _joined(found[-1], message)
        else:
            found.append(message)
    first = next((i for i, message in enumerate(found) if message.role != "system"), None)
    if first is not None and found[first].role == "assistant":
        found.insert(first, _first(found[first]))
    return found


def _joined(one: Message, other: Message) -> Message:
    parts: list[Part] = [*one.parts, *other.parts]
    last, first = one.parts[-1], other.parts[0]
    if isinstance(last, TextPart) and isinstance(first, TextPart):
        text = TextPart(f"{last.content}\n\n{first.content}")
        parts = [*one.parts[:-1], text, *other.parts[1:]]
    joined = msgspec.structs.replace(other, parts=parts, content=text_of(parts))
    if isinstance(joined, PastMessage):
        joined.record = None  # it is of one of them only
    return joined


def _first(before: Message) -> Message:
    return msgspec.structs.replace(
        before,
        id=f"{before.id}.first",
        role="user",
        content=FIRST,
        parts=[TextPart(FIRST)],
        reply_to=UNSET,
        metadata=UNSET,
    )
