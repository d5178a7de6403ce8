"""A LangGraph graph whose state has messages."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

import msgspec
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt

from sessile.agents.base import DENIED, Decision, Output, Turn, Usage
from sessile.agents.kit.conversation import HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.rounds import Paragraphs, contents, result, rounds
from sessile.wire.codec import decode_json
from sessile.wire.codec import encode as encode_json
from sessile.wire.ids import new_id
from sessile.wire.messages import Message
from sessile.wire.parts import ReasoningPart, ToolCallPart


class LangGraphAgent:
    """A compiled graph, which receives the session's history as ``messages`` in LangChain's types.

    Its nodes find the turn in ``config["configurable"]["turn"]``. A graph with a checkpointer may
    ``interrupt``: Sessile asks the users, and the graph continues with their decision. Checkpoints
    are deleted at the end of the turn; the session is what lasts.
    """

    def __init__(
        self,
        graph: Pregel[Any, Any, Any, Any],
        limits: HistoryLimits = HistoryLimits(),  # noqa: B008
        files: FileHosts = FileHosts(),  # noqa: B008
    ) -> None:
        self.name = f"langgraph:{graph.get_name()}"
        self._graph = graph
        self._limits = limits
        self._files = files

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        shown = await turn.history(self._limits.messages, self._limits.characters)
        known = [self._files.shown(message) for message in [*shown, turn.message]]
        given: Any = {"messages": [m for message in known for m in _as_known(message)]}
        config: Any = {"configurable": {"thread_id": turn.answer_id, "turn": turn}}
        parts = _Parts()
        try:
            while given is not None:
                interrupts: list[Interrupt] = []
                stream = self._graph.astream(given, config, stream_mode=["messages", "updates"])
                async with aclosing(stream) as events:  # type: ignore[type-var]
                    event: Any
                    async for mode, event in events:
                        if mode == "messages":
                            for output in parts.message(event[0]):
                                yield output
                        else:
                            interrupts += event.get("__interrupt__", ())
                            for output in parts.updates(event):
                                yield output
                if parts.usage != Usage():
                    turn.metadata["usage"] = parts.usage
                given = None
                if interrupts:
                    given, asked = await _asked(turn, parts, interrupts)
                    for output in asked:
                        yield output
        finally:
            if isinstance(self._graph.checkpointer, BaseCheckpointSaver):
                await self._graph.checkpointer.adelete_thread(turn.answer_id)


class _Parts:
    """A graph's output as parts: text as it arrives, and tool calls with their results."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._calls: dict[str, ToolCallPart] = {}
        self._asked: set[str] = set()
        self._paragraphs = Paragraphs()
        self._last: tuple[str, str | None] = "", None  # kind and message of the last text
        self._counted: set[str | None] = set()

    def message(self, message: Any) -> Iterable[Output]:
        """A message, or a streamed piece of one."""
        if isinstance(message, ToolMessage):
            yield self._returned(message)
        elif isinstance(message, AIMessage):
            for block in message.content_blocks:
                if block["type"] == "text" and block["text"]:
                    yield self._opening("text", message.id) + block["text"]
                elif block["type"] == "reasoning" and block.get("reasoning"):
                    opening = self._opening("reasoning", message.id)
                    yield ReasoningPart(opening + block["reasoning"])
            if isinstance(message, AIMessageChunk):
                for piece in message.tool_call_chunks:
                    if piece["name"] and piece["id"]:
                        yield self._call(piece["id"], piece["name"], {}, "pending")

    def updates(self, update: dict[str, Any]) -> Iterable[Output]:
        """The result of a node: whole tool calls, and the usage of its models."""
        for message in _messages(update):
            if not isinstance(message, AIMessage):
                continue
            for call in message.tool_calls:
                if call["id"]:
                    yield self._call(call["id"], call["name"], call["args"], "running")
            self._count(message)

    def open_call(self, request: dict[str, Any]) -> ToolCallPart:
        """The newest tool call without a result that a request names."""
        name, given = request["name"], _jsonable(request.get("args"))
        for call in reversed(self._calls.values()):
            id = call.tool_call_id
            if (call.tool_name, call.tool_input) == (name, given) and id not in self._asked:
                self._asked.add(id)
                return msgspec.structs.replace(call, state="pending")
        return ToolCallPart(new_id(), name, given, "pending")

    def _opening(self, kind: str, message: str | None) -> str:
        """The separator before the text of a new message."""
        if (kind, message) == self._last:
            return ""
        self._last = kind, message
        return self._paragraphs.begin(kind)

    def _call(self, id: str, name: str, given: Any, state: Any) -> ToolCallPart:
        self._paragraphs.interrupt()
        call = self._calls[id] = ToolCallPart(id, name, _jsonable(given), state)
        return call

    def _returned(self, message: ToolMessage) -> ToolCallPart:
        id, name = message.tool_call_id, message.name or "tool"
        call = self._calls.get(id) or self._call(id, name, {}, "running")
        content = message.content
        if message.status == "error":
            return msgspec.structs.replace(call, state="error", error=str(message.text))
        output = content if isinstance(content, str) else _jsonable(content)
        return msgspec.structs.replace(call, state="complete", tool_output=output)

    def _count(self, message: AIMessage) -> None:
        used = message.usage_metadata
        if used is None or message.id in self._counted:
            return
        self._counted.add(message.id)
        self.usage.input_tokens += used["input_tokens"]
        self.usage.output_tokens += used["output_tokens"]
        self.usage.cached_input_tokens += used.get("input_token_details", {}).get("cache_read", 0)
        self.usage.reasoning_tokens += used.get("output_token_details", {}).get("reasoning", 0)


def _messages(update: dict[str, Any]) -> Iterable[BaseMessage]:
    for made in update.values():
        states = made if isinstance(made, list) else [made]
        for state in states:
            found = state.get("messages", ()) if isinstance(state, dict) else ()
            for message in found if isinstance(found, list) else [found]:
                if isinstance(message, BaseMessage):
                    yield message


# Questions ----------------------------------------------------------------------------------------


async def _asked(
    turn: Turn, parts: _Parts, interrupts: list[Interrupt]
) -> "tuple[Command[Any], list[Output]]":
    """Ask the users about each interrupt; return how to continue and what to show."""
    asked = await asyncio.gather(*(_ask(turn, parts, interrupt) for interrupt in interrupts))
    resume = {
        interrupt.id: answer for interrupt, (answer, _) in zip(interrupts, asked, strict=True)
    }
    return Command(resume=resume), [part for _, part in asked if part is not None]


async def _ask(turn: Turn, parts: _Parts, interrupt: Interrupt) -> tuple[Any, Output | None]:
    value = interrupt.value
    if isinstance(value, dict) and isinstance(value.get("action_requests"), list):
        # LangChain's human-in-the-loop middleware: one decision for each tool call.
        calls = [parts.open_call(request) for request in value["action_requests"]]
        decisions = await asyncio.gather(*(turn.ask(call) for call in calls))
        return {"decisions": [_decided(decision) for decision in decisions]}, None
    call = ToolCallPart(interrupt.id, "interrupt", _jsonable(value), "pending")
    decision = await turn.ask(call, key="")
    if not decision.approved:
        return False, None
    answer = decision.message or True
    return answer, msgspec.structs.replace(call, state="complete", tool_output=answer)


def _decided(decision: Decision) -> dict[str, str]:
    if decision.approved:
        return {"type": "approve"}
    return {"type": "reject", "message": decision.message or DENIED}


# The session's messages in LangChain's types ------------------------------------------------------


def _as_known(message: Message) -> list[BaseMessage]:
    if message.role == "user":
        return [HumanMessage(contents(message), id=message.id)]
    if message.role == "system":
        return [SystemMessage(message.content, id=message.id)]
    found: list[BaseMessage] = []
    for n, (text, calls) in enumerate(rounds(message)):
        called: Any = [
            {"id": call.tool_call_id, "name": call.tool_name, "args": _arguments(call)}
            for call in calls
        ]
        found.append(AIMessage(text, tool_calls=called, id=f"{message.id}.{n}"))
        for call in calls:
            status: Any = "success" if call.state == "complete" else "error"
            found.append(
                ToolMessage(
                    result(call),
                    tool_call_id=call.tool_call_id,
                    name=call.tool_name,
                    status=status,
                    id=f"{message.id}.{call.tool_call_id}",
                )
            )
    return found


def _arguments(call: ToolCallPart) -> dict[str, Any]:
    return call.tool_input if isinstance(call.tool_input, dict) else {"input": call.tool_input}


def _jsonable(value: Any) -> Any:
    """A value as JSON; text for what JSON cannot represent."""
    try:
        return decode_json(encode_json(value))
    except (TypeError, ValueError):
        return str(value)
