"""PydanticAI agents in a server that ends in the middle of their turns."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sessile.agents.pydantic_ai.messages import UNKNOWN
from tests.asking import answer, question, settled
from tests.holding import HOLDING, Points, end, until_parked
from tests.serving import frames, process

CLERK = (
    HOLDING
    + '''
import json
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.exceptions import CallDeferred
from pydantic_ai.messages import ModelMessagesTypeAdapter
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

WORDS = ["one ", "two ", "three"]


def call(name, id, **given):
    return DeltaToolCall(name=name, json_args=json.dumps(given), tool_call_id=id)


async def model(messages, info):
    """Says what its user names: words, and then a tool for each of the other words."""
    note("seen", ModelMessagesTypeAdapter.dump_json(messages).decode())
    parts = [part for message in messages for part in message.parts]
    asked = max(n for n, part in enumerate(parts) if part.part_kind == "user-prompt"
                and not part.content.startswith("(The"))
    since = parts[asked + 1:]
    done = sum(part.part_kind == "tool-return" for part in since)
    steps = [step.split("+") for step in parts[asked].content.split()]
    while steps and done >= len(steps[0]):
        done -= len(steps.pop(0))
    said = ""
    for part in since:  # what it said when it was cut off
        said = said + part.content if part.part_kind == "text" else said
        said = "" if part.part_kind == "tool-return" else said
    for n, word in enumerate(WORDS):
        if len("".join(WORDS[:n + 1])) > len(said):
            yield word
            await reach(f"said-{n}")
    if steps:
        yield {n: call(name, "c", n=len(since)) if len(steps[0]) == 1 else
               call(name, f"c{n}", n=n) for n, name in enumerate(steps[0], 1)}


agent = Agent(FunctionModel(stream_function=model), output_type=[str, DeferredToolRequests])


@agent.tool_plain
async def quick(n: int) -> str:
    note("ran", f"quick {n}")
    return f"quick {n} is done"


@agent.tool_plain
async def slow(n: int) -> str:
    await reach("before")
    note("ran", f"slow {n}")
    await reach("after")
    return f"slow {n} is done"


@agent.tool_plain(requires_approval=True)
async def pay(n: int) -> str:
    note("ran", f"pay {n}")
    await reach("paid")
    return f"paid {n}"


@agent.tool_plain
async def form(n: int) -> str:
    raise CallDeferred
'''
)


@pytest.fixture
def points(tmp_path: Path) -> Points:
    (tmp_path / "clerk.py").write_text(CLERK)
    return Points(tmp_path)


FLAGS = ("clerk:agent", "--drain-timeout", "0.2")


def calls(message: dict[str, Any]) -> list[tuple[str, str]]:
    parts = [part for part in message["parts"] if part["type"] == "tool-call"]
    return [(part["toolName"], part["state"]) for part in parts]


@pytest.mark.parametrize("by", ["kill", "terminate"])
async def test_a_turn_that_is_cut_off_again_and_again(
    tmp_path: Path, points: Points, by: str
) -> None:
    ends = ["said-1", "before", "said-0", "said-2", "after"]
    ids: set[str] = set()
    sending = None
    for n, point in enumerate(ends):
        points.hold(point)
        async with process(tmp_path, *FLAGS) as (server, chat):
            if n == 0:
                sending = asyncio.create_task(chat.send("s", "quick slow quick slow"))
            await points.reached(point)
            ids.add((await chat.messages("s"))[1]["id"])
            await end(server, by)
        points.release(point)
    assert sending is not None
    await asyncio.gather(sending, return_exceptions=True)
    async with process(tmp_path, *FLAGS) as (_, chat):
        message = await settled(chat)
    assert ids == {message["id"]}
    assert message["status"] == "complete"
    ran = [line.split()[0] for line in points.lines("ran")]
    assert ran == ["quick", "quick", "slow"]
    assert calls(message) == [
        ("quick", "complete"),
        ("slow", "error"),  # cut off before its effect, which nobody knows
        ("quick", "complete"),
        ("slow", "error"),
    ]
    assert {part.get("error") for part in message["parts"]} == {None, UNKNOWN}
    assert message["content"].split("\n\n") == ["one two three"] * 5
    assert len(points.lines("seen")) == 5 + 3, "asked again only where an answer was cut off"


async def test_of_two_tools_at_a_time_one_had_ended(tmp_path: Path, points: Points) -> None:
    points.hold("after")
    async with process(tmp_path, *FLAGS) as (server, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "quick+slow"))
        await points.reached("after")
        while (await frames(socket, until="part"))[-1]["part"]["state"] != "complete":
            pass
        server.kill()
    points.release("after")
    await asyncio.gather(sending, return_exceptions=True)
    async with process(tmp_path, *FLAGS) as (_, chat):
        message = await settled(chat)
    assert points.lines("ran") == ["quick 1", "slow 2"]
    assert calls(message) == [("quick", "complete"), ("slow", "error")]
    returns = json.loads(points.lines("seen")[-1])[-1]["parts"]
    assert [(part["content"], part["outcome"]) for part in returns] == [
        ("quick 1 is done", "success"),
        (UNKNOWN, "failed"),
    ]


@pytest.mark.parametrize("approve", [True, False])
async def test_an_approval_is_asked_once_and_its_tool_runs_once(
    tmp_path: Path, points: Points, approve: bool
) -> None:
    async with process(tmp_path, *FLAGS) as (server, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "quick+pay"))
        asked = (await question(socket))["question"]
        server.kill()
    await asyncio.gather(sending, return_exceptions=True)
    points.hold("paid")
    async with process(tmp_path, *FLAGS) as (server, chat):
        part = (await chat.messages("s"))[1]["parts"][-1]
        assert part["question"]["id"] == asked["id"]
        assert (await answer(chat, asked["id"], approve))[0] == 200
        if approve:
            await points.reached("paid")
            server.kill()
            points.release("paid")
        else:
            await settled(chat)
    async with process(tmp_path, *FLAGS) as (_, chat):
        message = await settled(chat)
    assert points.lines("ran") == (["quick 1", "pay 2"] if approve else ["quick 1"])
    assert calls(message) == [("quick", "complete"), ("pay", "error")]
    paid = message["parts"][-2]
    assert paid["question"]["id"] == asked["id"]
    assert paid["error"] == (UNKNOWN if approve else "Permission was denied.")


async def test_a_parked_turn_goes_on_with_an_approval_and_the_output_of_a_client(
    tmp_path: Path, points: Points
) -> None:
    flags = (*FLAGS, "--park-after", "0.1")
    async with process(tmp_path, *flags) as (server, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "pay+form pay"))
        asked = [(await question(socket)) for _ in range(2)]
        by_tool = {part["toolName"]: part["question"]["id"] for part in asked}
        await until_parked(tmp_path)
        server.kill()
    await asyncio.gather(sending, return_exceptions=True)
    async with process(tmp_path, *flags) as (_, chat), chat.socket("s") as socket:
        assert (await answer(chat, by_tool["form"], output={"name": "Ada"}))[0] == 200
        assert (await answer(chat, by_tool["pay"], True))[0] == 200
        again = await question(socket)
        assert again["question"]["id"] not in by_tool.values()
        await until_parked(tmp_path)
        assert (await answer(chat, again["question"]["id"], True))[0] == 200
        message = await settled(chat)
    assert sorted(calls(message)[:2]) == [("form", "complete"), ("pay", "complete")]
    assert calls(message)[2:] == [("pay", "complete")]
    assert len(points.lines("ran")) == 2
    returns = [
        part["content"]
        for found in json.loads(points.lines("seen")[-1])
        for part in found["parts"]
        if part["part_kind"] == "tool-return"
    ]
    assert returns[:2] == ["paid 1", {"name": "Ada"}] or returns[:2] == [{"name": "Ada"}, "paid 1"]
