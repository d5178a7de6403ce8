"""Converts Agent Client Protocol updates of one answer to parts of a message. Pure."""

import re
from typing import Any

from msgspec import UNSET

from sessile.agents.base import Output, Usage
from sessile.agents.kit.rounds import Paragraphs
from sessile.wire.loose import record
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


def of(value: Any, name: str) -> dict[str, Any]:
    """The object under a name; an empty one if there is none."""
    return record(record(value).get(name))


class Parts:
    """The answer to one prompt. ``cost`` is the session's so far, in USD, if the agent sends it;
    ``empty`` whether the agent has said and done nothing."""

    def __init__(self) -> None:
        self.cost: float | None = None
        self.empty = True
        self._calls: dict[str, ToolCallPart] = {}
        self._paragraphs = Paragraphs()
        self._last: tuple[str, str | None] = "", None  # kind and message of the last text

    def take(self, update: dict[str, Any]) -> list[Output]:
        """What an update adds to the answer; nothing if it is of an unknown kind."""
        kind = update.get("sessionUpdate")
        if kind in ("agent_message_chunk", "agent_thought_chunk"):
            return self._chunk(kind, update)
        if kind in ("tool_call", "tool_call_update"):
            return [self._call(update)]
        if kind == "plan":
            entries = update.get("entries")
            steps = (
                [_step(entry) for entry in entries if isinstance(entry, dict)] if entries else []
            )
            return [DataPart("plan", steps)]
        cost = of(update, "cost")
        if kind == "usage_update" and cost.get("currency") == "USD" and cost.get("amount"):
            self.cost = _number(cost["amount"])
        return []

    def asked(self, call: dict[str, Any]) -> ToolCallPart:
        """The tool call of a permission request."""
        return self._call(call, asked=True)

    @staticmethod
    def usage(usage: dict[str, Any]) -> Usage:
        given, made, cached, written, thought = (
            int(_number(usage.get(name)))
            for name in (
                *("inputTokens", "outputTokens"),
                *("cachedReadTokens", "cachedWriteTokens", "thoughtTokens"),
            )
        )
        return Usage(given + cached + written, made + thought, cached, thought)

    def _chunk(self, kind: str, update: dict[str, Any]) -> list[Output]:
        content = of(update, "content")
        text = content.get("text")
        if content.get("type") == "text" and isinstance(text, str):
            is_text = kind == "agent_message_chunk"
            source = kind, update.get("messageId")
            if source != self._last and text:
                self._last = source
                text = self._paragraphs.begin("text" if is_text else "reasoning") + text
            self.empty = self.empty and not (is_text and text.strip())
            return [TextPart(text) if is_text else ReasoningPart(text)]
        part = _part(content)
        if part is None:
            return []
        self.empty = False
        return [part]

    def _call(self, update: dict[str, Any], asked: bool = False) -> ToolCallPart:
        self.empty = False
        id = str(update.get("toolCallId"))
        known = self._calls.get(id)
        call = ToolCallPart(id, _name(update), _input(update), "pending")
        if known is not None:
            call.tool_name, call.state = known.tool_name, known.state
            call.tool_output, call.error = known.tool_output, known.error
            titled = isinstance(known.tool_input, dict) and "title" in known.tool_input
            if update.get("rawInput") is None or (asked and not titled):
                call.tool_input = known.tool_input
        state = _STATES.get(update.get("status"))
        if state is not None and not (known is not None and state == "pending"):
            call.state = state
        output = _output(update)
        if output is not None:
            call.tool_output = output
        if call.state == "error":
            call.error = _failure(update, call)
            call.tool_output = UNSET
        self._calls[id] = call
        self._last = "", None
        self._paragraphs.interrupt()
        return call


def _name(update: dict[str, Any]) -> str:
    """A name for a call: the protocol has only kinds, and titles that some agents change."""
    title = str(update.get("title") or "")
    return title if _NAME.fullmatch(title) else str(update.get("kind") or "tool")


def _input(update: dict[str, Any]) -> Any:
    given = update.get("rawInput")
    return {"title": update.get("title")} if given is None else given


def _output(update: dict[str, Any]) -> Any:
    """Text, or a list if there is other content, such as the diff of an edit."""
    if content := update.get("content"):
        items = [_item(item) for item in content] if isinstance(content, list) else [content]
        return "".join(items) if all(isinstance(item, str) for item in items) else items
    return update.get("rawOutput")


def _item(item: Any) -> Any:
    content = of(item, "content")
    if content.get("type") == "text" and isinstance(content.get("text"), str):
        return content["text"]
    return item


def _failure(update: dict[str, Any], call: ToolCallPart) -> str:
    error = of(update, "rawOutput").get("error")
    if isinstance(error, str):
        return error
    if isinstance(call.tool_output, str) and call.tool_output:
        return call.tool_output
    return "The tool failed."


def _part(content: dict[str, Any]) -> FilePart | SourcePart | None:
    kind, media, data = content.get("type"), content.get("mimeType"), content.get("data")
    if kind in ("image", "audio") and isinstance(media, str) and isinstance(data, str):
        return FilePart(media, f"data:{media};base64,{data}")
    uri, title = content.get("uri"), content.get("title") or content.get("name")
    if kind == "resource_link" and isinstance(uri, str):
        return SourcePart(uri, title) if isinstance(title, str) else SourcePart(uri)
    return None


def _step(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: entry.get(name) for name in ("content", "status", "priority")}


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0
