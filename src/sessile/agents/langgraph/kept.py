"""The messages that a turn added to a graph's state, as they are kept with its answer. Pure.

In later turns they take the place of what could be built from the answer's parts, which lack what a
model's provider wants back: signatures of thoughts, encrypted reasoning, ids.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    messages_from_dict,
)

from sessile.agents.kit.said import said_since
from sessile.agents.langgraph.progress import load
from sessile.wire.messages import Message
from sessile.wire.parts import Part, TextPart, ToolCallPart

LARGEST = 1024 * 1024  # characters of JSON
QUESTIONS = ("interrupt", "breakpoint")  # calls in an answer that are not the model's

# Ids of messages that providers gave; all others may come again in another turn, where they would
# replace the message that had them before.
_PROVIDERS = re.compile(r"(msg|resp)_")


def dump(values: Any, question: str) -> list[Any] | None:
    """The messages in a graph's state behind the one with the id ``question``, as JSON; None if they
    cannot be kept."""
    messages = values.get("messages") if isinstance(values, dict) else None
    if not isinstance(messages, list):
        return None
    found: list[Any] = []
    for message in reversed(messages):
        if not isinstance(message, BaseMessage):
            return None
        if message.id == question:
            found.reverse()
            return found if _fits(found) else None
        if not _is_empty(message):
            found.append(_as_json(message))
    return None


def kept(message: Message) -> list[BaseMessage] | None:
    """The messages that were kept with an answer; None if there are none, or if they alone are not
    what a model may be sent."""
    record = load(getattr(message, "record", None))
    if record is None or not record.messages:
        return None
    try:
        found = messages_from_dict(record.messages)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    if message.status != "complete":
        if not _has_all_calls(found, message.parts):
            return None
        rest = said_since(message.parts, record.said).removeprefix("\n\n")
        if rest.strip():
            found.append(AIMessage(rest))
    if not _is_whole(found) or not _has_last_text(found, message.parts):
        return None
    for number, one in enumerate(found):
        if not _PROVIDERS.match(one.id or ""):
            one.id = f"{message.id}.{number}"
    return found


def _is_empty(message: BaseMessage) -> bool:
    """Whether a message of the model has nothing, which providers refuse."""
    return isinstance(message, AIMessage) and not (message.content or _calls(message))


def _as_json(message: BaseMessage) -> dict[str, Any] | None:
    """A message as LangChain reads it, without what is not JSON beside its content."""
    try:
        data = message.model_dump(warnings=False)
    except (TypeError, ValueError):
        return None
    if "artifact" in data and not _is_json(data["artifact"]):
        data["artifact"] = None
    for name in ("response_metadata", "additional_kwargs"):
        data[name] = {key: value for key, value in data[name].items() if _is_json(value)}
    return {"type": message.type, "data": data}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _fits(found: list[Any]) -> bool:
    if not found or None in found or not _is_json(found):
        return False
    return len(json.dumps(found, ensure_ascii=False)) <= LARGEST


def _calls(message: AIMessage) -> list[str | None]:
    """The ids of a message's tool calls, also of those whose arguments are not JSON."""
    return [call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls)]


def _is_whole(messages: Sequence[BaseMessage]) -> bool:
    """Whether each tool call has its result, which providers insist on, and the model speaks last."""
    waiting: list[str | None] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                return False
            waiting.remove(message.tool_call_id)
        elif waiting or not isinstance(message, AIMessage | HumanMessage):
            return False
        elif isinstance(message, AIMessage):
            waiting = _calls(message)
    return not waiting and not isinstance(messages[-1], HumanMessage)


def _has_all_calls(messages: Sequence[BaseMessage], parts: Sequence[Part]) -> bool:
    """Whether no tool call came behind the messages."""
    shown = [part for part in parts if isinstance(part, ToolCallPart)]
    own = sum(len(message.tool_calls) for message in messages if isinstance(message, AIMessage))
    return own == sum(part.tool_name not in QUESTIONS for part in shown)


def _has_last_text(messages: Sequence[BaseMessage], parts: Sequence[Part]) -> bool:
    """Whether the last text that the users saw is in the messages: a graph may have its answer under
    another key."""
    texts = [part.content for part in parts if isinstance(part, TextPart)]
    said = "".join(str(message.text) for message in messages)
    return not texts or _letters(texts[-1]) in _letters(said)


def _letters(text: str) -> str:
    """A text without blanks."""
    return "".join(text.split())
