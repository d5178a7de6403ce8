"""What the chunks of a completion add to an answer, as providers really write them. Pure.

Servers that call themselves OpenAI-compatible differ: a chunk may be null, be in a list, have a
``message`` for a ``delta``, its content as a list, a finish reason that is empty or not OpenAI's,
token counts that are null. What carries nothing is skipped.
"""

import mimetypes
from collections.abc import Iterator
from typing import Any

from sessile.agents.base import Output, Usage
from sessile.agents.kit.providers import kind_of, provider_error, reason_in, status_in
from sessile.wire.errors import AgentError
from sessile.wire.loose import items, record
from sessile.wire.parts import FilePart, ReasoningPart, SourcePart, ToolCallPart

NO_TOOLS = "The model called a tool, but has none here. Nothing was run."

# Finish reasons in lower case: after these the answer is not whole, or was withheld.
_BROKEN = {
    *("error", "failed", "network_error", "model_error", "engine_overloaded", "timeout"),
    *("abort", "aborted", "cancel", "cancelled", "canceled", "insufficient_system_resource"),
    *("malformed_function_call", "unexpected_tool_call", "other"),
}
_WITHHELD = {
    *("content_filter", "content_filtered", "sensitive", "safety", "recitation", "blocklist"),
    *("prohibited_content", "spii", "language", "guardrail_intervened"),
}


class Completion:
    """An answer in the making: :meth:`take` each chunk, then :meth:`end` it.

    ``finish`` is the provider's reason for the end, None until it came; ``usage`` the tokens as far
    as they are known; ``began`` whether anything came; ``details`` the model's reasoning as its
    provider wants it back (OpenRouter's ``reasoning_details``).
    """

    def __init__(self) -> None:
        self.finish: str | None = None
        self.usage: Usage | None = None
        self.began = False
        self.details: list[dict[str, Any]] = []
        self._said = False  # something that a reader can see
        self._text = ""  # of the deltas
        self._sources: set[str] = set()
        self._calls: dict[int, ToolCallPart] = {}

    def take(self, chunk: Any) -> Iterator[Output]:
        """Take a chunk, a whole completion, or a list of these.

        Raises :class:`~sessile.wire.errors.AgentError` if it is the provider's error.
        """
        if isinstance(chunk, list):
            for value in chunk:
                yield from self.take(value) if isinstance(value, dict) else ()
        if not isinstance(chunk, dict):
            return
        choice = _first(chunk.get("choices"))
        if chunk.get("error") or (choice is None and _is_error(chunk)):
            raise refusal(chunk, self.began)
        self._count(chunk.get("usage"))
        if choice is not None:
            self.began = True
            self.finish = str(choice.get("finish_reason") or "") or self.finish
            for output in self._outputs(choice):
                self._said = self._said or _is_seen(output)
                yield output
        for name in ("citations", "search_results"):
            yield from self._cited(chunk.get(name))

    def end(self, done: bool) -> Iterator[Output]:
        """The end of the response; ``done`` if the provider said that it is.

        Raises :class:`~sessile.wire.errors.AgentError` unless the answer is whole.
        """
        for call in self._calls.values():
            self._said = True
            yield _refused(call)
        finish = (self.finish or "").lower()
        # Gemini writes its own reason in capitals, or behind OpenAI's and a colon.
        reasons = {word.strip().removeprefix("image_") for word in finish.split(":")}
        if not self.finish and not done:
            raise AgentError("The model's stream ended before its answer was complete.")
        if reasons & _WITHHELD:
            raise AgentError("The model's provider withheld the rest of the answer.")
        if reasons & _BROKEN:
            raise provider_error("broken", f"finish reason {self.finish}")
        if not self._said:
            why = f" It ended with: {self.finish}." if finish not in ("", "stop") else ""
            raise AgentError(f"The model's answer is empty.{why}")

    def _outputs(self, choice: dict[str, Any]) -> Iterator[Output]:
        whole = not choice.get("delta")
        said = choice.get("message") if whole else choice["delta"]
        if not isinstance(said, dict):
            said = {"content": choice.get("text")}
        yield from _reasoning(said)
        for detail in items(said.get("reasoning_details")):
            if isinstance(detail, dict):
                _join(self.details, detail)
        for output in (*_content(said.get("content")), *_content(said.get("refusal"))):
            if whole and isinstance(output, str):
                # Some repeat in a message what they said in deltas.
                output = output.removeprefix(self._text) if self._text else output
            elif isinstance(output, str):
                self._text += output
            if output:
                yield output
        yield from _content(record(said.get("audio")).get("transcript"))
        yield from _content(said.get("images"))
        yield from self._cited(said.get("annotations"))
        self._call(said.get("tool_calls"), said.get("function_call"))

    def _cited(self, given: Any) -> Iterator[SourcePart]:
        for source in items(given):
            found = {"url": source} if isinstance(source, str) else source
            if isinstance(found, dict):
                found = found.get("url_citation") or found
            url = record(found).get("url")
            if isinstance(url, str) and url and url not in self._sources:
                self._sources.add(url)
                title = found.get("title")
                yield (
                    SourcePart(url, title) if isinstance(title, str) and title else SourcePart(url)
                )

    def _call(self, pieces: Any, function: Any) -> None:
        given = [*items(pieces), {"function": function}]
        for place, piece in enumerate(given):
            called = record(piece).get("function")
            if not isinstance(called, dict):
                continue
            index = piece["index"] if isinstance(piece.get("index"), int) else place
            call = self._calls.setdefault(
                index, ToolCallPart(str(piece.get("id") or f"call-{index}"), "", "", "error")
            )
            call.tool_name += str(called.get("name") or "")
            arguments = called.get("arguments")
            call.tool_input = (
                call.tool_input + arguments if isinstance(arguments, str) else arguments
            )

    def _count(self, given: Any) -> None:
        if not isinstance(given, dict):
            return
        known = self.usage or Usage()
        cached = _details(given, "prompt_tokens_details", "cached_tokens")
        reasoning = _details(given, "completion_tokens_details", "reasoning_tokens")
        found = Usage(
            _number(given.get("prompt_tokens")) or known.input_tokens,
            _number(given.get("completion_tokens")) or known.output_tokens,
            cached or known.cached_input_tokens,
            reasoning or known.reasoning_tokens,
        )
        if found != Usage():
            self.usage = found


def refusal(reply: Any, began: bool) -> AgentError:
    """The error for an error object of a provider."""
    status, reason = status_in(reply), reason_in(reply)
    kind = kind_of(status, reason) if status else "broken" if began else "error"
    return provider_error(kind, str(reply), reason)


def _first(choices: Any) -> dict[str, Any] | None:
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _is_error(chunk: dict[str, Any]) -> bool:
    return chunk.get("object") == "error" or chunk.get("type") == "error" or "detail" in chunk


def _is_seen(output: Output) -> bool:
    return isinstance(output, FilePart) or (isinstance(output, str) and not output.isspace())


def _reasoning(said: dict[str, Any]) -> Iterator[ReasoningPart]:
    # The names of: DeepSeek and vLLM · OpenRouter and Ollama · others.
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(thought := said.get(name), str) and thought:
            yield ReasoningPart(thought)
            return
    for detail in map(record, items(said.get("reasoning_details"))):
        thought = detail.get("text") or detail.get("summary")
        if isinstance(thought, str) and thought:
            yield ReasoningPart(thought)


def _join(details: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Take a piece of reasoning, which may go on with the last one."""
    last = details[-1] if details else {}
    if not last or any(last.get(name) != piece.get(name) for name in ("index", "type")):
        details.append(dict(piece))
        return
    for name, value in piece.items():
        goes_on = name in ("text", "summary", "data") and isinstance(last.get(name), str)
        if goes_on and isinstance(value, str):
            last[name] += value
        elif value is not None:
            last[name] = value


def _content(given: Any) -> Iterator[Output]:
    """Content as text, or as a list of parts; unknown kinds are skipped."""
    for part in given if isinstance(given, list) else [given]:
        if isinstance(part, str) and part:
            yield part
        elif isinstance(part, dict):
            yield from _part(part)


def _part(part: dict[str, Any]) -> Iterator[Output]:
    kind = str(part.get("type") or "text")
    if kind in ("text", "output_text", "refusal"):
        text = part.get("text", part.get("refusal"))
        text = text.get("value") if isinstance(text, dict) else text
        if isinstance(text, str) and text:
            yield text
    elif kind in ("thinking", "reasoning"):
        for thought in _content(part.get(kind) or part.get("text") or part.get("summary")):
            if isinstance(thought, str):
                yield ReasoningPart(thought)
    elif kind in ("image_url", "image", "output_image"):
        image = part.get("image_url") or part.get("url") or part.get("image")
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str) and url:
            yield FilePart(_media_type(url), url)


def _media_type(url: str) -> str:
    guessed, _ = mimetypes.guess_type(url.partition("?")[0])  # it knows data: URLs
    return guessed if guessed and guessed.startswith("image/") else "image/png"


def _refused(call: ToolCallPart) -> ToolCallPart:
    call.error = NO_TOOLS
    call.tool_name = call.tool_name or "tool"
    return call


def _details(usage: dict[str, Any], kind: str, name: str) -> int:
    return _number(record(usage.get(kind)).get(name))


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else 0
