"""The session's messages in PydanticAI's types. Pure."""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from pydantic_ai import BinaryContent, ImageUrl
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.messages import ToolCallPart as ModelToolCall

from sessile.agents.kit.rounds import result, rounds
from sessile.agents.pydantic_ai.record import Record, load
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, Part, ToolCallPart, text_of
from sessile.wire.parts import TextPart as Text

NOT_RUN = "This tool did not run: the answer ended before."
UNKNOWN = "The server restarted while this tool ran: it is not known whether it had an effect."
GO_ON = (
    "(The connection was lost in the middle of your answer above, which the user has seen as it is."
    " Continue exactly where it ends, and repeat nothing of it.)"
)


def as_model_messages(message: Message) -> list[ModelMessage]:
    """A message of the history: an answer as its model knows it, where a record of it is there."""
    if message.role == "user":
        return [ModelRequest([UserPromptPart(contents(message))])]
    if message.role == "system":
        return [ModelRequest([SystemPromptPart(message.content)])]
    record = load(getattr(message, "record", None))
    if record is None:
        return _from_parts(message)
    return list(record.messages) if record.done else _ended(record, message.parts)


def contents(message: Message) -> str | list[UserContent]:
    """The content of a user's message."""
    if not any(isinstance(part, FilePart) for part in message.parts):
        return message.content
    found: list[UserContent] = []
    for part in message.parts:
        if isinstance(part, Text):
            found.append(part.content)
        elif isinstance(part, FilePart):
            found.append(_file(part))
    return found


def going_on(rest: str) -> list[ModelMessage]:
    """Text of a response that was cut off, and the request to continue it."""
    said = rest.removeprefix("\n\n")  # what separates it from the text before
    return [ModelResponse([TextPart(said)]), ModelRequest([UserPromptPart(GO_ON)])]


def without_record(parts: Sequence[Part]) -> list[ModelMessage]:
    """An answer that goes on and of which only the parts are there."""
    known = [
        msgspec.structs.replace(part, state="error", error=UNKNOWN)
        if isinstance(part, ToolCallPart) and part.is_open
        else part
        for part in parts
    ]
    found = _from_parts(Message("", "assistant", text_of(known), known, 0, 0, "streaming"))
    if found and isinstance(found[-1], ModelResponse):
        found.append(ModelRequest([UserPromptPart(GO_ON)]))
    return found


def _ended(record: Record, parts: Sequence[Part]) -> list[ModelMessage]:
    """An answer that ended early: its record, and what only its parts have."""
    found = list(record.messages)
    returns = [_return(call, record.shown(parts, call)) for call in record.open_calls()]
    if returns:
        found.append(ModelRequest(returns))
    rest = record.rest(parts)
    if rest.strip():
        found.append(ModelResponse([TextPart(rest.removeprefix("\n\n"))]))
    return found


def _return(call: ModelToolCall, shown: ToolCallPart | None) -> ToolReturnPart:
    if shown is None:
        return ToolReturnPart(call.tool_name, NOT_RUN, call.tool_call_id, outcome="failed")
    return _as_return(shown, call.tool_call_id)


def _from_parts(message: Message) -> list[ModelMessage]:
    found: list[ModelMessage] = []
    for text, calls in rounds(message):
        parts: list[ModelResponsePart] = [TextPart(text)] if text else []
        parts += [
            ModelToolCall(call.tool_name, call.tool_input, call.tool_call_id) for call in calls
        ]
        found.append(ModelResponse(parts))
        if calls:
            found.append(ModelRequest([_as_return(call, call.tool_call_id) for call in calls]))
    return found


def _as_return(call: ToolCallPart, id: str) -> ToolReturnPart:
    outcome: Any = "success" if call.state == "complete" else "failed"
    return ToolReturnPart(call.tool_name, result(call), id, outcome=outcome)


def _file(part: FilePart) -> UserContent:
    header, _, data = part.url.partition(",")
    if header.startswith("data:") and header.endswith(";base64"):
        return BinaryContent(base64.b64decode(data), media_type=part.media_type)
    if part.url.startswith(("http://", "https://")) and part.media_type.startswith("image/"):
        return ImageUrl(part.url)
    return f"[a file: {part.media_type if part.filename is UNSET else part.filename}]"
