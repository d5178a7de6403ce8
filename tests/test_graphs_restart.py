"""LangGraph graphs in a server that ends in the middle of their turns."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from sessile.agents.langgraph.parts import Parts
from sessile.agents.langgraph.tools import UNKNOWN
from sessile.wire.parts import ToolCallPart
from tests.asking import answer, question, settled
from tests.holding import HOLDING, Points, end, until_parked
from tests.serving import process, serving

DESK = (
    HOLDING
    + '''
import pickle
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt


class Model(BaseChatModel):
    """Says three words, and then calls what its user names: a tool for each of the words."""

    @property
    def _llm_type(self):
        return "fake"

    def _generate(self, *_, **__):
        raise NotImplementedError

    async def _astream(self, messages, *_, **__):
        asked = max(n for n, found in enumerate(messages) if isinstance(found, HumanMessage))
        note("asked", str(len(messages)))
        done = sum(isinstance(found, ToolMessage) for found in messages[asked:])
        steps = [step.split("+") for step in messages[asked].text.split()]
        while steps and done >= len(steps[0]):
            done -= len(steps.pop(0))
        for n, word in enumerate(("one ", "two ", "three")):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            await reach(f"said-{n}")
        for n, name in enumerate(steps[0] if steps else ()):
            call = {"name": name, "args": '{"n": %d}' % len(messages), "id": f"c{n}", "index": n}
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))


@tool
async def quick(n: int):
    """Quick."""
    note("ran", "quick")
    return f"quick {n} is done"


@tool
async def slow(n: int):
    """Slow."""
    await reach("before")
    note("ran", "slow")
    await reach("after")
    return f"slow {n} is done"


@tool
async def pay(n: int):
    """Ask first."""
    said = interrupt({"question": "May I?"})
    note("ran", f"pay {said}")
    await reach("paid")
    return f"paid {said}"


async def think(state: MessagesState):
    return {"messages": [await Model().ainvoke(state["messages"])]}


def built(**compiled):
    graph = StateGraph(MessagesState).add_node("think", think).add_edge(START, "think")
    graph.add_node("tools", ToolNode([quick, slow, pay])).add_edge("tools", "think")
    graph.add_conditional_edges("think", tools_condition)
    return graph.compile(**compiled)


class FileSaver(BaseCheckpointSaver):
    """A checkpointer in a file."""

    def __init__(self):
        super().__init__()
        self._file = Path("checkpoints")

    def _open(self):
        saver = InMemorySaver()
        if self._file.exists():
            storage, writes, blobs = pickle.loads(self._file.read_bytes())
            for thread, graphs in storage.items():
                saver.storage[thread].update(graphs)
            saver.writes.update(writes)
            saver.blobs.update(blobs)
        return saver

    def _save(self, saver):
        storage = {thread: dict(graphs) for thread, graphs in saver.storage.items()}
        self._file.write_bytes(pickle.dumps((storage, dict(saver.writes), dict(saver.blobs))))

    async def aget_tuple(self, config):
        return self._open().get_tuple(config)

    async def aput(self, *given):
        saver = self._open()
        stored = saver.put(*given)
        self._save(saver)
        return stored

    async def aput_writes(self, *given):
        saver = self._open()
        saver.put_writes(*given)
        self._save(saver)

    async def adelete_thread(self, thread_id):
        saver = self._open()
        saver.delete_thread(thread_id)
        self._save(saver)

    def get_next_version(self, current, channel):
        return InMemorySaver().get_next_version(current, channel)


graph = built()
outer = StateGraph(MessagesState).add_node("agent", built()).add_edge(START, "agent").compile()
durable = built(checkpointer=FileSaver())
careful = built(interrupt_before=["tools"])
'''
)


@pytest.fixture
def points(tmp_path: Path) -> Points:
    (tmp_path / "desk.py").write_text(DESK)
    return Points(tmp_path)


def flags(graph: str) -> tuple[str, ...]:
    return (f"desk:{graph}", "--drain-timeout", "0.2", "--park-after", "0.2")


def calls(message: dict[str, Any]) -> list[tuple[str, str]]:
    parts = [part for part in message["parts"] if part["type"] == "tool-call"]
    return [(part["toolName"], part["state"]) for part in parts]


@pytest.mark.parametrize(
    ("graph", "by"), [("graph", "kill"), ("outer", "terminate"), ("durable", "kill")]
)
async def test_a_graph_that_is_cut_off_again_and_again(
    tmp_path: Path, points: Points, graph: str, by: str
) -> None:
    sending: list[asyncio.Task[Any]] = []
    ids: set[str] = set()
    for point in ("said-1", "after", "said-0", "before"):
        points.hold(point)
        async with process(tmp_path, *flags(graph)) as (server, chat):
            if not sending:
                sending.append(asyncio.create_task(chat.send("s", "quick+slow quick slow")))
            await points.reached(point)
            ids.add((await chat.messages("s"))[1]["id"])
            await end(server, by)
        points.release(point)
    await asyncio.gather(*sending, return_exceptions=True)
    async with process(tmp_path, *flags(graph)) as (_, chat):
        message = await settled(chat)
    assert (message["status"], ids) == ("complete", {message["id"]})
    assert points.lines("ran") == ["quick", "slow", "quick"]
    assert calls(message) == [
        ("quick", "complete"),
        ("slow", "error"),  # nobody knows whether it ran
        ("quick", "complete"),
        ("slow", "error"),
    ]
    errors = [part["error"] for part in message["parts"] if "error" in part]
    assert errors == [UNKNOWN, UNKNOWN]
    assert message["content"].split("\n\n") == ["one two three"] * 4, (
        "what is said again is not shown"
    )
    assert points.lines("asked") == ["1", "1", "4", "4", "6", "8"], (
        "a finished node is not run again"
    )
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    ((private,),) = database.execute("SELECT private FROM messages WHERE role = 'assistant'")
    database.close()
    assert b"checkpoints" not in private, "they are removed at the end of the turn"
    assert (len(private) < 300) == (graph == "durable"), "else its messages are kept"


@pytest.mark.parametrize("graph", ["graph", "outer", "durable"])
async def test_an_interrupt_is_asked_once_and_goes_on_after_a_restart(
    tmp_path: Path, points: Points, graph: str
) -> None:
    async with process(tmp_path, *flags(graph)) as (server, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "quick+pay"))
        part = await question(socket)
        assert (part["toolName"], part["toolInput"]) == ("interrupt", {"question": "May I?"})
        await until_parked(tmp_path)
        server.kill()
    await asyncio.gather(sending, return_exceptions=True)
    points.hold("paid")
    async with process(tmp_path, *flags(graph)) as (server, chat):
        assert (await answer(chat, part["question"]["id"], True, message="yes"))[0] == 200
        await points.reached("paid")
        server.kill()
    points.release("paid")
    async with process(tmp_path, *flags(graph)) as (_, chat):
        message = await settled(chat)
    assert message["status"] == "complete"
    assert points.lines("ran") == ["quick", "pay yes"]
    assert dict(calls(message)) == {"quick": "complete", "pay": "error", "interrupt": "complete"}
    asked = [found["question"]["id"] for found in message["parts"] if "question" in found]
    assert asked == [part["question"]["id"]]


@pytest.mark.parametrize("approve", [True, False])
async def test_a_breakpoint_is_asked_once_and_is_not_passed_by_a_restart(
    tmp_path: Path, points: Points, approve: bool
) -> None:
    async with process(tmp_path, *flags("careful")) as (server, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "slow"))
        part = await question(socket)
        assert part["toolName"] == "slow"
        server.kill()
    await asyncio.gather(sending, return_exceptions=True)
    points.hold("after")
    async with process(tmp_path, *flags("careful")) as (server, chat):
        assert (await chat.value("s"))["status"] == "waiting"
        assert not points.lines("ran")
        assert (await answer(chat, part["question"]["id"], approve))[0] == 200
        if approve:
            await points.reached("after")
            server.kill()
            points.release("after")
        else:
            await settled(chat)
    async with process(tmp_path, *flags("careful")) as (_, chat):
        message = await settled(chat)
    assert points.lines("ran") == (["slow"] if approve else [])
    assert message["parts"][1]["error"] == (UNKNOWN if approve else "Permission was denied.")
    assert message["content"].count("one two three") == (2 if approve else 1)


class Held:
    """A graph's node that waits in the first server, and not in the next one."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.reached = asyncio.Event()

    async def wait(self, name: str) -> None:
        self.runs.append(name)
        if self.runs.count(name) == 1:
            self.reached.set()
            await asyncio.Event().wait()


@pytest.mark.parametrize("uses_a_tool", [False, True])
async def test_a_state_that_cannot_be_stored(tmp_path: Path, uses_a_tool: bool) -> None:
    held = Held()

    class Odd(MessagesState):
        odd: Any

    async def one(_: Odd) -> Any:
        held.runs.append("one")
        call: Any = [{"name": "look", "args": {}, "id": "c"}] if uses_a_tool else []
        found = [AIMessage("", tool_calls=call), ToolMessage("seen", tool_call_id="c")]
        return {"odd": threading.Lock(), "messages": found if uses_a_tool else []}

    async def two(_: Odd) -> Any:
        await held.wait("two")
        return {"messages": AIMessage("it is here")}

    built: Any = StateGraph(Odd)
    built.add_node("one", one).add_node("two", two).add_edge(START, "one").add_edge("one", "two")
    graph = built.compile()
    async with serving(tmp_path, agent=graph, drain_timeout=0.05) as chat:
        sending = asyncio.create_task(chat.send("s", "Hi"))
        await held.reached.wait()
    await asyncio.gather(sending, return_exceptions=True)
    async with serving(tmp_path, agent=graph) as chat:
        message = await settled(chat)
    if uses_a_tool:
        assert (message["status"], held.runs) == ("error", ["one", "two"])
        assert "was not stored" in message["metadata"]["error"]["error"]
    else:
        assert (message["status"], message["content"]) == ("complete", "it is here")
        assert held.runs == ["one", "two", "one", "two"]


async def test_decisions_for_middleware_are_asked_for_once(tmp_path: Path) -> None:
    async def node(_: MessagesState) -> Any:
        requests = [{"name": "pay", "args": {"n": n}} for n in range(2)]
        decided = interrupt({"action_requests": requests})["decisions"]
        return {"messages": AIMessage(" ".join(decision["type"] for decision in decided))}

    built: Any = StateGraph(MessagesState)
    graph = built.add_node("n", node).add_edge(START, "n").compile()
    async with (
        serving(tmp_path, agent=graph, drain_timeout=0.05) as chat,
        chat.socket("s") as socket,
    ):
        sending = asyncio.create_task(chat.send("s", "Hi"))
        asked = [(await question(socket))["question"]["id"] for _ in range(2)]
        await answer(chat, asked[0], True)
    await asyncio.gather(sending, return_exceptions=True)
    async with serving(tmp_path, agent=graph) as chat:
        await answer(chat, asked[1], False)
        message = await settled(chat)
    assert message["content"] == "approve reject"
    assert [part["question"]["id"] for part in message["parts"] if "question" in part] == asked


async def test_usage_and_an_answer_of_a_graph_that_had_ended(tmp_path: Path) -> None:
    held = Held()

    class Counted(MessagesState):
        answer: str

    async def one(_: Counted) -> Any:
        message = AIMessage("first")
        message.usage_metadata = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
        return {"messages": [message]}

    async def two(_: Counted) -> Any:
        await held.wait("two")
        message = AIMessage("second")
        message.usage_metadata = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
        return {"messages": [message]}

    built: Any = StateGraph(Counted)
    built.add_node("one", one).add_node("two", two).add_edge(START, "one").add_edge("one", "two")
    graph = built.compile()
    async with serving(tmp_path, agent=graph, drain_timeout=0.05) as chat:
        sending = asyncio.create_task(chat.send("s", "Hi"))
        await held.reached.wait()
    await asyncio.gather(sending, return_exceptions=True)
    async with serving(tmp_path, agent=graph) as chat:
        message = await settled(chat)
    assert message["content"] == "first\n\nsecond"
    assert message["metadata"]["usage"] == {"inputTokens": 5, "outputTokens": 2}


def test_a_call_that_was_cut_off_as_it_began_gets_its_input() -> None:
    former = [
        ToolCallPart("c", "add", {"a": 1}, "complete"),
        ToolCallPart("c-2", "add", {}, "pending"),
    ]
    messages: list[Any] = [
        AIMessage("", tool_calls=[{"name": "add", "args": {"a": a}, "id": "c"}], id=str(a))
        for a in (1, 2)
    ]
    messages.insert(1, ToolMessage("1", tool_call_id="c"))
    (call,) = Parts((), former).known(messages)
    assert call == ToolCallPart("c-2", "add", {"a": 2}, "running")
