"""What an agent's code does at worst: it ends its own turn with an error, and nothing else."""

import asyncio
import functools
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessile import ToolCallPart, Turn, create_app
from sessile.wire.errors import SettingsError
from tests.asking import answer, question
from tests.serving import serving


async def exits(turn: Turn) -> AsyncGenerator[str, None]:
    yield "so far"
    sys.exit(turn.content)


async def exits_in_a_task(_: Turn) -> AsyncGenerator[str, None]:
    async def tool() -> None:
        await asyncio.sleep(0)
        sys.exit(2)

    yield "so far"
    await asyncio.create_task(tool())


async def exits_in_a_group(_: Turn) -> AsyncGenerator[str, None]:
    async def tool() -> None:
        raise KeyboardInterrupt

    yield "so far"
    async with asyncio.TaskGroup() as group:
        group.create_task(tool())


async def exits_as_it_is_cancelled(_: Turn) -> AsyncGenerator[str, None]:
    async def tool() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            sys.exit(2)

    yield "so far"
    running = asyncio.create_task(tool())
    await asyncio.sleep(0)
    running.cancel()
    await running


async def exits_in_a_thread(_: Turn) -> AsyncGenerator[str, None]:
    yield "so far"
    await asyncio.to_thread(sys.exit, 2)


async def interrupts(_: Turn) -> AsyncGenerator[str, None]:
    yield "so far"
    raise KeyboardInterrupt


async def ends_a_generator(_: Turn) -> AsyncGenerator[str, None]:
    yield "so far"
    raise GeneratorExit


async def cancels_what_it_waits_for(_: Turn) -> AsyncGenerator[str, None]:
    yield "so far"
    inner = asyncio.create_task(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


async def raises_cancelled(_: Turn) -> AsyncGenerator[str, None]:
    yield "so far"
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("agent", "named"),
    [
        (exits, "SystemExit"),
        (exits_in_a_task, "AgentExit"),
        (exits_in_a_group, "ExceptionGroup"),
        (exits_as_it_is_cancelled, "AgentExit"),
        (exits_in_a_thread, "SystemExit"),
        (interrupts, "KeyboardInterrupt"),
        (ends_a_generator, "GeneratorExit"),
        (cancels_what_it_waits_for, "CancelledError"),
        (raises_cancelled, "CancelledError"),
    ],
)
async def test_an_agent_that_would_end_the_server_ends_its_turn(
    tmp_path: Path, agent: Callable[[Turn], Any], named: str
) -> None:
    async def reply(turn: Turn) -> AsyncGenerator[str, None]:
        if turn.content == "wait":
            await worse.wait()
            yield "answered"
        else:
            async for output in agent(turn):
                yield output

    worse = asyncio.Event()
    async with serving(tmp_path, agent=reply) as chat:
        other = asyncio.create_task(chat.send("other", "wait"))
        events = await chat.send("s", "now")
        worse.set()
        answer = events[-3].data
        assert (answer["status"], answer["content"]) == ("error", "so far")
        assert named in events[-2].data["error"]
        assert (await other)[-2].data["content"] == "answered"
        assert (await chat.send("s", "wait"))[-2].data["content"] == "answered"


async def test_a_stop_of_an_agent_that_exits_as_it_is_cancelled(tmp_path: Path) -> None:
    async def reply(_: Turn) -> AsyncGenerator[str, None]:
        yield "so far"
        try:
            await asyncio.sleep(60)
        finally:
            sys.exit(2)

    async with serving(tmp_path, agent=reply) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "now"))
        while "so far" not in str(await socket.recv()):
            pass
        assert await chat.stop("s")
        assert (await sending)[-2].data["status"] == "stopped"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("a \ud83d", "\udc68\u200d\ud83d", "\udc69 b"), "a 👨\u200d👩 b"),
        (("a \ud83d", "b"), "a \ufffdb"),
        (("a \ud83d",), "a \ufffd"),
        (("\ud83d",), "\ufffd"),
        (("\udc68 a",), "\ufffd a"),
        (("a", None, "b"), "ab"),
    ],
)
async def test_halves_of_a_character_that_meet_are_whole(
    tmp_path: Path, pieces: tuple[str | None, ...], text: str
) -> None:
    async def reply(_: Turn) -> AsyncGenerator[str | None, None]:
        for piece in pieces:
            yield piece

    async with serving(tmp_path, agent=reply) as chat:
        events = await chat.send("s", "go")
    assert events[-2].data["content"] == text
    assert "".join(event.data.get("text", "") for event in events) == text


# What is an agent ---------------------------------------------------------------------------------


async def with_model(turn: Turn, model: str) -> AsyncGenerator[str, None]:
    yield f"{model} {turn.content}"


async def whole(turn: Turn, model: str) -> str:
    return f"{model} {turn.content}"


class Desk:
    async def __call__(self, turn: Turn) -> str:
        return f"small {turn.content}"

    async def answer(self, turn: Turn) -> AsyncGenerator[str, None]:
        yield f"small {turn.content}"


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(turn: Turn) -> Any:
        return function(turn, "small")

    return wrapper


@pytest.mark.parametrize(
    "agent",
    [
        functools.partial(with_model, model="small"),
        functools.partial(whole, model="small"),
        functools.partial(functools.partial(whole), model="small"),
        functools.partial(Desk().answer),
        Desk(),
        Desk().answer,
        logged(with_model),
        logged(whole),
    ],
)
async def test_what_can_be_called_is_an_agent(tmp_path: Path, agent: Any) -> None:
    async with serving(tmp_path, agent=agent) as chat:
        assert (await chat.send("s", "hi"))[-2].data["content"] == "small hi"


def blocks(_: Turn) -> str:
    return "no"


@pytest.mark.parametrize("agent", [blocks, lambda turn: turn, functools.partial(blocks), Desk])
def test_what_would_block_is_refused(tmp_path: Path, agent: Any) -> None:
    with pytest.raises(SettingsError, match="must be `async def`"):
        create_app(agent=agent, store=f"sqlite:///{tmp_path}/s.db")


async def test_a_tool_call_id_that_is_used_again_is_another_call(tmp_path: Path) -> None:
    async def reply(_: Turn) -> AsyncGenerator[ToolCallPart, None]:
        for number in range(3):
            call = ToolCallPart("call_0", "add", {"n": number}, "pending")
            yield call
            yield msgspec.structs.replace(call, state="running")
            yield msgspec.structs.replace(call, state="complete", tool_output=number)
        yield ToolCallPart("call_0", "add", {"n": 2}, "complete", tool_output="more")
        yield ToolCallPart("call_0", "add", {"n": 3}, "complete", tool_output=3)

    async with serving(tmp_path, agent=reply) as chat:
        parts = (await chat.send("s", "go"))[-2].data["parts"]
    assert [(part["toolInput"]["n"], part["toolOutput"]) for part in parts] == [
        (0, 0),
        (1, 1),
        (2, "more"),
        (3, 3),
    ]
    assert len({part["toolCallId"] for part in parts}) == 4


async def test_asking_for_a_call_whose_id_is_used_again(tmp_path: Path) -> None:
    async def reply(turn: Turn) -> AsyncGenerator[ToolCallPart, None]:
        for number in range(2):
            call = ToolCallPart("call_0", "rm", {"n": number}, "pending")
            decision = await turn.ask(call, key="")
            if decision.approved:
                yield msgspec.structs.replace(call, state="complete", tool_output=number)

    async with serving(tmp_path, agent=reply) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "go"))
        for approve in (True, False):
            asked = await question(socket)
            await answer(chat, asked["question"]["id"], approve)
        first, second = (await sending)[-2].data["parts"]
    assert (first["toolOutput"], first["question"]["state"]) == (0, "approved")
    assert (second["state"], second["question"]["state"]) == ("error", "denied")


def test_a_module_that_exits_as_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_at_once.py").write_text("import sys\nsys.exit('usage: ...')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="ended the program when it was imported"):
        create_app(agent="exits_at_once:reply", store=f"sqlite:///{tmp_path}/s.db")
