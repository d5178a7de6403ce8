"""Agents of frameworks continue: a deploy or a crash ends no answer, and no tool runs twice."""

from pathlib import Path
from typing import Any

import pytest

from sessile.agents.langgraph.tools import UNKNOWN as GRAPH_UNKNOWN
from sessile.agents.pydantic_ai.messages import UNKNOWN
from tests.restarting import ENDINGS, through_restarts

WRITE = '''
"""A model says ten words and calls a tool, six times; the tool writes a line into a file outside."""

import asyncio
from pathlib import Path


async def write(number: int) -> str:
    """Write."""
    with Path("ran.txt").open("a") as file:
        file.write(f"call{number}\\n")
    await asyncio.sleep(0.01)
    return "done"


async def words(results):
    for number in range(10 * results, 10 * results + 10 if results < 6 else 61):
        await asyncio.sleep(0.01)
        yield f"word{number} "

'''

PYDANTIC_AI = (
    WRITE
    + """
import json
from pydantic_ai import Agent
from pydantic_ai.models.function import DeltaToolCall, FunctionModel


async def model(messages, info):
    parts = [part for message in messages for part in message.parts]
    results = sum(part.part_kind == "tool-return" for part in parts)
    async for word in words(results):
        yield word
    if results < 6:
        given = json.dumps({"number": results})
        yield {1: DeltaToolCall(name="write", json_args=given, tool_call_id=f"call{results}")}


agent = Agent(FunctionModel(stream_function=model), tools=[write])
"""
)

LANGGRAPH = (
    WRITE
    + """
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


class Model(BaseChatModel):
    @property
    def _llm_type(self):
        return "fake"

    def _generate(self, *_, **__):
        raise NotImplementedError

    async def _astream(self, messages, *_, **__):
        results = sum(isinstance(message, ToolMessage) for message in messages)
        async for word in words(results):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        if results < 6:
            given = '{"number": %d}' % results
            call = {"name": "write", "args": given, "id": f"call{results}", "index": 0}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))


async def think(state: MessagesState):
    return {"messages": [await Model().ainvoke(state["messages"])]}


graph = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think")
graph.add_node("tools", ToolNode([write])).add_edge("tools", "think")
agent = graph.add_conditional_edges("think", tools_condition).compile()
"""
)


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize(
    ("module", "unknown"),
    [(PYDANTIC_AI, UNKNOWN), (LANGGRAPH, GRAPH_UNKNOWN)],
    ids=["pydantic-ai", "langgraph"],
)
async def test_a_turn_continues_over_many_restarts(
    tmp_path: Path, module: str, unknown: str, end: str
) -> None:
    (tmp_path / "author.py").write_text(module)
    seen = await through_restarts(
        tmp_path,
        "--agent",
        "author:agent",
        content="write",
        end=ENDINGS[end],
        every=[4, 21, 13, 26],
        PYTHONPATH=str(tmp_path),
    )
    assert seen.answer["status"] == "complete", seen.answer
    assert seen.restarts >= 3
    calls = [part for part in seen.answer["parts"] if part["type"] == "tool-call"]
    assert [call["toolInput"] for call in calls] == [{"number": number} for number in range(6)]
    ran = (tmp_path / "ran.txt").read_text().split()
    assert len(ran) == len(set(ran)), "no call ran twice"
    assert {name(call) for call in calls if call["state"] == "complete"} <= set(ran)
    errors = [call for call in calls if call["state"] != "complete"]
    assert [call["error"] for call in errors] == [unknown] * len(errors)
    assert set(ran) <= set(map(name, calls))


def name(call: dict[str, Any]) -> str:
    return f"call{call['toolInput']['number']}"
