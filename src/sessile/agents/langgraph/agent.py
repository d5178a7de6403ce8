"""A LangGraph graph whose state has messages."""

import copy
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

from sessile.agents.base import Output, Turn, Unfinished
from sessile.agents.kit.alternate import alternating
from sessile.agents.kit.conversation import HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.said import said_since, units
from sessile.agents.langgraph.messages import as_known
from sessile.agents.langgraph.parts import Parts
from sessile.agents.langgraph.progress import Progress, Record, load
from sessile.agents.langgraph.run import Run
from sessile.agents.langgraph.saver import TurnSaver, watched
from sessile.agents.langgraph.tools import watch_tools
from sessile.wire.errors import AgentError
from sessile.wire.parts import ToolCallPart

THREAD = "langgraphThread"  # in a session's private metadata: the thread that has checkpoints


class LangGraphAgent:
    """A compiled graph, which receives the session's history as ``messages`` in LangChain's types.

    Its nodes find the turn in ``config["configurable"]["turn"]``. It may ``interrupt``, or be
    compiled with ``interrupt_before`` and ``interrupt_after``: Sessile asks the users, and the graph
    continues with their answer. The output of agents that are nodes of a graph, or that a node
    calls, is shown as the graph's own.

    A turn that was cut off continues from its newest checkpoint: that of the graph's own
    checkpointer, or, if it has none or one in memory, that which is kept with the answer.
    Checkpoints are deleted at the end of the turn; the session is what lasts. With the answer of a
    graph without a durable checkpointer it keeps the messages that the turn added to the state: so a
    model gets back in later turns what it sent.
    """

    continues = True

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
        own = graph.checkpointer
        durable = isinstance(own, BaseCheckpointSaver) and not isinstance(own, InMemorySaver)
        self._durable: Any = own if durable else None
        watch_tools(graph)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        former = turn.unfinished or Unfinished([])
        stored = load(former.record)
        if stored is None or stored.lost:
            _check(former)
        record = stored or Record()
        if record.done:
            return
        shown = await turn.history(self._limits.messages, self._limits.characters)
        known = alternating(map(self._files.shown, [*shown, turn.message]))
        messages = [found for message in known for found in as_known(message)]
        rest = said_since(former.parts, record.said)
        parts = Parts((message.id for message in messages), former.parts, rest)
        progress = Progress(turn, record, units(former.text))
        if turn.unfinished is not None:
            turn.begin_part()
        run = Run(await self._graph_of(turn, progress), turn, parts, progress)
        try:
            async with aclosing(run.outputs({"messages": messages})) as outputs:
                async for output in outputs:
                    if isinstance(output, str):
                        progress.said += units(output)
                    yield output
        except Exception:
            await self._end(turn, progress, run)
            raise
        except BaseException:
            if not turn.is_left and self._durable is None:  # it was stopped
                await self._end(turn, progress, run)
            raise
        await self._end(turn, progress, run, ended=True)

    async def _end(self, turn: Turn, progress: Progress, run: Run, ended: bool = False) -> None:
        """Forget the checkpoints of a turn that does not go on, and keep its messages."""
        if self._durable is None:
            await progress.end(await run.added(ended))
        else:
            await progress.end(None)
            await self._durable.adelete_thread(turn.answer_id)

    async def _graph_of(self, turn: Turn, progress: Progress) -> Pregel[Any, Any, Any, Any]:
        """The graph, with a checkpointer."""
        if self._durable is not None:
            former = turn.private.get(THREAD)
            if former != turn.answer_id:
                await turn.remember({THREAD: turn.answer_id}, private=True)
                if isinstance(former, str):  # of a turn that was stopped or failed
                    await self._durable.adelete_thread(former)
            return _with(self._graph, watched(self._durable, progress))
        deltas = any(type(c).__name__ == "DeltaChannel" for c in self._graph.channels.values())
        saver = TurnSaver(progress, history=deltas)
        if progress.record.checkpoints is not None:
            saver.load(progress.record.checkpoints)
        return _with(self._graph, saver)


def _with(graph: Pregel[Any, Any, Any, Any], saver: Any) -> Pregel[Any, Any, Any, Any]:
    """A graph with another checkpointer."""
    graph = copy.copy(graph)
    graph.checkpointer = saver
    return graph


def _check(former: Unfinished) -> None:
    """Raises :class:`~sessile.wire.errors.AgentError` for a turn whose graph would start over and
    run tools again."""
    calls = (part for part in former.parts if isinstance(part, ToolCallPart))
    if any(call.state != "pending" for call in calls):
        raise AgentError(
            "The server restarted during this answer, and the state of its graph was not stored."
        )
