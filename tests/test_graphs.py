"""LangGraph graphs as people build them: agents inside graphs, results in any form, breakpoints."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

from tests.asking import answer, question
from tests.serving import serving


class Model(BaseChatModel):
    """Calls a tool ``calls`` times, always with the same id, and then says four words."""

    calls: int = 1

    @property
    def _llm_type(self) -> str:
        return "fake"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        done = 0
        for message in reversed(messages):
            if isinstance(message, HumanMessage):
                break
            done += isinstance(message, ToolMessage)
        if done < self.calls:
            call: Any = {"name": "add", "args": f'{{"a": {done}}}', "id": "call_0", "index": 0}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))
            return
        for word in ("The ", "answer ", "is ", "here."):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            await asyncio.sleep(0)


@tool
def add(a: int) -> int:
    """Add."""
    return a + 1


def agent(calls: int = 1, **compiled: Any) -> Any:
    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await Model(calls=calls).ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think")
    graph.add_node("tools", ToolNode([add])).add_edge("tools", "think")
    graph.add_conditional_edges("think", tools_condition)
    return graph.compile(**compiled)


def around(node: Any, **compiled: Any) -> Any:
    """A graph with one node."""
    return StateGraph(MessagesState).add_node("n", node).add_edge(START, "n").compile(**compiled)


async def call_it(state: MessagesState) -> dict[str, Any]:
    """A supervisor that calls an agent and gives what it said as its own."""
    done = await agent().ainvoke({"messages": state["messages"]})
    return {"messages": [AIMessage(done["messages"][-1].text, name="worker")]}


@pytest.mark.parametrize(
    "graph",
    [agent(), around(agent()), around(agent(), checkpointer=InMemorySaver()), around(around(agent())), around(call_it)],
    ids=["itself", "as a node", "with checkpoints", "two deep", "called in a node"],
)  # fmt: skip
async def test_an_agent_is_shown_alike_wherever_in_a_graph_it_is(
    tmp_path: Path, graph: Any
) -> None:
    async with serving(tmp_path, agent=graph) as chat:
        for _ in range(2):
            events = await chat.send("s", "add")
            tool, said = events[-2].data["parts"]
            assert (tool["state"], tool["toolInput"], tool["toolOutput"]) == ("complete", {"a": 0}, "1")  # fmt: skip
            assert said["content"] == "The answer is here."
            assert sum(event.data["type"] == "delta" for event in events) == 4


async def test_a_tool_call_id_that_a_model_uses_again(tmp_path: Path) -> None:
    async with serving(tmp_path, agent=agent(calls=3)) as chat:
        parts = (await chat.send("s", "add"))[-2].data["parts"]
    assert [part.get("toolOutput") for part in parts] == ["1", "2", "3", None]


@pytest.mark.parametrize(
    "returned",
    [
        [{"role": "assistant", "content": "it is here"}],
        {"role": "ai", "content": "it is here"},
        [("ai", "it is here")],
        [("assistant", "it is here")],
        [{"type": "ai", "content": "it is here"}],
        "it is here",
        ["it is here"],
        AIMessage("it is here"),
        [AIMessage([{"type": "text", "text": "it is here"}])],
        [HumanMessage("it is here", name="worker")],
    ],
    ids=repr,
)
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: Command(update=state)])
async def test_a_message_in_any_form_is_shown(
    tmp_path: Path, returned: Any, wrap: Callable[[Any], Any]
) -> None:
    async def node(_: MessagesState) -> Any:
        return wrap({"messages": returned})

    async with serving(tmp_path, agent=around(around(node))) as chat:
        for _ in range(2):
            assert (await chat.send("s", "Hi"))[-2].data["content"] == "it is here"


class State(MessagesState):
    answer: Any
    other: Any


@pytest.mark.parametrize(
    ("returned", "part"),
    [
        ({"answer": "it is here", "other": "not this"}, "it is here"),
        ({"other": "it is here"}, "it is here"),
        ({"answer": AIMessage("it is here")}, "it is here"),
        ({"answer": {"total": 3}}, {"answer": {"total": 3}}),
    ],
)
async def test_an_answer_under_another_key_is_shown(
    tmp_path: Path, returned: Any, part: Any
) -> None:
    async def node(_: State) -> Any:
        return returned

    empty: Any = StateGraph(State)
    graph = empty.add_node("n", node).add_edge(START, "n").compile()
    async with serving(tmp_path, agent=graph) as chat:
        message = (await chat.send("s", "Hi"))[-2].data
    assert (message["content"] or message["parts"][0]["data"]) == part


@pytest.mark.parametrize("returned", [None, {"messages": []}, {"messages": [AIMessage("")]}])
async def test_a_graph_without_an_answer_says_so(tmp_path: Path, returned: Any) -> None:
    async def node(_: MessagesState) -> Any:
        return returned

    async with serving(tmp_path, agent=around(node)) as chat:
        events = await chat.send("s", "Hi")
    assert events[-3].data["status"] == "error"
    assert events[-2].data["error"] == "The graph ended without an answer."


@pytest.mark.parametrize("stops", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("approve", [True, False])
async def test_a_breakpoint_asks_people(tmp_path: Path, stops: str, approve: bool) -> None:
    node = "tools" if stops == "interrupt_before" else "think"
    breakpoint: dict[str, Any] = {stops: [node]}
    graph = agent(checkpointer=InMemorySaver(), **breakpoint)
    async with serving(tmp_path, agent=graph) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "add"))
        asked = await question(socket)
        assert (asked["toolName"], asked["toolInput"]) == ("add", {"a": 0})
        await answer(chat, asked["question"]["id"], approve)
        message = (await sending)[-2].data
    assert message["status"] == "complete"
    assert message["content"] == ("The answer is here." if approve else "")
    assert message["parts"][0]["state"] == ("complete" if approve else "error")


async def test_a_breakpoint_before_a_node_without_tools_and_one_without_a_checkpointer(
    tmp_path: Path,
) -> None:
    async def node(_: MessagesState) -> Any:
        return {"messages": "it is here"}

    for n, compiled in enumerate(({"checkpointer": InMemorySaver()}, {})):
        graph = around(node, interrupt_before=["n"], **compiled)
        async with serving(tmp_path, agent=graph, approve="allow") as chat:
            message = (await chat.send(f"s{n}", "Hi"))[-2].data
            assert message["parts"][0]["toolInput"] == {"next": ["n"]}
            assert message["content"] == "it is here"


async def test_a_graph_without_a_checkpointer_may_have_any_state(tmp_path: Path) -> None:
    class Odd(MessagesState):
        odd: Any

    async def one(_: Odd) -> Any:
        return {"odd": {"lock": threading.Lock(), "local": type("Local", (), {})()}}

    async def two(state: Odd) -> Any:
        return {"messages": f"it is {state['odd']['lock'].locked()}"}

    built: Any = StateGraph(Odd)
    built.add_node("one", one).add_node("two", two).add_edge(START, "one").add_edge("one", "two")
    async with serving(tmp_path, agent=built.compile()) as chat:
        assert (await chat.send("s", "Hi"))[-2].data["content"] == "it is False"


async def test_an_interrupt_with_a_schema_is_answered_with_an_output(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}

    async def node(_: MessagesState) -> Any:
        return {"messages": f"so {interrupt({'question': 'How old?', 'schema': schema})['age']}"}

    async with serving(tmp_path, agent=around(node)) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "Hi"))
        asked = (await question(socket))["question"]
        assert (asked["kind"], asked["schema"]) == ("output", schema)
        assert (await answer(chat, asked["id"], output={"age": "old"}))[0] == 400
        assert (await answer(chat, asked["id"], output={"age": 7}))[0] == 200
        assert (await sending)[-2].data["content"] == "so 7"


async def test_token_counts_in_part(tmp_path: Path) -> None:
    async def node(_: MessagesState) -> Any:
        message = AIMessage("Hi")
        message.usage_metadata = {"input_tokens": 3, "output_tokens": None, "total_tokens": 3, "input_token_details": None}  # type: ignore[assignment] # fmt: skip
        return {"messages": [message]}

    async with serving(tmp_path, agent=around(node)) as chat:
        assert (await chat.send("s", "Hi"))[-2].data["metadata"]["usage"] == {"inputTokens": 3}


async def test_a_question_without_an_answer_and_the_next_are_one(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def node(state: MessagesState) -> Any:
        seen.append([str(message.text) for message in state["messages"]])
        return None if len(seen) == 1 else {"messages": "answered"}

    async with serving(tmp_path, agent=around(node)) as chat:
        for said in ("one", "two", "three"):
            await chat.send("s", said)
    assert seen == [["one"], ["one\n\ntwo"], ["one\n\ntwo", "answered", "three"]]


async def test_a_tool_runs_once_although_another_one_of_its_node_interrupts(tmp_path: Path) -> None:
    ran: list[str] = []
    goes_on = asyncio.Event()

    @tool
    async def quick() -> str:
        """Quick."""
        ran.append("quick")
        return "quick is done"

    @tool
    async def slow() -> str:
        """Slow."""
        ran.append("slow")
        await goes_on.wait()
        return "slow is done"

    @tool
    async def asks() -> str:
        """Ask."""
        return f"they said {interrupt('May I?')}"

    async def think(state: MessagesState) -> Any:
        if isinstance(state["messages"][-1], ToolMessage):
            return {"messages": AIMessage("done")}
        calls: Any = [{"name": found.name, "args": {}, "id": found.name} for found in tools]
        return {"messages": AIMessage("", tool_calls=calls)}

    tools = [quick, slow, asks]
    built = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think")
    built.add_node("tools", ToolNode(tools)).add_edge("tools", "think")
    built.add_conditional_edges("think", tools_condition)
    async with serving(tmp_path, agent=built.compile()) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "go"))
        asked = (await question(socket))["question"]
        await answer(chat, asked["id"], True, message="yes")
        goes_on.set()
        parts = (await sending)[-2].data["parts"]
    assert ran == ["quick", "slow"]
    outputs = {part["toolName"]: part["toolOutput"] for part in parts if "toolName" in part}
    assert outputs == {
        "quick": "quick is done",
        "slow": "slow is done",
        "asks": "they said yes",
        "interrupt": "yes",
    }
