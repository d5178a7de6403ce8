"""A LangGraph graph whose state has messages."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt

from sessile.agents.base import DENIED, Decision, Output, Turn, Usage
from sessile.agents.kit.alternate import alternating
from sessile.agents.kit.conversation import HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.langgraph.messages import as_known, jsonable
from sessile.agents.langgraph.parts import Parts
from sessile.wire.errors import AgentError
from sessile.wire.ids import new_id
from sessile.wire.parts import ToolCallPart


class LangGraphAgent:
    """A compiled graph, which receives the session's history as ``messages`` in LangChain's types.

    Its nodes find the turn in ``config["configurable"]["turn"]``. A graph with a checkpointer may
    ``interrupt``, or be compiled with ``interrupt_before`` and ``interrupt_after``: Sessile asks
    the users, and the graph continues with their decision. Checkpoints are deleted at the end of
    the turn; the session is what lasts. The output of agents that are nodes of a graph, or that a
    node calls, is shown as the graph's own.
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
        known = alternating(map(self._files.shown, [*shown, turn.message]))
        messages = [found for message in known for found in as_known(message)]
        run = _Run(self._graph, turn, Parts(message.id for message in messages))
        try:
            async for output in run.outputs({"messages": messages}):
                yield output
        finally:
            if isinstance(self._graph.checkpointer, BaseCheckpointSaver):
                await self._graph.checkpointer.adelete_thread(turn.answer_id)


class _Run:
    """One turn of a graph, from its beginning over its questions to its end."""

    def __init__(self, graph: Pregel[Any, Any, Any, Any], turn: Turn, parts: Parts) -> None:
        self._graph = graph
        self._turn = turn
        self._parts = parts
        self._config: Any = {"configurable": {"thread_id": turn.answer_id, "turn": turn}}
        self._interrupts: dict[str, Interrupt] = {}
        self._stopped = False  # at a breakpoint

    async def outputs(self, given: Any) -> AsyncGenerator[Output, None]:
        """Raises :class:`~sessile.wire.errors.AgentError` if there is no answer."""
        going = True
        while going:
            self._interrupts, self._stopped = {}, False
            async for output in self._stream(given):
                yield output
            if self._parts.usage != Usage():
                self._turn.metadata["usage"] = self._parts.usage
            if self._interrupts:
                given, shown = await _asked(self._turn, self._parts, [*self._interrupts.values()])
                for output in shown:
                    yield output
            else:
                given, going = None, self._stopped and await self._passed()
        if self._parts.empty:
            for output in self._parts.rest():
                self._parts.empty = False
                yield output
        if self._parts.empty:
            raise AgentError("The graph ended without an answer.")

    async def _stream(self, given: Any) -> AsyncGenerator[Output, None]:
        stream = self._graph.astream(
            given, self._config, stream_mode=["messages", "updates"], subgraphs=True
        )
        async with aclosing(stream) as events:  # type: ignore[type-var]
            event: Any
            async for graph, mode, event in events:
                if mode == "messages":
                    found = self._parts.message(event[0])
                else:
                    interrupts = event.get("__interrupt__")
                    self._stopped = self._stopped or interrupts == ()
                    self._interrupts |= {found.id: found for found in interrupts or ()}
                    found = self._parts.updates(event, outermost=not graph)
                for output in found:
                    yield output

    async def _passed(self) -> bool:
        """Ask the users whether the graph may go on behind a breakpoint."""
        if not isinstance(self._graph.checkpointer, BaseCheckpointSaver):
            raise AgentError(
                "The graph stopped at a breakpoint, and cannot go on: compile it with a checkpointer."
            )
        following = (await self._graph.aget_state(self._config)).next
        if not following:
            return False
        before = ToolCallPart(new_id(), "breakpoint", {"next": list(following)}, "pending")
        calls = self._parts.open_calls() or [before]
        decisions = await asyncio.gather(*(self._turn.ask(call) for call in calls))
        self._parts.empty = False
        return all(decision.approved for decision in decisions)


async def _asked(
    turn: Turn, parts: Parts, interrupts: list[Interrupt]
) -> "tuple[Command[Any], list[Output]]":
    """Ask the users about each interrupt; return how to continue and what to show."""
    asked = await asyncio.gather(*(_ask(turn, parts, interrupt) for interrupt in interrupts))
    resume = {
        interrupt.id: answer for interrupt, (answer, _) in zip(interrupts, asked, strict=True)
    }
    return Command(resume=resume), [part for _, part in asked if part is not None]


async def _ask(turn: Turn, parts: Parts, interrupt: Interrupt) -> tuple[Any, Output | None]:
    value = interrupt.value
    if isinstance(value, dict) and isinstance(value.get("action_requests"), list):
        # LangChain's human-in-the-loop middleware: one decision for each tool call.
        calls = [parts.open_call(request) for request in value["action_requests"]]
        decisions = await asyncio.gather(*(turn.ask(call) for call in calls))
        return {"decisions": [_decided(decision) for decision in decisions]}, None
    call = ToolCallPart(interrupt.id, "interrupt", jsonable(value), "pending")
    decision = await turn.ask(call, key="")
    if not decision.approved:
        return False, None
    answer = decision.message or True
    return answer, msgspec.structs.replace(call, state="complete", tool_output=answer)


def _decided(decision: Decision) -> dict[str, str]:
    if decision.approved:
        return {"type": "approve"}
    return {"type": "reject", "message": decision.message or DENIED}
