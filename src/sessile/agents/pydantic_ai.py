"""A PydanticAI agent."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from pydantic_ai import (
    Agent,
    AgentRunResultEvent,
    BinaryContent,
    DeferredToolRequests,
    DeferredToolResults,
    ImageUrl,
    ToolDenied,
)
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError
from pydantic_ai.messages import FilePart as ModelFile
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.messages import ToolCallPart as ModelToolCall
from pydantic_core import to_jsonable_python

from sessile.agents.base import Decision, Output, Turn, Usage
from sessile.agents.kit.alternate import alternating
from sessile.agents.kit.conversation import HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.providers import Kind, kind_of, provider_error, reason_in
from sessile.agents.kit.rounds import Paragraphs, result, rounds
from sessile.wire.errors import AgentError
from sessile.wire.messages import Message
from sessile.wire.parts import DataPart, FilePart, ReasoningPart, ToolCallPart
from sessile.wire.parts import TextPart as Text


class PydanticAIAgent:
    """A ``pydantic_ai.Agent``, which receives the session's history in its own types.

    Tools that need approval (``requires_approval=True``, with ``DeferredToolRequests`` among the
    agent's output types) ask the users. An agent whose ``deps_type`` is :class:`Turn` receives the
    turn as its dependencies. Output that is not text is the ``data`` part ``output``.
    """

    def __init__(
        self,
        agent: Agent[Any, Any],
        limits: HistoryLimits = HistoryLimits(),  # noqa: B008
        files: FileHosts = FileHosts(),  # noqa: B008
    ) -> None:
        self.name = f"pydantic-ai:{agent.name or 'agent'}"
        self._agent = agent
        self._limits = limits
        self._files = files

    async def open(self) -> None:
        await self._agent.__aenter__()

    async def close(self) -> None:
        await self._agent.__aexit__()

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        shown = await turn.history(self._limits.messages, self._limits.characters)
        *before, question = alternating(map(self._files.shown, [*shown, turn.message]))
        history = [known for message in before for known in _as_model_messages(message)]
        prompt: str | Sequence[UserContent] | None = _contents(question)
        deps = turn if self._agent.deps_type is Turn else None
        if history:  # the agent itself adds its system prompt only to a new conversation
            system = await self._agent.system_prompt_parts(deps=deps, prompt=prompt)
            history[:0] = [ModelRequest(system)] if system else []
        answers: DeferredToolResults | None = None
        usage, parts = Usage(), _Parts()
        try:
            while True:
                ended: Any = None
                async with self._agent.run_stream_events(
                    prompt,
                    message_history=history,
                    deferred_tool_results=answers,
                    deps=deps,
                ) as events:
                    async for event in events:
                        if isinstance(event, AgentRunResultEvent):
                            ended = event.result
                        for output in parts.take(event):
                            yield output
                _count(usage, ended.usage)
                turn.metadata["usage"] = usage
                if not isinstance(ended.output, DeferredToolRequests):
                    break
                prompt, history = None, ended.all_messages()
                answers = await _asked(turn, ended.output)
        except ModelAPIError as error:
            reason = reason_in(getattr(error, "body", None))
            raise provider_error(_kind(error, parts.began), str(error), reason) from error
        except AgentRunError as error:
            sentence = f"The agent failed ({type(error).__name__}); the server's log says why."
            raise AgentError(sentence, details=str(error)) from error
        for output in _output_of(ended.output, parts.empty):
            yield output


async def _asked(turn: Turn, requests: DeferredToolRequests) -> DeferredToolResults:
    if requests.calls:
        names = ", ".join(call.tool_name for call in requests.calls)
        raise AgentError(f"Sessile cannot run the agent's external tools: {names}.")
    decisions = await asyncio.gather(
        *(turn.ask(_call(call, "pending")) for call in requests.approvals)
    )
    given = zip(requests.approvals, decisions, strict=True)
    return DeferredToolResults(
        approvals={call.tool_call_id: _approval(decision) for call, decision in given}
    )


def _approval(decision: Decision) -> bool | ToolDenied:
    if decision.approved:
        return True
    return ToolDenied(decision.message) if decision.message else ToolDenied()


class _Parts:
    """What an agent's events add to the answer."""

    def __init__(self) -> None:
        self.began = False
        self.empty = True
        self._calls: dict[str, ToolCallPart] = {}
        self._paragraphs = Paragraphs()
        self._opening = ""  # the separator before the next text

    def take(self, event: Any) -> Iterator[Output]:
        self.began = True
        for output in self._outputs(event):
            self.empty = self.empty and output == ""
            yield output

    def _outputs(self, event: Any) -> Iterator[Output]:
        if isinstance(event, PartStartEvent):
            yield from self._start_of(event.part)
        elif isinstance(event, PartDeltaEvent):
            if isinstance(event.delta, TextPartDelta):
                yield self._words(event.delta.content_delta)
            if isinstance(event.delta, ThinkingPartDelta) and event.delta.content_delta:
                yield ReasoningPart(self._words(event.delta.content_delta))
        elif isinstance(event, FunctionToolCallEvent):
            self._paragraphs.interrupt()
            call = self._calls[event.part.tool_call_id] = _call(event.part, "running")
            yield call
        elif isinstance(event, FunctionToolResultEvent):
            part = event.part
            call = self._calls.get(part.tool_call_id) or ToolCallPart(
                part.tool_call_id, part.tool_name, {}, "running"
            )
            content, files = _shown(part.content)
            yield _returned(part, call, content)
            yield from files

    def _start_of(self, part: Any) -> Iterator[Output]:
        if isinstance(part, TextPart):
            self._opening = self._paragraphs.begin("text")
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


def _call(part: ModelToolCall, state: Any) -> ToolCallPart:
    return ToolCallPart(part.tool_call_id, part.tool_name, _arguments(part), state)


def _arguments(part: ModelToolCall) -> Any:
    try:
        return _jsonable(part.args_as_dict())
    except ValueError:
        return part.args


def _returned(part: ToolReturnPart, call: ToolCallPart, content: Any) -> ToolCallPart:
    if part.outcome == "success":
        return msgspec.structs.replace(call, state="complete", tool_output=content)
    return msgspec.structs.replace(call, state="error", error=str(content))


def _output_of(output: Any, empty: bool) -> Iterator[Output]:
    """The output of a run that is not text; raises if the answer is ``empty``."""
    if empty and output == "":
        raise AgentError("The agent's answer is empty.")
    if isinstance(output, BinaryContent):
        yield _file_part(output)
    elif not isinstance(output, str):
        yield DataPart("output", _jsonable(output))


def _shown(content: Any) -> tuple[Any, list[FilePart]]:
    """What a tool returned as JSON, with a word in place of each file, and the files."""
    if isinstance(content, BinaryContent):
        return f"[a file: {content.media_type}]", [_file_part(content)]
    if isinstance(content, list | tuple) and any(isinstance(c, BinaryContent) for c in content):
        shown = [_shown(item) for item in content]
        return [value for value, _ in shown], [file for _, files in shown for file in files]
    return _jsonable(content), []


def _file_part(content: BinaryContent) -> FilePart:
    return FilePart(content.media_type, content.data_uri)


def _jsonable(value: Any) -> Any:
    """A value as JSON: bytes in Base64, and what JSON cannot represent as text."""
    try:
        return to_jsonable_python(value, bytes_mode="base64", serialize_unknown=True)
    except ValueError:  # it contains itself
        return repr(value)


def _count(total: Usage, usage: Any) -> None:
    total.input_tokens += usage.input_tokens
    total.output_tokens += usage.output_tokens
    total.cached_input_tokens += usage.cache_read_tokens
    total.reasoning_tokens += usage.details.get("reasoning_tokens", 0)


# By their names, because older versions of PydanticAI do not have all of them.
_KINDS: dict[str, Kind] = {
    "ModelTimeoutError": "timeout",
    "ModelRequestTimeout": "timeout",
    "ModelRateLimitError": "rate",
    "ModelQuotaExceededError": "quota",
    "ModelContextWindowExceededError": "length",
    "ModelAuthenticationError": "key",
    "ModelNotFoundError": "model",
}


def _kind(error: ModelAPIError, began: bool) -> Kind:
    for base in type(error).__mro__:
        if base.__name__ in _KINDS:
            return _KINDS[base.__name__]
    if isinstance(error, ModelHTTPError):
        return kind_of(error.status_code, str(error))
    if type(error).__name__ == "ModelConnectionError":
        return "broken" if began else "unreachable"
    return "failed"


# The session's messages in the agent's types ------------------------------------------------------


def _as_model_messages(message: Message) -> list[ModelMessage]:
    if message.role == "user":
        return [ModelRequest([UserPromptPart(_contents(message))])]
    if message.role == "system":
        return [ModelRequest([SystemPromptPart(message.content)])]
    found: list[ModelMessage] = []
    for text, calls in rounds(message):
        parts: list[ModelResponsePart] = [TextPart(text)] if text else []
        parts += [
            ModelToolCall(call.tool_name, call.tool_input, call.tool_call_id) for call in calls
        ]
        found.append(ModelResponse(parts))
        if calls:
            found.append(ModelRequest([_as_return(call) for call in calls]))
    return found


def _as_return(call: ToolCallPart) -> ToolReturnPart:
    outcome: Any = "success" if call.state == "complete" else "failed"
    return ToolReturnPart(call.tool_name, result(call), call.tool_call_id, outcome=outcome)


def _contents(message: Message) -> str | list[UserContent]:
    if not any(isinstance(part, FilePart) for part in message.parts):
        return message.content
    contents: list[UserContent] = []
    for part in message.parts:
        if isinstance(part, Text):
            contents.append(part.content)
        elif isinstance(part, FilePart):
            contents.append(_file(part))
    return contents


def _file(part: FilePart) -> UserContent:
    header, _, data = part.url.partition(",")
    if header.startswith("data:") and header.endswith(";base64"):
        return BinaryContent(base64.b64decode(data), media_type=part.media_type)
    if part.url.startswith(("http://", "https://")) and part.media_type.startswith("image/"):
        return ImageUrl(part.url)
    return f"[a file: {part.media_type if part.filename is UNSET else part.filename}]"
