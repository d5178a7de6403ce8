"""Converts OpenCode's events of one answer to parts of a message. Pure."""

from typing import Any

from sessile.agents.base import Output, Usage
from sessile.agents.kit.providers import Kind, kind_of, provider_error, reason_in
from sessile.agents.kit.rounds import Paragraphs
from sessile.wire.errors import AgentError
from sessile.wire.parts import DataPart, FilePart, ReasoningPart, ToolCallPart

_STATES = {"pending": "pending", "running": "running", "completed": "complete", "error": "error"}
_KINDS: dict[str, Kind] = {"ProviderAuthError": "key", "ContextOverflowError": "length"}
_ABORTED = "MessageAbortedError"


class Parts:
    """The answer to one prompt in one session, after the messages that were ``known`` before.

    An answer is several messages of OpenCode, one for each step, all with the prompt as their
    parent. After restarts there are several prompts, all but the first to go on. Content may arrive twice, whole after its pieces, or only whole if events were lost.
    Content that was shown is not shown again.
    """

    def __init__(self, session: str, known: set[str]) -> None:
        self.error: dict[str, Any] | None = None
        self._session = session
        self._known = known
        self._most = 1
        self._prompts: list[str] = []
        self._messages: dict[str, dict[str, Any]] = {}
        self._kinds: dict[str, str] = {}
        self._shown: dict[str, str] = {}  # text, by the id of its part
        self._calls: dict[tuple[str, str], ToolCallPart] = {}  # by message and OpenCode's own id
        self._torn: set[str] = set()  # parts with lost pieces: they arrive whole at their end
        self._paragraphs = Paragraphs()

    def take(self, event: dict[str, Any]) -> list[Output]:
        """What an event adds to the answer."""
        kind, about = event["type"], event["properties"]
        if about.get("sessionID") != self._session:
            return []
        if kind == "message.updated":
            self._message(about["info"])
        elif kind == "message.part.updated":
            return self.part(about["part"])
        elif kind == "message.part.delta":
            if about["partID"] in self._kinds and about["partID"] not in self._torn:
                return self._delta(about["partID"], about["delta"])
        elif kind == "todo.updated":
            return [DataPart("plan", [_step(todo) for todo in about["todos"]])]
        elif kind == "session.error":
            self.error = self.error or about.get("error")
        return []

    def take_message(self, message: dict[str, Any]) -> list[Output]:
        """What a whole message adds to the output so far."""
        self._message(message["info"])
        return [output for part in message["parts"] for output in self.part(part)]

    def miss(self) -> None:
        """Some events were lost."""
        self._torn.update(self._kinds)

    def _message(self, info: dict[str, Any]) -> None:
        if info["id"] in self._known:
            return
        if info["role"] == "user":
            if info["id"] not in self._prompts and len(self._prompts) < self._most:
                self._prompts.append(info["id"])
        elif info.get("parentID") in self._prompts:
            self._messages[info["id"]] = info
            if info["parentID"] == self._prompts[-1]:
                self.error = self.error or info.get("error")

    def expect(self, messages: list[dict[str, Any]]) -> None:
        """Take the messages that are there as those of the answer."""
        self._most = sum(message["info"]["role"] == "user" for message in messages)

    def go_on(self) -> None:
        """Another prompt follows: how the last one ended does not count."""
        self._most = len(self._prompts) + 1
        self.error = None

    def part(self, part: dict[str, Any]) -> list[Output]:
        if part["messageID"] not in self._messages:
            return []
        kind = self._kinds[part["id"]] = part["type"]
        if kind in ("text", "reasoning"):
            shown, text = self._shown.get(part["id"], ""), part["text"]
            return self._delta(part["id"], text[len(shown) :]) if text.startswith(shown) else []
        if kind == "tool":
            self._paragraphs.interrupt()
            call = self._calls[part["messageID"], part["callID"]] = _tool(part)
            return [call]
        if kind == "file" and part["id"] not in self._shown:
            self._shown[part["id"]] = ""
            return [FilePart(part["mime"], part["url"], part.get("filename") or "file")]
        return []

    def _delta(self, part: str, text: str) -> list[Output]:
        if not text:
            return []
        kind = self._kinds[part]
        first = part not in self._shown
        self._shown[part] = self._shown.get(part, "") + text
        if first:
            text = self._paragraphs.begin(kind) + text
        return [ReasoningPart(text) if kind == "reasoning" else text]

    def call(self, permission: dict[str, Any]) -> ToolCallPart:
        """The tool call of a request; a new one if there is none."""
        tool = permission.get("tool") or {}
        known = self._calls.get((tool.get("messageID", ""), tool.get("callID", "")))
        if known is not None:
            return known
        return ToolCallPart(
            permission["id"],
            permission.get("permission", "question"),
            permission.get("metadata") or permission.get("questions") or permission.get("patterns"),
            "pending",
        )

    # How it ended -------------------------------------------------------------------------------

    @property
    def completed(self) -> bool:
        """Whether the last prompt has messages and all of them are complete."""
        last = self._prompts[-1:]
        infos = [info for info in self._messages.values() if info.get("parentID") in last]
        return bool(infos) and all("completed" in info["time"] for info in infos)

    @property
    def aborted(self) -> bool:
        return self.error is not None and self.error.get("name") == _ABORTED

    @property
    def too_long(self) -> bool:
        return any(info.get("finish") == "length" for info in self._messages.values())

    @property
    def model(self) -> str | None:
        for info in self._messages.values():
            return f"{info['providerID']}/{info['modelID']}"
        return None

    def usage(self) -> tuple[Usage, float]:
        """The tokens of all steps, and their cost in USD."""
        total, cost = Usage(), 0.0
        for info in self._messages.values():
            tokens, cache = info["tokens"], info["tokens"]["cache"]
            total.input_tokens += tokens["input"] + cache["read"] + cache["write"]
            total.cached_input_tokens += cache["read"]
            total.output_tokens += tokens["output"] + tokens["reasoning"]
            total.reasoning_tokens += tokens["reasoning"]
            cost += info["cost"]
        return total, cost

    def failure(self) -> AgentError:
        """The error as users see it, with OpenCode's own as its details."""
        error = self.error or {}
        name, data = str(error.get("name")), error.get("data") or {}
        reply = f"{name}: {data.get('message')} {data.get('responseBody') or ''}"
        reason = reason_in(data.get("responseBody")) or reason_in(data.get("message"))
        if name in _KINDS:
            return provider_error(_KINDS[name], reply, reason)
        if isinstance(status := data.get("statusCode"), int):
            return provider_error(kind_of(status, reply), reply, reason)
        return AgentError("OpenCode failed.", details=reply, reason=reason)


def _tool(part: dict[str, Any]) -> ToolCallPart:
    state = part["state"]
    call = ToolCallPart(
        part["id"],
        part["tool"],
        state.get("input") or {},
        _STATES[state["status"]],  # type: ignore[arg-type]
    )
    if state["status"] == "completed":
        call.tool_output = state["output"]
    elif state["status"] == "error":
        call.error = state["error"]
    else:
        output = (state.get("metadata") or {}).get("output")
        if output:
            call.tool_output = output
    return call


def _step(todo: dict[str, Any]) -> dict[str, Any]:
    return {name: todo[name] for name in ("content", "status", "priority") if name in todo}
