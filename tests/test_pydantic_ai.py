"""PydanticAI agents as people build them: system prompts, and tools and outputs of any type."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, DeferredToolRequests, RunContext
from pydantic_ai.exceptions import CallDeferred, ModelHTTPError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.messages import ToolCallPart as ModelToolCall
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel

from sessile import Turn
from sessile.agents.pydantic_ai.messages import (
    GO_ON,
    NOT_RUN,
    UNKNOWN,
    as_model_messages,
    without_record,
)
from sessile.agents.pydantic_ai.parts import jsonable
from sessile.agents.pydantic_ai.record import LONGEST, Record, dump, load
from sessile.wire.codec import decode_json, encode
from sessile.wire.messages import PastMessage
from sessile.wire.parts import Part, ToolCallPart, text_of
from sessile.wire.parts import TextPart as Text
from tests.asking import answer, question
from tests.serving import serving

PNG = b"\x89PNG\r\n\x1a\n\xff\xfe"


async def prompts(messages: list[ModelMessage], _: AgentInfo) -> AsyncGenerator[str, None]:
    """A model that says its system prompts."""
    found = [p.content for m in messages for p in m.parts if p.part_kind == "system-prompt"]
    yield " / ".join(map(str, found))


async def test_system_prompts_are_there_in_every_turn(tmp_path: Path) -> None:
    agent = Agent(
        FunctionModel(stream_function=prompts),
        system_prompt="Be brief.",
        instructions="Not a system prompt.",
        deps_type=Turn,
    )

    @agent.system_prompt
    def of_the_turn(context: RunContext[Turn]) -> str:
        return f"They said {context.deps.content}."

    @agent.system_prompt(dynamic=True)
    def dynamic(context: RunContext[Turn]) -> str:
        return f"In {context.deps.session_id}."

    for words in (("one", "two"), ("three",)):  # also after a restart
        async with serving(tmp_path, agent=agent) as chat:
            for word in words:
                said = (await chat.send("s", word))[-2].data["content"]
                assert said == f"Be brief. / They said {word}. / In s."
    async with serving(tmp_path, agent=agent) as chat:
        body = {"role": "system", "parts": [{"type": "text", "content": "Stored."}]}
        await chat.http.post("/sessions/t/messages", json=body)
        said = (await chat.send("t", "four"))[-2].data["content"]
        assert said == "Be brief. / They said four. / In t. / Stored."


class Point(BaseModel):
    x: int
    raw: bytes


@dataclass
class Plain:
    y: int


def around_itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("make", "output", "file"),
    [
        (lambda: PNG, "iVBORw0KGgr__g==", None),
        (lambda: {"image": PNG}, {"image": "iVBORw0KGgr__g=="}, None),
        (lambda: Point(x=1, raw=b"A"), {"x": 1, "raw": "A"}, None),
        (lambda: [Plain(2)], [{"y": 2}], None),
        (lambda: None, None, None),
        (lambda: BinaryContent(PNG, media_type="image/png"), "[a file: image/png]", "image/png"),
        (lambda: ["see", BinaryContent(PNG, media_type="image/png")], ["see", "[a file: image/png]"], "image/png"),
        (lambda: {1, 2}, [1, 2], None),
    ],
)  # fmt: skip
async def test_a_tool_may_return_anything(
    tmp_path: Path, make: Callable[[], Any], output: Any, file: str | None
) -> None:
    record = load(
        decode_json(encode(dump(Record([ModelRequest([ToolReturnPart("shot", make(), "c1")])]))))
    )
    assert record is not None, "it is kept for later turns"

    async def model(messages: list[ModelMessage], _: AgentInfo) -> AsyncGenerator[Any, None]:
        if messages[-1].parts[-1].part_kind == "user-prompt" and len(messages) == 1:
            yield {0: DeltaToolCall(name="shot", json_args="{}", tool_call_id="c1")}
        else:
            yield "done"

    agent = Agent(FunctionModel(stream_function=model))

    @agent.tool_plain
    def shot() -> Any:
        return make()

    async with serving(tmp_path, agent=agent) as chat:
        message = (await chat.send("s", "go"))[-2].data
    assert (message["status"], message["content"]) == ("complete", "done")
    assert message["parts"][0].get("toolOutput") == output
    assert [p["mediaType"] for p in message["parts"] if p["type"] == "file"] == [file] * bool(file)


async def test_an_output_of_any_type_and_ids_that_a_model_uses_again(tmp_path: Path) -> None:
    async def model(messages: list[ModelMessage], info: AgentInfo) -> AsyncGenerator[Any, None]:
        done = sum(part.part_kind == "tool-return" for m in messages for part in m.parts)
        if done < 2:
            yield {0: DeltaToolCall(name="add", json_args=f'{{"a": {done}}}', tool_call_id="c")}
        else:
            tool = info.output_tools[0].name
            yield {
                0: DeltaToolCall(name=tool, json_args='{"x": 1, "raw": "AA=="}', tool_call_id="c")
            }

    agent = Agent(FunctionModel(stream_function=model), output_type=Point)

    @agent.tool_plain
    def add(a: int) -> int:
        return a + 1

    async with serving(tmp_path, agent=agent) as chat:
        parts = (await chat.send("s", "go"))[-2].data["parts"]
    assert [part["toolOutput"] for part in parts[:2]] == [1, 2]
    assert parts[2]["name"] == "output"
    assert parts[2]["data"]["x"] == 1


async def test_an_empty_answer_says_so(tmp_path: Path) -> None:
    async def model(_: list[ModelMessage], __: AgentInfo) -> AsyncGenerator[Any, None]:
        yield ""

    async with serving(tmp_path, agent=Agent(FunctionModel(stream_function=model))) as chat:
        events = await chat.send("s", "go")
    assert events[-3].data["status"] == "error"


def test_a_value_that_contains_itself_is_shown_as_text() -> None:
    assert "[...]" in jsonable(around_itself())


async def test_a_question_without_an_answer_and_the_next_are_one(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def model(messages: list[ModelMessage], _: AgentInfo) -> AsyncGenerator[Any, None]:
        seen.append([str(part.content) for m in messages for part in m.parts])  # type: ignore[union-attr]
        if len(seen) == 1:
            raise ModelHTTPError(500, "m")
        yield "answered"

    async with serving(tmp_path, agent=Agent(FunctionModel(stream_function=model))) as chat:
        for said in ("one", "two", "three"):
            await chat.send("s", said)
    assert seen == [["one"], ["one\n\ntwo"], ["one\n\ntwo", "answered", "three"]]


async def test_a_model_gets_back_exactly_what_it_sent(tmp_path: Path) -> None:
    seen: list[list[ModelMessage]] = []

    async def model(messages: list[ModelMessage], _: AgentInfo) -> AsyncGenerator[Any, None]:
        seen.append(messages)
        if messages[-1].parts[-1].part_kind == "tool-return" or len(seen) > 2:
            yield "It is done."
            return
        yield {0: DeltaThinkingPart(content="I must look.")}
        yield {0: DeltaThinkingPart(signature="signed")}
        yield {1: DeltaToolCall(name="shot", json_args="{}", tool_call_id="c1")}

    agent = Agent(
        FunctionModel(stream_function=model), system_prompt="Be brief.", instructions="Always."
    )

    @agent.tool_plain
    def shot() -> Any:
        return {"image": PNG}

    for said in ("one", "two"):  # also after a restart
        async with serving(tmp_path, agent=agent) as chat:
            assert (await chat.send("s", said))[-2].data["content"] == "It is done."
            session = (await chat.http.get("/sessions/s/export")).json()
            assert "signed" not in str(session) + str(await chat.messages("s"))
    first, second, third = seen
    assert [[part.part_kind for part in message.parts] for message in third] == [
        ["system-prompt", "user-prompt"],
        ["thinking", "tool-call"],
        ["tool-return"],
        ["text"],
        ["user-prompt"],
    ]
    thought = third[1].parts[0]
    assert isinstance(thought, ThinkingPart)
    assert (thought.content, thought.signature) == ("I must look.", "signed")
    assert third[1].parts == second[1].parts
    assert [message.instructions for message in third if isinstance(message, ModelRequest)] == [
        None,
        None,
        "Always.",
    ]
    assert len(first) == 1


def past(parts: list[Part], record: Any) -> list[ModelMessage]:
    """What a model gets of an answer that ended early."""
    answer = PastMessage("a", "assistant", text_of(parts), parts, 1, 1, "stopped", record=record)
    return as_model_messages(answer)


def test_an_answer_that_ended_early_is_as_its_parts_have_it() -> None:
    called = ModelResponse([ModelToolCall("add", {"a": 1}, "c"), ModelToolCall("add", {}, "d")])
    returned = ModelRequest([ToolReturnPart("add", 2, "c"), ToolReturnPart("add", 1, "d")])
    ended = ToolCallPart("c-2", "add", {"a": 1}, "complete", tool_output=2)
    record = dump(Record([called, returned, called], said=3, calls=1))
    parts: list[Part] = [Text("one"), ToolCallPart("c", "add", {}, "complete"), ended]
    found = past(parts, record)
    assert [part.content for part in found[-1].parts if isinstance(part, ToolReturnPart)] == [
        "2",
        NOT_RUN,
    ]
    found = past([*parts, Text("\n\nand 😀")], dump(Record([called, returned], said=3)))
    assert found[-1].parts[0] == TextPart("and 😀")


def test_an_answer_without_a_record_goes_on_from_its_parts() -> None:
    ran = ToolCallPart("c", "add", {}, "complete", tool_output=2)
    *before, last = without_record([Text("one"), ran, ToolCallPart("d", "add", {}, "running")])
    assert [part.part_kind for message in before for part in message.parts] == [
        "text",
        "tool-call",
        "tool-call",
    ]
    assert [part.content for part in last.parts if isinstance(part, ToolReturnPart)] == [
        "2",
        UNKNOWN,
    ]
    assert without_record([Text("one")])[-1].parts[0].content == GO_ON  # type: ignore[union-attr]
    assert without_record([]) == []


@pytest.mark.parametrize("record", [None, 7, [], {}, {"kind": "other", "messages": []}, {"kind": "pydantic-ai/1", "messages": [{"kind": "x"}]}])  # fmt: skip
def test_a_record_that_is_of_another_agent_is_ignored(record: Any) -> None:
    assert past([Text("one")], record)[0].parts == [TextPart("one")]


def test_a_record_is_of_bounded_size_and_has_no_halves_of_characters() -> None:
    long = ModelRequest([ToolReturnPart("read", "x" * (2 * LONGEST), "c")])
    assert len(encode(dump(Record([long])))) < 1.1 * LONGEST
    half = dump(Record([ModelResponse([TextPart("\ud83d")])]))
    assert decode_json(encode(half))["messages"][0]["parts"][0]["content"] == "\ufffd"


async def test_questions_and_clients_answer_for_deferred_tools(tmp_path: Path) -> None:
    async def model(messages: list[ModelMessage], _: AgentInfo) -> AsyncGenerator[Any, None]:
        newest = messages[-1].parts[-1]
        if isinstance(newest, UserPromptPart):
            yield {0: DeltaToolCall(name="form", json_args='{"of": "you"}', tool_call_id="c1")}
        else:
            yield f"{newest.content}"  # type: ignore[union-attr]

    agent = Agent(FunctionModel(stream_function=model), output_type=[str, DeferredToolRequests])

    @agent.tool_plain
    def form(of: str) -> str:
        raise CallDeferred

    for reply, said, state in (
        ({"output": "Ada"}, "Ada", "complete"),
        ({"error": "nobody is here"}, "nobody is here", "error"),
    ):
        async with serving(tmp_path, agent=agent) as chat, chat.socket("s") as socket:
            sending = asyncio.create_task(chat.send("s", "who?"))
            part = await question(socket)
            assert (part["toolInput"], part["question"]["kind"]) == ({"of": "you"}, "output")
            assert (await answer(chat, part["question"]["id"], **reply))[0] == 200  # type: ignore[arg-type]
            events = await sending
        message = events[-2].data
        assert message["content"] == said
        assert message["parts"][0]["state"] == state
        shown = [event.data["part"]["state"] for event in events if event.data["type"] == "part"]
        assert shown[-1] == state
        assert "pending" not in shown[shown.index(state) :]
