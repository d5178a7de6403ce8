"""Python functions as agents, and what happens to everything they can yield."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from sessile import (
    AgentError,
    DataPart,
    FilePart,
    ReasoningPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    Turn,
    create_app,
)
from sessile.wire.errors import SettingsError
from tests.serving import Client, kinds, serving, text


async def everything(turn: Turn) -> AsyncGenerator[object, None]:
    yield ReasoningPart("hm ")
    yield ReasoningPart("hm")
    yield "one "
    yield TextPart("two")
    yield ToolCallPart("1", "search", {"q": "x"}, "pending")
    yield DataPart("plan", ["a"])
    yield ToolCallPart("1", "search", {"q": "x"}, "complete", tool_output=[1])
    yield DataPart("plan", ["a", "b"])
    yield ""
    yield "three"
    yield SourcePart("https://example.org")
    yield FilePart("text/plain", "data:,x")
    turn.metadata["cost"] = 0.5


async def test_all_kinds_of_parts(tmp_path: Path) -> None:
    async with serving(tmp_path, agent=everything) as chat:
        events = await chat.send("s", "go")
        answer = events[-2].data
        assert [part["type"] for part in answer["parts"]] == [
            "reasoning",
            "text",
            "tool-call",
            "data",
            "text",
            "source",
            "file",
        ]
        assert answer["content"] == "one twothree"
        assert answer["parts"][2]["toolOutput"] == [1]
        assert answer["parts"][3]["data"] == ["a", "b"]
        assert answer["metadata"] == {"cost": 0.5}
        assert (await chat.messages("s"))[1]["parts"] == answer["parts"]


async def returns_text(turn: Turn) -> str:
    return f"You said: {turn.content}"


async def returns_parts(turn: Turn) -> list[Any]:
    return ["You said: ", TextPart(turn.content)]


class Remembers:
    async def __call__(self, turn: Turn) -> AsyncGenerator[str, None]:
        yield "You said: "
        yield turn.content


@pytest.mark.parametrize(
    "agent", [returns_text, returns_parts, Remembers()], ids=["text", "parts", "object"]
)
async def test_functions_and_callable_objects_are_agents(
    tmp_path: Path, agent: Callable[[Turn], Any]
) -> None:
    async with serving(tmp_path, agent=agent) as chat:
        assert (await chat.send("s", "Hi"))[-2].data["content"] == "You said: Hi"


@pytest.mark.parametrize(
    "agent",
    [lambda turn: "x", len, 5, "no_such_module:reply"],
    ids=["plain function", "builtin", "number", "unknown module"],
)
def test_objects_that_are_not_agents_are_refused(tmp_path: Path, agent: Any) -> None:
    with pytest.raises(SettingsError):
        create_app(agent=agent, store=f"sqlite:///{tmp_path}/s.db")


async def ask_failing_agent(chat: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    events = await chat.send("s", "go")
    assert kinds(events)[-3:] == ["assistant", "error", "done"]
    assert (await chat.messages("s"))[-1]["status"] == "error"
    return events[-3].data, events[-2].data


async def test_the_message_of_an_agent_error_is_shown(tmp_path: Path) -> None:
    async def refuses(turn: Turn) -> AsyncGenerator[str, None]:
        yield "I would, but "
        raise AgentError("no more credit")

    async with serving(tmp_path, agent=refuses) as chat:
        answer, error = await ask_failing_agent(chat)
        assert answer["content"] == "I would, but "
        assert error == {"type": "error", "error": "no more credit", "code": "agent_error"}


@pytest.mark.parametrize(
    "output", [5, b"x", object(), DataPart("x", object()), ToolCallPart("1", "t", {1j}, "running")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
async def test_output_that_cannot_be_stored_ends_only_its_turn(tmp_path: Path, output: Any) -> None:
    async def strange(turn: Turn) -> AsyncGenerator[Any, None]:
        yield "before "
        if turn.content == "go":
            yield output

    async with serving(tmp_path, agent=strange) as chat:
        answer, _ = await ask_failing_agent(chat)
        assert answer["content"] == "before "
        assert (await chat.send("s", "again"))[-2].data["status"] == "complete"


async def test_unpaired_surrogates_are_repaired(tmp_path: Path) -> None:
    async def halves(turn: Turn) -> AsyncGenerator[Any, None]:
        yield "a\ud83d\ude42b\ud800"
        yield DataPart("x", {"k": "\udcff"})

    async with serving(tmp_path, agent=halves) as chat:
        answer = (await chat.send("s", "go"))[-2].data
        assert answer["content"] == "a🙂b\ufffd"
        assert answer["parts"][1]["data"] == {"k": "\ufffd"}


async def test_metadata_that_is_not_json_is_left_out(tmp_path: Path) -> None:
    async def strange(turn: Turn) -> str:
        turn.metadata["x"] = object()
        return "fine"

    async with serving(tmp_path, agent=strange) as chat:
        answer = (await chat.send("s", "go"))[-2].data
        assert (answer["status"], answer["content"]) == ("complete", "fine")


async def test_changing_a_part_after_it_was_yielded_has_no_effect(tmp_path: Path) -> None:
    async def reuses(turn: Turn) -> AsyncGenerator[Any, None]:
        call = ToolCallPart("1", "t", {"n": 1}, "running")
        yield call
        call.tool_input["n"] = 2
        call.state = "complete"

    async with serving(tmp_path, agent=reuses) as chat:
        answer = (await chat.send("s", "go"))[-2].data
        assert answer["parts"][0]["toolInput"] == {"n": 1}
        assert answer["parts"][0]["state"] == "error"


async def test_an_agent_that_never_waits_does_not_hold_up_others(tmp_path: Path) -> None:
    async def floods(turn: Turn) -> AsyncGenerator[str, None]:
        for _ in range(20_000 if turn.content == "flood" else 1):
            yield "x"

    async with serving(tmp_path, agent=floods) as chat:
        flood = asyncio.create_task(chat.send("a", "flood"))
        while not await chat.messages("a"):
            await asyncio.sleep(0)
        assert text(await chat.send("b", "short")) == "x"
        assert not flood.done()
        assert len(text(await flood)) == 20_000


async def test_history_is_given_as_messages(tmp_path: Path) -> None:
    shown: list[list[tuple[str, str]]] = []

    async def remembers(turn: Turn) -> str:
        history = await turn.history(3)
        shown.append([(message.role, message.content) for message in history])
        return turn.content.upper()

    async with serving(tmp_path, agent=remembers) as chat:
        for word in ("a", "b", "c"):
            await chat.send("s", word)
    assert shown == [
        [],
        [("user", "a"), ("assistant", "A")],
        [("user", "b"), ("assistant", "B")],
    ]


async def test_what_an_agent_changes_in_place_and_remembers_is_stored(tmp_path: Path) -> None:
    waits, remembered = asyncio.Event(), asyncio.Event()

    async def reply(turn: Turn) -> AsyncGenerator[str, None]:
        seen = turn.private.get("seen", [])
        seen.append(turn.content)
        await turn.remember({"seen": seen}, private=True)
        if turn.content == "two":
            remembered.set()
            await waits.wait()
        yield "done"

    async with serving(tmp_path, agent=reply) as chat:
        await chat.send("s", "one")
        sending = asyncio.create_task(chat.send("s", "two"))
        await remembered.wait()
        database = apsw.Connection(str(tmp_path / "sessile.db"))
        stored = database.execute("SELECT private FROM sessions").get
        database.close()
        assert json.loads(stored) == {"seen": ["one", "two"]}
        waits.set()
        await sending
