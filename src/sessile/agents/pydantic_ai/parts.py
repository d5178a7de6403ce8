"""A run's events as parts of an answer. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from pydantic_ai import BinaryContent
from pydantic_ai.messages import FilePart as ModelFile
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolReturnPart,
)
from pydantic_ai.messages import ToolCallPart as ModelToolCall
from pydantic_core import to_jsonable_python

from sessile.agents.base import Output
from sessile.agents.kit.call_ids import CallIds
from sessile.agents.kit.rounds import Paragraphs
from sessile.agents.kit.said import units
from sessile.wire.parts import DataPart, FilePart, Part, ReasoningPart, ToolCallPart, text_of


class Parts:
    """What an agent's events add to the answer, which has ``former`` parts already.

    ``joins`` says that the last text was cut off, and that the next text goes on with it. ``said``
    counts the text of the answer and ``calls`` its tool calls, as in a record. Events about calls
    that are ``silent`` show nothing.
    """

    def __init__(self, former: Sequence[Part] = (), joins: bool = False) -> None:
        self.began = False
        self.empty = not former
        self.said = units(text_of(former))
        self.calls = sum(isinstance(part, ToolCallPart) for part in former)
        self.silent: set[str] = set()
        self._ids = CallIds(former)
        self._joins = joins
        self._step: dict[str, ToolCallPart] = {}
        self._paragraphs = Paragraphs()
        if self.said:
            self._paragraphs.begin("text")
            self._paragraphs.interrupt()
        self._opening = ""  # the separator before the next text

    def take(self, event: Any, defers: bool = False) -> Iterator[Output]:
        """The outputs for an event; a tool call that ``defers`` does not run yet."""
        self.began = True
        for output in self._outputs(event, defers):
            self.empty = self.empty and output == ""
            if isinstance(output, str):
                self.said += units(output)
            yield output

    def begin_step(self, shown: Mapping[str, ToolCallPart] = MappingProxyType({})) -> None:
        """Other tool calls come; those that are ``shown``, by the model's ids, are among them."""
        self._step = dict(shown)
        self.silent = set()

    def question(self, part: ModelToolCall) -> ToolCallPart:
        """A tool call about which something is asked."""
        call = tool_call(part, "pending")
        call.tool_call_id = self._ids.of(part.tool_call_id, self._step.get(part.tool_call_id))
        self._step.setdefault(part.tool_call_id, call)
        return call

    def _outputs(self, event: Any, defers: bool) -> Iterator[Output]:
        if isinstance(event, PartStartEvent):
            yield from self._start_of(event.part)
        elif isinstance(event, PartDeltaEvent):
            if isinstance(event.delta, TextPartDelta):
                yield self._words(event.delta.content_delta)
            if isinstance(event.delta, ThinkingPartDelta) and event.delta.content_delta:
                yield ReasoningPart(self._words(event.delta.content_delta))
        elif isinstance(event, FunctionToolCallEvent | FunctionToolResultEvent):
            if event.part.tool_call_id in self.silent:
                return
            if isinstance(event, FunctionToolResultEvent):
                yield from self._end(event.part)
            else:
                yield self._begin(event.part, "pending" if defers else "running")

    def _begin(self, part: ModelToolCall, state: Any) -> ToolCallPart:
        self._paragraphs.interrupt()
        self._joins = False
        known = self._step.get(part.tool_call_id)
        if known is None:
            self.calls += 1
        call = tool_call(part, state)
        call.tool_call_id = self._ids.of(part.tool_call_id, known)
        self._step[part.tool_call_id] = call
        return call

    def _end(self, part: Any) -> Iterator[Output]:
        call = self._step.get(part.tool_call_id) or ToolCallPart(
            part.tool_call_id, part.tool_name, {}, "running"
        )
        content, files = _shown(part.content)
        yield _returned(part, call, content)
        yield from files

    def _start_of(self, part: Any) -> Iterator[Output]:
        if isinstance(part, TextPart):
            separator = self._paragraphs.begin("text")
            self._opening = "" if self._joins else separator
            self._joins = False
            yield self._words(part.content)
        elif isinstance(part, ThinkingPart):
            self._opening = self._paragraphs.begin("reasoning")
            yield ReasoningPart(self._words(part.content))
        elif isinstance(part, ModelFile):
            self._paragraphs.interrupt()
            yield _file_part(part.content)

    def _words(self, words: str) -> str:
        if words:
            words, self._opening = self._opening + words, ""
        return words


def tool_call(part: ModelToolCall, state: Any) -> ToolCallPart:
    return ToolCallPart(part.tool_call_id, part.tool_name, _arguments(part), state)


def output_parts(output: Any) -> Iterator[Output]:
    """The output of a run, if it is not text."""
    if isinstance(output, BinaryContent):
        yield _file_part(output)
    elif not isinstance(output, str):
        yield DataPart("output", jsonable(output))


def jsonable(value: Any) -> Any:
    """A value as JSON: bytes in Base64, and what JSON cannot represent as text."""
    try:
        return to_jsonable_python(value, bytes_mode="base64", serialize_unknown=True)
    except ValueError:  # it contains itself
        return repr(value)


def _arguments(part: ModelToolCall) -> Any:
    try:
        return jsonable(part.args_as_dict())
    except ValueError:
        return part.args


def _returned(part: ToolReturnPart, call: ToolCallPart, content: Any) -> ToolCallPart:
    if part.outcome == "success":
        return msgspec.structs.replace(call, state="complete", tool_output=content)
    return msgspec.structs.replace(call, state="error", error=str(content))


def _shown(content: Any) -> tuple[Any, list[FilePart]]:
    """What a tool returned as JSON, with a word in place of each file, and the files."""
    if isinstance(content, BinaryContent):
        return f"[a file: {content.media_type}]", [_file_part(content)]
    if isinstance(content, list | tuple) and any(isinstance(c, BinaryContent) for c in content):
        shown = [_shown(item) for item in content]
        return [value for value, _ in shown], [file for _, files in shown for file in files]
    return jsonable(content), []


def _file_part(content: BinaryContent) -> FilePart:
    return FilePart(content.media_type, content.data_uri)
