"""What a graph gets in later turns of the messages that it had."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from sessile.agents.langgraph.kept import LARGEST, dump, kept
from sessile.agents.langgraph.messages import as_known
from sessile.wire.messages import PastMessage
from sessile.wire.parts import Part, TextPart, ToolCallPart
from tests.serving import Client, frames, serving

CALL = {"name": "add", "args": {"a": 1}, "id": "toolu_1"}


class Model(BaseChatModel):
    """Thinks and calls a tool, and then says something; keeps its input."""

    shown: list[list[BaseMessage]] = []  # noqa: RUF012  (a field of a pydantic model)

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.shown.append([message.model_copy(deep=True) for message in messages])
        last = messages[-1]
        said = said_last() if isinstance(last, ToolMessage) else AIMessage("well")
        if last.text == "add":
            said = thought()
        return ChatResult(generations=[ChatGeneration(message=said)])


def thought(**fields: Any) -> AIMessage:
    content: Any = [
        {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
        {"type": "text", "text": "let me see"},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
    ]
    return AIMessage(
        content, tool_calls=[CALL], response_metadata={"id": "gen_1", "model": "m"}, **fields
    )


def said_last(**fields: Any) -> AIMessage:
    content: Any = [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "x", "summary": []},
        {"type": "text", "text": "it is 2", "id": "msg_1"},
    ]
    return AIMessage(content, response_metadata={"id": "resp_1"}, **{"id": "msg_1", **fields})


@tool(response_format="content_and_artifact")
def add(a: int) -> tuple[str, Any]:
    """Add."""
    return str(a + 1), {a}


def graph(model: BaseChatModel, *tools: Any, **compiled: Any) -> Any:
    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    built = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think")
    built.add_node("tools", ToolNode([add, *tools])).add_edge("tools", "think")
    built.add_conditional_edges("think", tools_condition)
    return built.compile(**compiled)


def plain(messages: list[BaseMessage]) -> list[Any]:
    """Messages as providers get them: without ids, artifacts and the counts of tokens."""
    left_out = {"id", "artifact", "usage_metadata"}
    return [message.model_dump(exclude=left_out) for message in messages]


async def first(chat: Client) -> list[dict[str, Any]]:
    assert (await chat.send("s", "add"))[-2].data["status"] == "complete"
    return await chat.messages("s")


def from_parts(question: str, answer: str) -> list[BaseMessage]:
    """What the graph gets of the first turn where nothing was kept."""
    return [
        HumanMessage("add", id=question),
        AIMessage("let me see", tool_calls=[CALL], id=f"{answer}.0"),
        ToolMessage("2", tool_call_id="toolu_1", name="add", id=f"{answer}.toolu_1"),
        AIMessage("\n\nit is 2", id=f"{answer}.1"),
    ]


async def test_a_model_gets_back_what_it_sent(tmp_path: Path) -> None:
    model = Model()
    async with serving(tmp_path, agent=graph(model)) as chat:
        question, answer = (message["id"] for message in await first(chat))
        await chat.send("s", "more")
    expected = [
        HumanMessage("add", id=question),
        thought(id=f"{answer}.0"),
        ToolMessage("2", tool_call_id="toolu_1", name="add", id=f"{answer}.1"),
        said_last(),
    ]
    assert model.shown[2][:-1] == expected
    assert plain(model.shown[2][:3]) == plain(model.shown[1]), "as in the turn itself"
    async with serving(tmp_path, agent=graph(model)) as chat:  # after a restart
        await chat.send("s", "more")
    assert model.shown[3][:4] == expected
    assert [message.text for message in model.shown[3][4:]] == ["more", "well", "more"]


async def test_parts_take_the_place_of_messages_that_are_not_true_any_more(tmp_path: Path) -> None:
    model = Model()
    async with serving(tmp_path, agent=graph(model)) as chat:
        await first(chat)
        fork = (await chat.http.post("/sessions/s/fork")).json()["id"]
        copied = [message["id"] for message in await chat.messages(fork)]
        await chat.send(fork, "more")
        assert model.shown[-1][:-1] == from_parts(*copied)

        question, answer = await chat.messages("s")
        parts = [*answer["parts"][:-1], {"type": "text", "content": "\n\nit is 2"}]
        path = f"/sessions/s/messages/{answer['id']}"
        assert (await chat.http.patch(path, json={"parts": parts})).status_code == 200
        await chat.send("s", "more")
        assert model.shown[-1][:-1] == from_parts(question["id"], answer["id"])


class Lasting(BaseCheckpointSaver[Any]):
    """A checkpointer that counts as one that lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = InMemorySaver()

    async def aget_tuple(self, config: Any) -> Any:
        return self.memory.get_tuple(config)

    async def aput(self, *given: Any) -> Any:
        return self.memory.put(*given)

    async def aput_writes(self, *given: Any) -> None:
        self.memory.put_writes(*given)

    async def adelete_thread(self, thread_id: str) -> None:
        self.memory.delete_thread(thread_id)

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self.memory.get_next_version(current, channel)


async def test_a_graph_with_a_checkpointer_that_lasts_gets_parts(tmp_path: Path) -> None:
    model, saver = Model(), Lasting()
    async with serving(tmp_path, agent=graph(model, checkpointer=saver)) as chat:
        ids = [message["id"] for message in await first(chat)]
        await chat.send("s", "more")
    assert model.shown[-1][:-1] == from_parts(*ids)
    assert not list(saver.memory.list(None))


class Streaming(Model):
    """Says its last words one by one, for ever."""

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Any:
        self.shown.append(list(messages))
        if messages[-1].text == "more":
            yield ChatGenerationChunk(message=AIMessageChunk(content="well"))
        elif not isinstance(messages[-1], ToolMessage):
            call: Any = {"name": messages[-1].text, "args": '{"a": 1}', "id": "c", "index": 0}
            chunk = AIMessageChunk(content="", tool_call_chunks=[call])
            chunk.response_metadata["id"] = "gen_1"
            yield ChatGenerationChunk(message=chunk)
        while isinstance(messages[-1], ToolMessage):
            yield ChatGenerationChunk(message=AIMessageChunk(content="on "))
            await asyncio.sleep(0.005)


@tool
async def waits(a: int) -> str:
    """Wait."""
    await asyncio.Event().wait()
    return ""


@pytest.mark.parametrize("stopped_in", ["add", "waits"])
async def test_what_a_stopped_turn_had_finished(tmp_path: Path, stopped_in: str) -> None:
    model = Streaming()
    async with serving(tmp_path, agent=graph(model, waits)) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", stopped_in))
        if stopped_in == "add":
            await frames(socket, until="delta")
        else:
            while (await frames(socket, until="part"))[-1]["part"]["state"] != "running":
                pass
        assert await chat.stop("s")
        stopped = (await sending)[-2].data
        await chat.send("s", "more")
        await chat.send("s", "more")
    assert stopped["status"] == "stopped"
    _, called, returned, *rest = model.shown[-2][:-1]
    assert isinstance(called, AIMessage)
    assert [call["id"] for call in called.tool_calls] == ["c"]
    assert isinstance(returned, ToolMessage)
    if stopped_in == "add":
        assert called.response_metadata["id"] == "gen_1"
        assert [message.text for message in rest] == [stopped["content"]]
    else:  # a call without a result: from the parts
        assert (called.response_metadata, rest) == ({}, [])
        assert "ended before" in returned.text
    assert model.shown[-1][: 3 + len(rest)] == model.shown[-2][:-1]


async def test_the_same_message_in_each_turn_is_another_one(tmp_path: Path) -> None:
    same = AIMessage("it is here", id="same")

    async def node(_: MessagesState) -> Any:
        return {"messages": [same]}

    built: Any = StateGraph(MessagesState)
    built.add_node("n", node).add_edge(START, "n")
    async with serving(tmp_path, agent=built.compile()) as chat:
        for _ in range(3):
            assert (await chat.send("s", "Hi"))[-2].data["content"] == "it is here"


# Without a server ---------------------------------------------------------------------------------


def past(messages: list[BaseMessage], *parts: Part, status: Any = "complete") -> PastMessage:
    """An answer as it comes back, whose graph has added messages."""
    found = dump({"messages": [HumanMessage("Hi", id="q"), *messages]}, "q")
    record = json.loads(json.dumps({"kind": "langgraph/1", "done": True, "messages": found}))
    content = "".join(part.content for part in parts if isinstance(part, TextPart))
    return PastMessage("a", "assistant", content, list(parts), 0, 0, status, record=record)


RETURNED = ToolMessage("2", tool_call_id="toolu_1")
INVALID: Any = {"name": "add", "args": "{", "id": "c", "error": None}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [AIMessage("")],
        [thought()],
        [RETURNED, AIMessage("x")],
        [thought(), HumanMessage("x"), RETURNED],
        [AIMessage("x", invalid_tool_calls=[INVALID])],
        [AIMessage("x"), HumanMessage("x")],
        [SystemMessage("x"), AIMessage("x")],
        [AIMessage("x" * LARGEST)],
        [AIMessage([{"type": "text", "text": b"x"}])],
    ],
)
def test_messages_that_are_left_out(messages: list[BaseMessage]) -> None:
    assert kept(past(messages)) is None


def test_what_is_kept_of_odd_messages() -> None:
    said = AIMessage("x", response_metadata={"id": 1, "odd": {object()}, "p": float("inf")})
    found = kept(past([AIMessage(""), said], TextPart("x")))
    assert found == [AIMessage("x", id="a.0", response_metadata={"id": 1})]
    values: Any
    for values in (None, [], {}, {"messages": "x"}, {"messages": [{"role": "user"}]}):
        assert dump(values, "q") is None
    assert dump({"messages": [HumanMessage("x"), AIMessage("x")]}, "q") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(kind="langgraph/0"),
        lambda record: record["messages"].append({"type": "ai"}),
        lambda record: record["messages"].append({"type": "other", "data": {}}),
        lambda record: record["messages"].append({"type": "ai", "data": {"content": 3}}),
        lambda record: record["messages"].append(None),
    ],
)
def test_a_record_that_does_not_validate(change: Callable[[Any], Any]) -> None:
    message = past([AIMessage("x", response_metadata={"id": "1"})], TextPart("x"))
    assert as_known(message)[0].response_metadata
    change(message.record)
    assert as_known(message) == [AIMessage("x", id="a.0")]


def test_an_answer_that_is_not_among_the_messages() -> None:
    message = past([thought(), RETURNED], TextPart("let me see"), TextPart("under another key"))
    assert kept(message) is None


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_stopped_answer_whose_calls_are_not_all_among_the_messages(calls: int) -> None:
    parts = [ToolCallPart(str(n), "add", {}, "complete") for n in range(calls)]
    asked = ToolCallPart("q", "interrupt", {}, "complete")
    found = kept(past([thought(), RETURNED], asked, *parts, status="stopped"))
    assert (found is not None) == (calls == 1)
