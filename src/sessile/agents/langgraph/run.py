"""One turn of a graph, from its beginning over its questions to its end."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import msgspec
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt, StateSnapshot

from sessile.agents.base import DENIED, Decision, Output, Turn, Usage
from sessile.agents.langgraph.kept import dump
from sessile.agents.langgraph.messages import jsonable
from sessile.agents.langgraph.parts import Parts
from sessile.agents.langgraph.progress import Progress
from sessile.agents.langgraph.tools import PROGRESS, results
from sessile.wire.errors import AgentError
from sessile.wire.parts import ToolCallPart

log = logging.getLogger(__name__)


class Run:
    """One turn of a graph, which has a checkpointer."""

    def __init__(
        self, graph: Pregel[Any, Any, Any, Any], turn: Turn, parts: Parts, progress: Progress
    ) -> None:
        self._graph = graph
        self._turn = turn
        self._parts = parts
        self._progress = progress
        self._spent = msgspec.convert(turn.metadata.get("usage", {}), Usage)  # in former runs
        self._config: Any = {
            "configurable": {"thread_id": turn.answer_id, "turn": turn, PROGRESS: progress}
        }
        self._interrupts: dict[str, Interrupt] = {}
        self._stopped = False  # at a breakpoint

    async def outputs(self, given: Any) -> AsyncGenerator[Output, None]:
        """Raises :class:`~sessile.wire.errors.AgentError` if there is no answer."""
        going = True
        if self._turn.unfinished is not None:
            state = await self._graph.aget_state(self._config, subgraphs=True)
            if state.created_at is not None:
                for output in self._parts.known(_messages(state)):
                    self._progress.record.outer = None  # it is behind text that was cut off
                    yield output
                self._interrupts = {found.id: found for found in state.interrupts}
                self._stopped = self._stops(state)
                given, going = None, bool(state.tasks)  # also those that have only to be applied
                if not going:
                    self._parts.ended(state.values)
        while going:
            if self._interrupts:
                for output in self._parts.pause(results(self._progress)):
                    yield output
                given, shown = await _asked(self._turn, self._parts, [*self._interrupts.values()])
                for output in [*shown, *self._parts.go_on()]:
                    yield output
            elif self._stopped:
                given = None
                if not await self._passed():
                    break
            self._interrupts, self._stopped = {}, False
            async with aclosing(self._stream(given)) as outputs:
                async for output in outputs:
                    yield output
            going = bool(self._interrupts) or self._stopped
        if self._parts.empty:
            for output in self._parts.rest():
                self._parts.empty = False
                yield output
        if self._parts.empty:
            raise AgentError("The graph ended without an answer.")

    async def added(self, ended: bool) -> list[Any] | None:
        """The messages that the turn has added to the graph's state, as JSON; where it has not
        ended, those of the finished steps. None if they cannot be kept."""
        if not ended and self._progress.record.outer is None:
            return None
        try:
            state = await self._graph.aget_state(self._config)
            if not ended:  # as of its checkpoint, without what nodes of the next step returned
                state = await self._graph.aget_state(state.config)
        except Exception:
            log.exception("the state of the graph %s cannot be read", self._graph.get_name())
            return None
        return dump(state.values, self._turn.message.id)

    async def _stream(self, given: Any) -> AsyncGenerator[Output, None]:
        stream = self._graph.astream(
            given,
            self._config,
            stream_mode=["messages", "updates"],
            subgraphs=True,
            durability="sync",
        )
        async with aclosing(stream) as events:  # type: ignore[type-var]
            event: Any
            async for graph, mode, event in events:
                if mode == "updates":
                    await asyncio.sleep(0)  # the task's results reach the checkpointer
                    await self._progress.flush()
                for output in self._shown(graph, mode, event):
                    yield output

    def _shown(self, graph: Any, mode: str, event: Any) -> Iterator[Output]:
        if mode == "messages":
            yield from self._parts.message(event[0])
            return
        interrupts = event.get("__interrupt__")
        self._stopped = self._stopped or interrupts == ()
        self._interrupts |= {found.id: found for found in interrupts or ()}
        if not graph:
            for name in event:
                self._progress.ran(name)
        yield from self._parts.updates(event, outermost=not graph)
        if self._parts.usage != Usage():
            self._turn.metadata["usage"] = _sum(self._spent, self._parts.usage)

    # Breakpoints --------------------------------------------------------------------------------

    def _stops(self, state: StateSnapshot) -> bool:
        """Whether a graph that goes on stands at a breakpoint that nobody has passed."""
        record = self._progress.record
        if record.stopped is not None:
            return True
        if record.passed == _checkpoint(state):
            return False
        before, after = self._graph.interrupt_before_nodes, self._graph.interrupt_after_nodes
        return _has(before, state.next) or _has(after, record.ran)

    async def _passed(self) -> bool:
        """Ask the users whether the graph may go on behind a breakpoint."""
        state = await self._graph.aget_state(self._config)
        if not state.next:
            return False
        record = self._progress.record
        if record.stopped is None:
            id = f"breakpoint-{_checkpoint(state)}"
            before = ToolCallPart(id, "breakpoint", {"next": list(state.next)}, "pending")
            record.stopped = self._parts.open_calls() or [before]
            await self._progress.keep()
        decisions = await asyncio.gather(*(self._turn.ask(call) for call in record.stopped))
        self._parts.empty = False
        record.stopped, record.passed = None, _checkpoint(state)
        return all(decision.approved for decision in decisions)


def _checkpoint(state: StateSnapshot) -> str:
    """The id of the checkpoint of a state."""
    return str(state.config.get("configurable", {}).get("checkpoint_id", ""))


def _has(breakpoints: Any, nodes: Any) -> bool:
    if breakpoints == "*":
        return bool(nodes)
    return any(name in breakpoints for name in nodes)


def _messages(state: StateSnapshot) -> Iterator[Any]:
    """The messages in the state of a graph and of the graphs in its tasks."""
    values = state.values if isinstance(state.values, dict) else {}
    messages = values.get("messages")
    yield from messages if isinstance(messages, list) else ()
    for task in state.tasks:
        if isinstance(task.state, StateSnapshot):
            yield from _messages(task.state)


def _sum(one: Usage, other: Usage) -> Usage:
    counts = msgspec.structs.asdict(other)
    return Usage(**{name: count + getattr(one, name) for name, count in counts.items()})


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
        requests = enumerate(value["action_requests"])
        calls = [parts.open_call(request, f"{interrupt.id}.{n}") for n, request in requests]
        decisions = await asyncio.gather(*(turn.ask(call) for call in calls))
        return {"decisions": [_decided(decision) for decision in decisions]}, None
    call = ToolCallPart(interrupt.id, "interrupt", jsonable(value), "pending")
    if isinstance(value, dict) and isinstance(value.get("schema"), dict):
        result = await turn.call(call, call.tool_input["schema"])
        return (result.output if result.error is None else None), None
    decision = await turn.ask(call, key="")
    if not decision.approved:
        return False, None
    answer = decision.message or True
    return answer, msgspec.structs.replace(call, state="complete", tool_output=answer)


def _decided(decision: Decision) -> dict[str, str]:
    if decision.approved:
        return {"type": "approve"}
    return {"type": "reject", "message": decision.message or DENIED}
