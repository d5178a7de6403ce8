"""A graph's output as parts of an answer. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    convert_to_messages,
)

from sessile.agents.base import Output, Usage
from sessile.agents.kit.rounds import Paragraphs
from sessile.agents.langgraph.messages import jsonable
from sessile.wire.ids import new_id
from sessile.wire.parts import DataPart, ReasoningPart, ToolCallPart

# The keys under which graphs without messages have their answer, the likeliest first.
_ANSWERS = ("answer", "output", "response", "result", "final_answer", "generation", "text")


class Parts:
    """Text as it arrives, and tool calls with their results.

    A graph shows a message several times: as it is streamed, as the result of its node, and as the
    result of each graph around it. ``given`` are the ids of the messages that the graph received.
    ``empty`` is whether there is nothing to see so far.
    """

    def __init__(self, given: Iterable[str | None] = ()) -> None:
        self.usage = Usage()
        self.empty = True
        self._given = set(given)
        self._calls: dict[str, ToolCallPart] = {}
        self._asked: set[str] = set()
        self._paragraphs = Paragraphs()
        self._last: tuple[str, str | None] = "", None  # kind and message of the last text
        self._texts: dict[str | None, str] = {}  # so far, of each message
        self._results: set[Any] = set()  # messages that a node returned
        self._final: Any = None  # the newest result of a node

    def message(self, message: Any) -> Iterator[Output]:
        """A message, or a streamed piece of one."""
        if isinstance(message, ToolMessage):
            yield from self._returned(message)
        elif isinstance(message, AIMessage) and message.id not in self._given:
            if not isinstance(message, AIMessageChunk) and self._is_known(message):
                return
            yield from self._words(message)
            if isinstance(message, AIMessageChunk):
                for piece in message.tool_call_chunks:
                    if piece["name"] and piece["id"]:
                        yield self._call(piece["id"], piece["name"], {}, "pending")

    def updates(self, update: dict[str, Any], outermost: bool) -> Iterator[Output]:
        """The results of nodes: messages in any form, whole tool calls, the usage of models."""
        for name, made in update.items():
            if name == "__interrupt__":
                continue
            for state in _each(made):
                if outermost and state:
                    self._final = state
                given = state.get("messages") if isinstance(state, dict) else None
                for message in _messages(given):
                    yield from self._result(message)

    def rest(self) -> Iterator[Output]:
        """At the end, if there was nothing to see: what the last node returned."""
        final = self._final
        if isinstance(final, BaseMessage):
            final = {"messages": final}
        if isinstance(final, str):
            yield final
        if not isinstance(final, dict):
            return
        for name in sorted(final, key=_likelihood):
            value = final[name]
            found = _messages(value) if name == "messages" or _has_message(value) else []
            new = [message for message in found if message.id not in self._given]
            text = value if isinstance(value, str) else str(new[-1].text) if new else ""
            if text.strip():
                yield text
                return
        others = {name: jsonable(value) for name, value in final.items() if name != "messages"}
        if any(value is not None for value in others.values()):
            yield DataPart("output", others)

    def open_calls(self) -> list[ToolCallPart]:
        """The tool calls without a result."""
        return [
            msgspec.structs.replace(call, state="pending")
            for call in self._calls.values()
            if call.state in ("pending", "running")
        ]

    def open_call(self, request: dict[str, Any]) -> ToolCallPart:
        """The newest tool call without a result that a request names."""
        name, given = request["name"], jsonable(request.get("args"))
        for call in reversed(self._calls.values()):
            id = call.tool_call_id
            if (call.tool_name, call.tool_input) == (name, given) and id not in self._asked:
                self._asked.add(id)
                return msgspec.structs.replace(call, state="pending")
        return ToolCallPart(new_id(), name, given, "pending")

    def _is_known(self, message: AIMessage) -> bool:
        """Whether a whole message was shown, perhaps as another one with its text."""
        text = str(message.text)
        return message.id in self._texts or (text != "" and text in self._texts.values())

    def _words(self, message: AIMessage) -> Iterator[Output]:
        for block in message.content_blocks:
            if block["type"] == "text" and block["text"]:
                self._texts[message.id] = self._texts.get(message.id, "") + block["text"]
                self.empty = self.empty and not block["text"].strip()
                yield self._opening("text", message.id) + block["text"]
            elif block["type"] == "reasoning" and block.get("reasoning"):
                yield ReasoningPart(self._opening("reasoning", message.id) + block["reasoning"])

    def _result(self, message: BaseMessage) -> Iterator[Output]:
        calls = message.tool_calls if isinstance(message, AIMessage) else []
        key = message.id or (str(message.text), repr(calls), getattr(message, "tool_call_id", ""))
        if message.id in self._given or key in self._results:
            return
        self._results.add(key)
        yield from self.message(message)
        for call in calls:
            if call["id"]:
                yield self._call(call["id"], call["name"], call["args"], "running")
        if isinstance(message, AIMessage):
            self._count(message)

    def _opening(self, kind: str, message: str | None) -> str:
        """The separator before the text of a new message."""
        if (kind, message) == self._last:
            return ""
        self._last = kind, message
        return self._paragraphs.begin(kind)

    def _call(self, id: str, name: str, given: Any, state: Any) -> ToolCallPart:
        self.empty = False
        self._last = "", None
        self._paragraphs.interrupt()
        call = self._calls[id] = ToolCallPart(id, name, jsonable(given), state)
        return call

    def _returned(self, message: ToolMessage) -> Iterator[ToolCallPart]:
        id, name = message.tool_call_id, message.name or "tool"
        if message.id in self._given:
            return
        call = self._calls.get(id) or self._call(id, name, {}, "running")
        content = message.content
        if message.status == "error":
            ended = msgspec.structs.replace(call, state="error", error=str(message.text))
        else:
            output = content if isinstance(content, str) else jsonable(content)
            ended = msgspec.structs.replace(call, state="complete", tool_output=output)
        if ended != call:
            self._calls[id] = ended
            yield ended

    def _count(self, message: AIMessage) -> None:
        used: Any = message.usage_metadata or {}
        given, made = used.get("input_token_details") or {}, used.get("output_token_details") or {}
        self.usage.input_tokens += used.get("input_tokens") or 0
        self.usage.output_tokens += used.get("output_tokens") or 0
        self.usage.cached_input_tokens += given.get("cache_read") or 0
        self.usage.reasoning_tokens += made.get("reasoning") or 0


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _messages(value: Any) -> list[BaseMessage]:
    """Messages in any form that a graph's state takes; a text is the model's."""
    found: list[BaseMessage] = []
    for item in _each(value):
        if isinstance(item, str):
            found.append(AIMessage(item))
        elif item is not None:
            try:
                found += convert_to_messages([item])
            except (ValueError, TypeError, KeyError, NotImplementedError):
                continue
    return found


def _has_message(value: Any) -> bool:
    return any(isinstance(item, BaseMessage) for item in _each(value))


def _likelihood(name: str) -> int:
    names = ("messages", *_ANSWERS)
    return names.index(name) if name in names else len(names)
