"""Tool calls of ``ToolNode``, of which each runs once although its node may start over."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from sessile.agents.langgraph.progress import Progress

PROGRESS = "__sessile_progress"  # in the configuration of a turn's run
UNKNOWN = "The server restarted while this tool ran: it is not known whether it had an effect."

_serializer = JsonPlusSerializer()


def watch_tools(graph: Pregel[Any, Any, Any, Any]) -> None:
    """Let all nodes of a graph that run tools report them. In runs without a turn nothing changes."""
    graphs = [graph, *(inner for _, inner in graph.get_subgraphs(recurse=True))]
    for found in graphs:
        for node in getattr(found, "nodes", {}).values():
            bound = getattr(node, "bound", None)
            if isinstance(bound, ToolNode):
                _watch(bound)


def _watch(node: ToolNode) -> None:
    inner = getattr(node, "_awrap_tool_call", None)
    only_sync = inner is None and getattr(node, "_wrap_tool_call", None) is not None
    if only_sync or isinstance(inner, _Once) or not hasattr(node, "_awrap_tool_call"):
        return
    node._awrap_tool_call = _Once(inner)


class _Once:
    """A wrapper of a tool call, around the one that the node has."""

    def __init__(self, inner: Callable[[Any, Any], Awaitable[Any]] | None) -> None:
        self._inner = inner

    async def __call__(self, request: Any, execute: Callable[[Any], Awaitable[Any]]) -> Any:
        configured = request.runtime.config.get("configurable", {})
        progress: Progress | None = configured.get(PROGRESS)
        if progress is None:
            return await self._run(request, execute)
        call = request.tool_call
        key = f"{configured.get('checkpoint_ns', '')}/{call['id']}"
        if key in progress.calls:  # the node was interrupted by another one of its calls
            return await asyncio.shield(progress.calls[key])
        tools = progress.record.tools
        if key in progress.former and key in tools:
            return _former(call, tools[key])
        tools[key] = None
        await progress.keep()
        done = progress.calls[key] = asyncio.get_running_loop().create_future()
        try:
            result = await self._run(request, execute)
        except BaseException as error:
            done.cancel()
            del progress.calls[key]
            if isinstance(error, GraphBubbleUp):  # it asks, and begins again with the answer
                tools.pop(key, None)
                await progress.keep()
            raise
        done.set_result(result)
        tools[key] = _packed(result)
        await progress.keep()
        return result

    async def _run(self, request: Any, execute: Callable[[Any], Awaitable[Any]]) -> Any:
        return await (execute(request) if self._inner is None else self._inner(request, execute))


def _former(call: Any, packed: list[str] | None) -> Any:
    """What a call returned that had started before the turn was cut off."""
    if packed is None:
        return ToolMessage(UNKNOWN, tool_call_id=call["id"], name=call["name"], status="error")
    return _serializer.loads_typed((packed[0], b64decode(packed[1])))


def results(progress: Progress) -> list[ToolMessage]:
    """What the tools of the step have returned that runs or was interrupted."""
    known = [packed for packed in progress.record.tools.values() if packed is not None]
    found = [_serializer.loads_typed((kind, b64decode(data))) for kind, data in known]
    return [result for result in found if isinstance(result, ToolMessage)]


def _packed(result: Any) -> list[str] | None:
    try:
        kind, data = _serializer.dumps_typed(result)
    except Exception:  # a value that only this process has
        return None
    return [kind, b64encode(data).decode()]
