"""PydanticAI agents as people build them: system prompts, and tools and outputs of any type."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, RunContext
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from sessile import Turn
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
    from sessile.agents.pydantic_ai import _jsonable

    assert "[...]" in _jsonable(around_itself())


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
