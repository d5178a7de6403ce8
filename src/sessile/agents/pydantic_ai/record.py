"""What the agent keeps of a turn: the messages between it and its model. Pure.

The record has the messages behind the user's, in PydanticAI's own JSON, so that thoughts, signatures
and what providers add return to them as they came. It is older than the answer's parts where the
turn was cut off: the tool calls and the text that it lacks are taken from the parts.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_ai import DeferredToolRequests
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.messages import ToolCallPart as ModelToolCall
from pydantic_core import PydanticSerializationError, to_jsonable_python

from sessile.agents.extent import CUT
from sessile.agents.kit.said import said_since
from sessile.wire.codec import clean, encode
from sessile.wire.parts import Part, ToolCallPart

KIND = "pydantic-ai/1"
LONGEST = 1024 * 1024  # characters of JSON of what a tool returned, as in the answer

_requests: TypeAdapter[DeferredToolRequests] = TypeAdapter(DeferredToolRequests)


class _Stored(msgspec.Struct, omit_defaults=True):
    """A record. ``said`` counts the text of the answer before (units of UTF-16), and ``calls`` the
    tool calls before those of the last response."""

    kind: str
    messages: list[Any]
    said: int = 0
    calls: int = 0
    deferred: Any = None
    done: bool = False


class Record(NamedTuple):
    """A record as its agent reads it. ``deferred`` is what the run waits for."""

    messages: Sequence[ModelMessage] = ()
    said: int = 0
    calls: int = 0
    deferred: DeferredToolRequests | None = None
    done: bool = False

    def open_calls(self) -> list[ModelToolCall]:
        """The tool calls of the last response that have no result."""
        returned: set[Any] = set()
        for message in reversed(self.messages):
            if isinstance(message, ModelResponse):
                calls = [part for part in message.parts if isinstance(part, ModelToolCall)]
                return [call for call in calls if call.tool_call_id not in returned]
            returned.update(getattr(part, "tool_call_id", None) for part in message.parts)
        return []

    def shown(self, parts: Sequence[Part], call: ModelToolCall) -> ToolCallPart | None:
        """A tool call of the last response as the answer has it: models use ids again."""
        calls = [part for part in parts if isinstance(part, ToolCallPart)][self.calls :]
        named = re.compile(re.escape(call.tool_call_id) + r"(-\d+)?")
        found = [part for part in calls if named.fullmatch(part.tool_call_id)]
        return found[-1] if found and found[-1].tool_name == call.tool_name else None

    def rest(self, parts: Sequence[Part]) -> str:
        """The text of an answer behind that of the record."""
        return said_since(list(parts), self.said)


def since(messages: Sequence[ModelMessage], prompt: Any) -> list[ModelMessage] | None:
    """The messages of a run behind the request with the user's prompt; None if that is gone."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, ModelRequest) and any(
            isinstance(part, UserPromptPart) and part.content == prompt for part in message.parts
        ):
            return list(messages[index + 1 :])
    return None


def dump(record: Record) -> Any:
    """A record as JSON; None if its messages have no JSON."""
    try:
        messages = _as_json(record.messages)
    except (PydanticSerializationError, ValueError):
        try:
            messages = _as_json([_plain(message) for message in record.messages])
        except (PydanticSerializationError, ValueError):
            return None
    deferred = None
    if record.deferred is not None:
        deferred = to_jsonable_python(
            _requests.dump_python(record.deferred), bytes_mode="base64", serialize_unknown=True
        )
    stored = _Stored(KIND, messages, record.said, record.calls, deferred, record.done)
    built = msgspec.to_builtins(stored)
    try:
        encode(built)
    except UnicodeEncodeError:
        built = json.loads(clean(json.dumps(built, ensure_ascii=False)))
    return built


def load(stored: Any) -> Record | None:
    """A record of this agent; None for what is none, or is of another version."""
    try:
        found = msgspec.convert(stored, _Stored)
        if found.kind != KIND:
            return None
        messages = ModelMessagesTypeAdapter.validate_python(found.messages)
        deferred = found.deferred and _requests.validate_python(found.deferred)
    except (msgspec.ValidationError, ValidationError):
        return None
    return Record(messages, found.said, found.calls, deferred, found.done)


def _as_json(messages: Sequence[ModelMessage]) -> list[Any]:
    found: list[Any] = ModelMessagesTypeAdapter.dump_python(
        list(messages), mode="json", warnings=False
    )
    for message in found:
        message.pop("instructions", None)  # each request of the model has its own
        for part in message["parts"]:
            content = part.get("content") if part["part_kind"] == "tool-return" else None
            text = content if isinstance(content, str) else json.dumps(content)
            if len(text) > LONGEST:
                part["content"] = text[:LONGEST] + CUT
    return found


def _plain(message: ModelMessage) -> ModelMessage:
    """A message without values that only Python has."""
    if isinstance(message, ModelResponse):
        return message
    parts = [
        ToolReturnPart(
            part.tool_name, _json_of(part.content), part.tool_call_id, outcome=part.outcome
        )
        if isinstance(part, ToolReturnPart)
        else part
        for part in message.parts
    ]
    return ModelRequest(parts)


def _json_of(value: Any) -> Any:
    try:
        return to_jsonable_python(value, bytes_mode="base64", serialize_unknown=True)
    except ValueError:
        return repr(value)
