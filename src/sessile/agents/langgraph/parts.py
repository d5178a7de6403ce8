"""A graph's output as parts of an answer. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
from sessile.agents.kit.call_ids import CallIds
from sessile.agents.kit.rounds import Paragraphs
from sessile.agents.langgraph.messages import jsonable
from sessile.wire.parts import DataPart, Part, ReasoningPart, TextPart, ToolCallPart, text_of

# The keys under which graphs without messages have their answer, the likeliest first.
_ANSWERS = ("answer", "output", "response", "result", "final_answer", "generation", "text")


class Parts:
    """Text as it arrives, and tool calls with their results.

    A graph shows a message several times: as it is streamed, as the result of its node, and as the
    result of each graph around it. ``given`` are the ids of the messages that the graph received.
    ``empty`` is whether there is nothing to see so far.

    Where the answer has ``former`` parts, ``rest`` is the text that was shown since the step which
    starts over: as far as it comes again it is not shown again.
    """

    def __init__(
        self, given: Iterable[str | None] = (), former: Sequence[Part] = (), rest: str = ""
    ) -> None:
        self.usage = Usage()
        self.empty = not former
        self._given = set(given)
        self._calls = _known_calls(former)
        self._ids = CallIds(former)
        self._rest, self._again = rest, ""
        self._former_text = text_of(former)
        texts = [part.content for part in former if isinstance(part, TextPart)]
        self._said = {text.removeprefix("\n\n") for text in texts}
        self._asked: set[str] = set()
        self._paused: set[str] = set()
        self._paragraphs = Paragraphs()
        if text_of(former) != rest:
            self._paragraphs.begin("text")
            self._paragraphs.interrupt()
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
            if name.startswith("__"):
                continue
            for state in _each(made):
                if outermost and state:
                    self._final = state
                given = state.get("messages") if isinstance(state, dict) else None
                for message in _messages(given):
                    yield from self._result(message)

    def known(self, messages: Iterable[Any]) -> Iterator[Output]:
        """Messages that the graph has already when it goes on; what was not shown of them."""
        had = Counter({id: self._ids.count(id) for id in self._calls})
        had_open = {id for id, call in self._calls.items() if call.is_open}
        seen: Counter[str] = Counter()
        for message in messages:
            if not isinstance(message, BaseMessage) or message.id in self._given:
                continue
            if isinstance(message, AIMessage):
                ids = [call["id"] or "" for call in message.tool_calls]
                seen.update(ids)
                lost = any(seen[id] > had[id] for id in ids) if ids else not self._has(message)
                if lost:
                    yield from self._result(message)
                else:
                    newest = {id for id in had_open if seen[id] == had[id]}
                    yield from self._completed(message, newest)
            elif isinstance(message, ToolMessage):
                id = message.tool_call_id
                if seen[id] > had[id] or (seen[id] == had[id] and id in had_open):
                    yield from self._returned(message)
            self._given.add(message.id)

    def _completed(self, message: AIMessage, open: set[str]) -> Iterator[Output]:
        """Of its calls that are ``open``, those that were shown only as they began."""
        for call in message.tool_calls:
            known = self._calls[call["id"]] if call["id"] in open else None
            if known is not None and known.tool_input != jsonable(call["args"]):
                yield self._call(call["id"] or "", call["name"], call["args"], "running")

    def _has(self, message: AIMessage) -> bool:
        """Whether the answer has the text of a message."""
        return str(message.text).strip() in self._former_text

    def ended(self, values: Any) -> None:
        """The graph had ended before it went on, with these values in its state."""
        self._final = values

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

    def pause(self, results: Iterable[ToolMessage]) -> Iterator[Output]:
        """The graph waits: of the tool calls in the interrupted node, those without one of these
        results do not run."""
        for message in results:
            if message.tool_call_id in self._calls:
                yield from self._returned(message)
        for id, call in self._calls.items():
            if call.state == "running":
                self._calls[id] = msgspec.structs.replace(call, state="pending")
                self._paused.add(id)
                yield self._calls[id]

    def go_on(self) -> Iterator[Output]:
        """The calls that were paused, and that nobody was asked about, run again."""
        for id in self._paused - self._asked:
            self._calls[id] = msgspec.structs.replace(self._calls[id], state="running")
            yield self._calls[id]
        self._paused.clear()

    def open_calls(self) -> list[ToolCallPart]:
        """The tool calls without a result."""
        return [
            msgspec.structs.replace(call, state="pending")
            for call in self._calls.values()
            if call.state in ("pending", "running")
        ]

    def open_call(self, request: dict[str, Any], otherwise: str) -> ToolCallPart:
        """The newest tool call that a request names, or one with the id ``otherwise``."""
        name, given = request["name"], jsonable(request.get("args"))
        for call in reversed(self._calls.values()):
            id = call.tool_call_id
            if (call.tool_name, call.tool_input) == (name, given) and id not in self._asked:
                self._asked.add(id)
                return msgspec.structs.replace(call, state="pending")
        return ToolCallPart(otherwise, name, given, "pending")

    def _is_known(self, message: AIMessage) -> bool:
        """Whether a whole message was shown, perhaps as another one with its text."""
        text = str(message.text)
        shown = text in self._said or text in self._texts.values()
        return message.id in self._texts or (text != "" and shown)

    def _words(self, message: AIMessage) -> Iterator[Output]:
        for block in message.content_blocks:
            if block["type"] == "text" and block["text"]:
                self._texts[message.id] = self._texts.get(message.id, "") + block["text"]
                self.empty = self.empty and not block["text"].strip()
                yield self._new(self._opening("text", message.id) + block["text"])
            elif block["type"] == "reasoning" and block.get("reasoning"):
                yield ReasoningPart(self._opening("reasoning", message.id) + block["reasoning"])

    def _new(self, text: str) -> str:
        """What of a text was not shown before."""
        if not self._rest:
            return text
        self._again += text
        again, rest = self._again, self._rest
        if rest.startswith(again):
            return ""
        self._rest = self._again = ""
        return again[len(rest) :] if again.startswith(rest) else "\n\n" + again.lstrip("\n")

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
        self._rest = self._again = ""
        self._last = "", None
        self._paragraphs.interrupt()
        known = self._calls.get(id)
        shown = self._ids.of(id, known if known is not None and known.is_open else None)
        call = self._calls[id] = ToolCallPart(shown, name, jsonable(given), state)
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


def _known_calls(parts: Sequence[Part]) -> dict[str, ToolCallPart]:
    """The tool calls of an answer by their ids, and the newest by the ids that their model used."""
    found: dict[str, ToolCallPart] = {}
    for part in parts:
        if isinstance(part, ToolCallPart):
            found[part.tool_call_id] = part
            used, _, count = part.tool_call_id.rpartition("-")
            if used in found and count.isdigit():
                found[used] = found.pop(part.tool_call_id)
    return found


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
