"""Converts Agent Client Protocol updates of one answer to parts of a message. Pure."""

import re
from typing import Any

from msgspec import UNSET

from sessile.agents.base import Output, Usage
from sessile.agents.kit.rounds import Paragraphs
from sessile.wire.parts import (
    DataPart,
    FilePart,
    ReasoningPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    ToolState,
)

_STATES: dict[str | None, ToolState] = {
    "pending": "pending",
    "in_progress": "running",
    "completed": "complete",
    "failed": "error",
}
_NAME = re.compile(r"[A-Za-z_][\w-]*")


class Parts:
    """The answer to one prompt. ``cost`` is the session's so far, in USD, if the agent sends it."""

    def __init__(self) -> None:
        self.cost: float | None = None
        self._calls: dict[str, ToolCallPart] = {}
        self._paragraphs = Paragraphs()
        self._last: tuple[str, str | None] = "", None  # kind and message of the last text

    def take(self, update: Any) -> list[Output]:
        """What an update adds to the answer."""
        kind = update.session_update
        if kind in ("agent_message_chunk", "agent_thought_chunk"):
            return self._chunk(kind, update)
        if kind in ("tool_call", "tool_call_update"):
            return [self._call(update)]
        if kind == "plan":
            return [DataPart("plan", [_step(entry) for entry in update.entries])]
        if kind == "usage_update" and update.cost is not None and update.cost.currency == "USD":
            self.cost = update.cost.amount
        return []

    def asked(self, call: Any) -> ToolCallPart:
        """The tool call of a permission request."""
        return self._call(call, asked=True)

    @staticmethod
    def usage(usage: Any) -> Usage:
        cached = usage.cached_read_tokens or 0
        thought = usage.thought_tokens or 0
        return Usage(
            usage.input_tokens + cached + (usage.cached_write_tokens or 0),
            usage.output_tokens + thought,
            cached,
            thought,
        )

    def _chunk(self, kind: str, update: Any) -> list[Output]:
        content = update.content
        if content.type == "text":
            is_text = kind == "agent_message_chunk"
            text, of = content.text, (kind, getattr(update, "message_id", None))
            if of != self._last and text:
                self._last = of
                text = self._paragraphs.begin("text" if is_text else "reasoning") + text
            return [TextPart(text) if is_text else ReasoningPart(text)]
        part = _part(content)
        return [] if part is None else [part]

    def _call(self, update: Any, asked: bool = False) -> ToolCallPart:
        known = self._calls.get(update.tool_call_id)
        call = ToolCallPart(update.tool_call_id, _name(update), _input(update), "pending")
        if known is not None:
            call.tool_name, call.state = known.tool_name, known.state
            call.tool_output, call.error = known.tool_output, known.error
            if update.raw_input is None or (asked and "title" not in known.tool_input):
                call.tool_input = known.tool_input
        status = getattr(update, "status", None)
        if status is not None and not (known is not None and status == "pending"):
            call.state = _STATES[status]
        output = _output(update)
        if output is not None:
            call.tool_output = output
        if call.state == "error":
            call.error = _failure(update, call)
            call.tool_output = UNSET
        self._calls[call.tool_call_id] = call
        self._last = "", None
        self._paragraphs.interrupt()
        return call


def _name(update: Any) -> str:
    """A name for a call: the protocol has only kinds, and titles that some agents change."""
    title = update.title or ""
    return title if _NAME.fullmatch(title) else update.kind or "tool"


def _input(update: Any) -> Any:
    return {"title": update.title} if update.raw_input is None else update.raw_input


def _output(update: Any) -> Any:
    """Text, or a list if there is other content, such as the diff of an edit."""
    if update.content:
        items = [_item(item) for item in update.content]
        return "".join(items) if all(isinstance(item, str) for item in items) else items
    return update.raw_output


def _item(item: Any) -> Any:
    if item.type == "content" and item.content.type == "text":
        return item.content.text
    return item.model_dump(mode="json", by_alias=True, exclude_none=True)


def _failure(update: Any, call: ToolCallPart) -> str:
    raw = update.raw_output
    if isinstance(raw, dict) and isinstance(raw.get("error"), str):
        return str(raw["error"])
    if isinstance(call.tool_output, str) and call.tool_output:
        return call.tool_output
    return "The tool failed."


def _part(content: Any) -> FilePart | SourcePart | None:
    if content.type in ("image", "audio"):
        return FilePart(content.mime_type, f"data:{content.mime_type};base64,{content.data}")
    if content.type == "resource_link":
        return SourcePart(content.uri, content.title or content.name)
    return None


def _step(entry: Any) -> dict[str, Any]:
    return {"content": entry.content, "status": entry.status, "priority": entry.priority}
