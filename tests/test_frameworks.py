"""Agents of frameworks, with the test models of the frameworks, as `module:object`."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt
from pydantic import BaseModel
from pydantic_ai import Agent, DeferredToolRequests, RunContext
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from sessile import ToolCallPart, Turn
from tests.asking import answer, question
from tests.serving import Client, frames, kinds, serving


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module in which `module:object` finds objects."""
    found = ModuleType("their_module")
    monkeypatch.setitem(sys.modules, "their_module", found)
    return found


async def ask(chat: Client, content: str) -> dict[str, Any]:
    found: dict[str, Any] = (await chat.send("s", content))[-2].data
    return found


def states(found: list[Any]) -> list[str]:
    return [event.data["part"]["state"] for event in found if event.data["type"] == "part"]


async def send_and_stop(chat: Client, content: str) -> None:
    """Send a message and stop its answer after the first words."""
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", content))
        await frames(socket, until="delta")
        assert await chat.stop("s")
        message = (await sending)[-2].data
    assert message["status"] == "stopped"
    assert message["content"].startswith("on ")


# PydanticAI ---------------------------------------------------------------------------------------


async def test_pydantic_ai_with_its_test_model(tmp_path: Path, module: ModuleType) -> None:
    agent = Agent(TestModel(custom_output_text="It is three."))

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        return a + b

    module.agent = agent  # type: ignore[attr-defined]
    async with serving(tmp_path, agent="their_module:agent") as chat:
        events = await chat.send("s", "one and two?")
        message = events[-2].data
        assert states(events) == ["running", "complete"]
        call, said = message["parts"]
        assert (call["toolName"], call["toolInput"]) == ("add", {"a": 0, "b": 0})
        assert (call["toolOutput"], said["content"]) == (0, "It is three.")
        assert message["metadata"]["usage"]["outputTokens"] > 0


class Model:
    """A PydanticAI model that answers according to the last message and keeps its input."""

    def __init__(self) -> None:
        self.shown: list[list[ModelMessage]] = []

    async def __call__(
        self, messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncGenerator[Any, None]:
        self.shown.append(messages)
        newest = messages[-1].parts[-1]
        said = str(getattr(newest, "content", "")).rpartition("\n\n")[2]
        if newest.part_kind == "tool-return":
            yield f"it came to {said}"
        elif "tool" in said:
            yield {0: DeltaThinkingPart(content="let me ")}
            yield {0: DeltaThinkingPart(content="see")}
            yield "I will "
            yield {
                1: DeltaToolCall(name="run", json_args='{"x":', tool_call_id=f"c{len(messages)}")
            }
            yield {1: DeltaToolCall(json_args='"' + said[-1] + '"}')}
        elif "401" in said:
            raise ModelHTTPError(401, "m", {"message": "the key is wrong"})
        elif "slow" in said:
            while True:
                yield "on "
                await asyncio.sleep(0.005)
        else:
            yield "you said "
            yield said


@pytest.fixture
def model() -> Model:
    return Model()


async def test_pydantic_ai_thoughts_tools_and_history(tmp_path: Path, model: Model) -> None:
    agent = Agent(FunctionModel(stream_function=model), deps_type=Turn)

    @agent.tool
    async def run(context: RunContext[Turn], x: str) -> dict[str, str]:
        if x == "0":
            raise ValueError("no zero")
        return {"x": x, "session": context.deps.session_id}

    async with serving(tmp_path, agent=agent) as chat:
        events = await chat.send("s", "tool 1")
        message = events[-2].data
        reasoning, words, call, said = message["parts"]
        assert (reasoning["content"], words["content"]) == ("let me see", "I will ")
        assert (call["toolInput"], call["state"]) == ({"x": "1"}, "complete")
        assert call["toolOutput"] == {"x": "1", "session": "s"}
        assert said["content"].startswith("\n\nit came to ")
        assert kinds(events)[1:4] == ["status", "delta", "delta"]
        await ask(chat, "hello")
        shown = model.shown[-1]
        kinds_shown = [[part.part_kind for part in message.parts] for message in shown]
        assert kinds_shown == [
            ["user-prompt"],
            ["thinking", "text", "tool-call"],
            ["tool-return"],
            ["text"],
            ["user-prompt"],
        ]
        assert isinstance(shown[1], ModelResponse)
        assert isinstance(shown[2], ModelRequest)
        failed = await chat.send("s", "tool 0")
        assert failed[-2].data["type"] == "error"
        assert failed[-3].data["parts"][-1]["state"] == "error"
        assert (await ask(chat, "again"))["content"] == "you said again"
        parts = [part for message in model.shown[-1] for part in message.parts]
        assert [part.part_kind for part in parts[-2:]] == ["tool-return", "user-prompt"]
        assert "ended before" in str(parts[-2].content)  # type: ignore[union-attr]


async def test_pydantic_ai_errors_and_stop(tmp_path: Path, model: Model) -> None:
    async with serving(tmp_path, agent=Agent(FunctionModel(stream_function=model))) as chat:
        events = await chat.send("s", "401")
        assert events[-2].data["error"] == (
            "The model's provider refused the API key. It says: the key is wrong"
        )
        await send_and_stop(chat, "slow")


@pytest.mark.parametrize("approve", [True, False])
async def test_pydantic_ai_tools_that_need_approval(
    tmp_path: Path, model: Model, approve: bool
) -> None:
    agent = Agent(FunctionModel(stream_function=model), output_type=[str, DeferredToolRequests])
    ran: list[str] = []

    @agent.tool_plain(requires_approval=True)
    def run(x: str) -> str:
        ran.append(x)
        return f"did {x}"

    async with serving(tmp_path, agent=agent) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "tool 7"))
        part = await question(socket)
        assert (part["toolName"], part["toolInput"]) == ("run", {"x": "7"})
        await answer(chat, part["question"]["id"], approve, message="" if approve else "not now")
        message = (await sending)[-2].data
    call = message["parts"][2]
    if approve:
        assert (call["state"], call["toolOutput"], ran) == ("complete", "did 7", ["7"])
        assert message["content"].endswith("it came to did 7")
    else:
        assert (call["state"], call["error"], ran) == ("error", "not now", [])
        assert message["content"].endswith("it came to not now")
    assert call["question"]["state"] == ("approved" if approve else "denied")


async def test_pydantic_ai_output_that_is_not_text(tmp_path: Path) -> None:
    class City(BaseModel):
        name: str

    agent = Agent(TestModel(custom_output_args={"name": "Oslo"}), output_type=City)
    async with serving(tmp_path, agent=agent) as chat:
        message = await ask(chat, "where?")
        assert message["parts"] == [{"type": "data", "name": "output", "data": {"name": "Oslo"}}]


# LangGraph ----------------------------------------------------------------------------------------


class ChatModel(BaseChatModel):
    """Streams the messages of a script and keeps its input."""

    script: list[AIMessage]
    shown: list[list[BaseMessage]] = []  # noqa: RUF012  (a field of a pydantic model)
    endless: bool = False

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.shown.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.script.pop(0))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        self.shown.append(messages)
        while self.endless:
            yield ChatGenerationChunk(message=AIMessageChunk(content="on "))
            await asyncio.sleep(0.005)
        answer = self.script.pop(0)
        for thought in answer.additional_kwargs.get("thoughts", []):
            blocks: Any = [{"type": "reasoning", "reasoning": thought}]
            yield ChatGenerationChunk(message=AIMessageChunk(content=blocks))
        for word in answer.text.split(" ") if answer.text else []:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word + " "))
        for index, call in enumerate(answer.tool_calls):
            piece: Any = {"name": call["name"], "args": "", "id": call["id"], "index": index}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[piece]))
            args = str(call["args"]).replace("'", '"')
            piece = {"name": None, "args": args, "id": None, "index": index}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[piece]))
        used: UsageMetadata = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=used))


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
def fails(a: int) -> str:
    """Fail."""
    raise ValueError(f"no {a}")


@tool
def asks(what: str) -> str:
    """Ask first."""
    decided = interrupt({"question": f"{what}?"})
    return f"decided {decided}"


def graph(model: ChatModel, **compiled: Any) -> Any:
    tools = [add, fails, asks]

    async def call(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    built = StateGraph(MessagesState)
    built.add_node("model", call)
    built.add_node("tools", ToolNode(tools, handle_tool_errors=True))
    built.add_edge(START, "model")
    built.add_conditional_edges("model", tools_condition)
    built.add_edge("tools", "model")
    return built if compiled.pop("raw", False) else built.compile(**compiled)


def calls(name: str, id: str = "c1", content: str = "", **args: Any) -> AIMessage:
    return AIMessage(content, tool_calls=[{"name": name, "args": args, "id": id}])


@pytest.mark.parametrize("raw", [True, False])
async def test_langgraph_text_thoughts_tools_and_history(
    tmp_path: Path, module: ModuleType, raw: bool
) -> None:
    thinking = calls("add", content="let me see", a=1, b=2)
    thinking.additional_kwargs["thoughts"] = ["hm ", "hm"]
    model = ChatModel(
        script=[thinking, AIMessage("it is 3"), calls("fails", "c2", a=1), AIMessage("oh")]
    )
    module.graph = graph(model, raw=raw)  # type: ignore[attr-defined]
    async with serving(tmp_path, agent="their_module:graph") as chat:
        events = await chat.send("s", "one and two?")
        message = events[-2].data
        assert states(events) == ["pending", "running", "complete"]
        reasoning, words, call, said = message["parts"]
        assert reasoning["content"] == "hm hm"
        assert (words["content"], said["content"]) == ("let me see ", "\n\nit is 3 ")
        assert (call["toolInput"], call["toolOutput"]) == ({"a": 1, "b": 2}, "3")
        assert message["metadata"]["usage"] == {"inputTokens": 10, "outputTokens": 4}
        failed = (await ask(chat, "and now?"))["parts"][0]
        assert (failed["state"], "no 1" in failed["error"]) == ("error", True)
        question, first, result, second, again = model.shown[2]
        assert isinstance(question, HumanMessage)
        assert isinstance(first, AIMessage)
        assert first.tool_calls[0]["args"] == {"a": 1, "b": 2}
        assert isinstance(result, ToolMessage)
        assert (result.content, result.tool_call_id) == ("3", "c1")
        assert (second.text, again.text) == ("it is 3 ", "and now?")


async def test_langgraph_a_node_without_a_model(tmp_path: Path) -> None:
    class State(MessagesState):
        seen: Annotated[list[BaseMessage], add_messages]

    async def node(state: State, config: RunnableConfig) -> dict[str, Any]:
        turn = config["configurable"]["turn"]
        decided = await turn.ask(ToolCallPart("1", "look", {}, "pending"))
        said = f"{decided.state}: {state['messages'][-1].text}"
        return {"messages": [AIMessage(said)], "seen": []}

    built = StateGraph(State)
    built.add_node("node", node)
    built.add_edge(START, "node")
    async with serving(tmp_path, agent=built.compile(), approve="deny") as chat:
        assert (await ask(chat, "hello"))["content"] == "denied: hello"


@pytest.mark.parametrize(
    ("approve", "said", "decided"),
    [
        (True, "", "decided True"),
        (True, "the red one", "decided the red one"),
        (False, "", "False"),
    ],
)
async def test_langgraph_interrupts_ask_people(
    tmp_path: Path, approve: bool, said: str, decided: str
) -> None:
    saver = InMemorySaver()
    model = ChatModel(script=[calls("asks", what="which"), AIMessage("well")])
    agent = graph(model, checkpointer=saver)
    async with serving(tmp_path, agent=agent) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "choose"))
        part = await question(socket)
        assert (part["toolName"], part["toolInput"]) == ("interrupt", {"question": "which?"})
        await answer(chat, part["question"]["id"], approve, message=said)
        message = (await sending)[-2].data
    by_name = {part["toolName"]: part for part in message["parts"] if part["type"] == "tool-call"}
    assert by_name["asks"]["state"] == "complete"
    assert decided in by_name["asks"]["toolOutput"]
    assert by_name["interrupt"]["state"] == ("complete" if approve else "error")
    assert message["status"] == "complete"
    assert not list(saver.list(None)), "its checkpoints are removed at the end of the turn"


async def test_langgraph_a_stop_ends_the_graph(tmp_path: Path) -> None:
    async with serving(tmp_path, agent=graph(ChatModel(script=[], endless=True))) as chat:
        await send_and_stop(chat, "go")


async def test_langgraph_the_text_of_an_exception_is_logged_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Refused(ChatModel):
        async def _astream(self, *_: Any, **__: Any) -> AsyncGenerator[ChatGenerationChunk, None]:
            raise RuntimeError("401 for sk" + "-abcdefghijkl at 10.0.0.7")
            yield

    async with serving(tmp_path, agent=graph(Refused(script=[]))) as chat:
        events = await chat.send("s", "go")
        assert "RuntimeError" in events[-2].data["error"]
        assert "10.0.0.7" not in str(events) + str(await chat.messages("s"))
    assert "401 for [key] at 10.0.0.7" in caplog.text
    assert "sk-abc" not in caplog.text
