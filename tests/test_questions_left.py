"""Questions while an agent is let go of, or does not do what it should."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import apsw
import pytest

import sessile
from sessile import ToolCallPart, Turn
from sessile.agents.base import Output
from sessile.node import registry
from tests.asking import answer, asked, send, settled
from tests.operating import run
from tests.serving import Client, frames, process, serving

PENDING = ToolCallPart("a", "t", {}, "pending")


async def parked(chat: Client) -> None:
    assert chat.app is not None
    assert chat.app._registry is not None
    async with asyncio.timeout(20):
        while chat.app._registry.running:
            await asyncio.sleep(0.01)


async def test_a_task_that_asks_and_is_not_waited_for_leaves_the_question_open(
    tmp_path: Path,
) -> None:
    @sessile.agent(continues=True)
    async def asks(turn: Turn) -> AsyncGenerator[str, None]:
        task = asyncio.create_task(turn.ask(PENDING))
        try:
            yield (await asyncio.shield(task)).state
        finally:
            task.cancel()

    async with serving(tmp_path, agent=asks, park_after=0.1) as chat:
        await send(chat)
        id = (await asked(chat))["id"]
        await parked(chat)
        assert (await asked(chat))["state"] == "open"
        assert (await answer(chat, id, True))[0] == 200
        assert (await settled(chat))["content"] == "approved"


async def test_an_agent_that_outlives_its_time_changes_nothing(tmp_path: Path) -> None:
    """What it does after the two seconds for its cleanup is not of the answer any more."""
    outlived = asyncio.Event()

    @sessile.agent(continues=True)
    async def stubborn(turn: Turn) -> AsyncGenerator[Output, None]:
        if turn.unfinished is not None:
            yield (await turn.ask(PENDING)).state
            return
        asking = asyncio.create_task(turn.ask(PENDING))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(2.5)
            assert (await turn.ask(ToolCallPart("b", "t", {}, "pending"))).state == "expired"
            assert (await turn.call(ToolCallPart("c", "t", {}, "pending"))).error
            await turn.keep("late")
            asking.cancel()
            outlived.set()
            yield "late"

    async with serving(tmp_path, agent=stubborn, park_after=0.1) as chat:
        await send(chat)
        id = (await asked(chat))["id"]
        await asyncio.wait_for(outlived.wait(), 20)
        await parked(chat)
        assert (await asked(chat))["id"] == id
        assert (await answer(chat, id, True))[0] == 200
        message = await settled(chat)
    assert (message["content"], len(message["parts"])) == ("approved", 2)


async def test_an_answer_while_the_agent_lets_go_is_acted_upon_although_another_is_open(
    tmp_path: Path,
) -> None:
    letting_go, go_on = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @sessile.agent(continues=True)
    async def asks(turn: Turn) -> AsyncGenerator[Output, None]:
        calls = [ToolCallPart(name, "t", {"name": name}, "pending") for name in ("a", "b")]

        async def work(call: ToolCallPart) -> None:
            if (await turn.ask(call)).approved:
                ran.append(call.tool_call_id)

        try:
            await asyncio.gather(*map(work, calls))
        except asyncio.CancelledError:
            letting_go.set()
            await go_on.wait()
            raise
        yield "done"

    async with serving(tmp_path, agent=asks, park_after=0.1) as chat:
        await send(chat)
        async with asyncio.timeout(20):
            await letting_go.wait()
        found = (await chat.http.get("/chat/s/questions")).json()
        assert (await answer(chat, found[0]["id"], True))[0] == 200
        go_on.set()
        async with asyncio.timeout(20):
            while not ran:
                await asyncio.sleep(0.01)
        assert (await answer(chat, found[1]["id"], True))[0] == 200
        assert (await settled(chat))["content"] == "done"
    assert sorted(set(ran)) == ["a", "b"]


async def test_a_call_may_need_several_permissions(tmp_path: Path) -> None:
    @sessile.agent(continues=True)
    async def asks(turn: Turn) -> AsyncGenerator[str, None]:
        if turn.content == "at once":
            both = await asyncio.gather(*(turn.ask(PENDING, about=about) for about in "xy"))
        else:
            both = [await turn.ask(PENDING, about=about) for about in "xy"]
        yield " ".join(f"{one.state}:{one.message}" for one in both)

    async with serving(tmp_path, agent=asks, park_after=0.1) as chat:
        for content in ("one by one", "at once"):
            await send(chat, content)
            ids = []
            for approve, message in ((True, "first"), (False, "second")):
                id = (await asked(chat))["id"]
                ids.append(id)
                await parked(chat)
                assert (await answer(chat, id, approve, message=message))[0] == 200
            assert (await settled(chat))["content"] == "approved:first denied:second"
            assert len(set(ids)) == 2


async def test_a_tool_that_was_approved_is_not_cut_off_by_another_question(
    tmp_path: Path,
) -> None:
    ran: list[str] = []

    @sessile.agent(continues=True)
    async def asks(turn: Turn) -> AsyncGenerator[str, None]:
        async def work(name: str) -> None:
            if (await turn.ask(ToolCallPart(name, "t", {}, "pending"))).approved:
                ran.append(f"begin {name}")
                await asyncio.sleep(1)
                ran.append(f"end {name}")

        await asyncio.gather(work("a"), work("b"))
        yield "done"

    async with serving(tmp_path, agent=asks, park_after=0.2) as chat:
        await send(chat)
        async with asyncio.timeout(20):
            while len(found := (await chat.http.get("/chat/s/questions")).json()) < 2:
                await asyncio.sleep(0.01)
        assert (await answer(chat, found[0]["id"], True))[0] == 200
        async with asyncio.timeout(20):
            while "end a" not in ran:
                await asyncio.sleep(0.01)
        assert (await answer(chat, found[1]["id"], True))[0] == 200
        assert (await settled(chat))["content"] == "done"
    assert ran == ["begin a", "end a", "begin b", "end b"]


async def test_what_a_yielded_call_says_of_its_question_is_ignored(tmp_path: Path) -> None:
    async def asks(turn: Turn) -> AsyncGenerator[Output, None]:
        call = ToolCallPart("a", "t", {}, "pending")
        forged = sessile.Question("mine", "approval", "open")
        yield ToolCallPart("b", "t", {}, "running", question=forged)
        await turn.ask(call)
        stale = sessile.Question("mine", "approval", "open")
        yield ToolCallPart("a", "t", {}, "complete", tool_output=1, question=stale)
        asking = asyncio.create_task(turn.ask(ToolCallPart("c", "t", {}, "pending")))
        await asyncio.sleep(0)
        yield ToolCallPart("c", "t", {}, "complete", tool_output=2)
        asking.cancel()

    async with serving(tmp_path, agent=asks) as chat:
        await send(chat)
        assert (await answer(chat, (await asked(chat))["id"], True))[0] == 200
        b, a, c = (await settled(chat))["parts"]
    assert "question" not in b
    assert a["question"]["state"] == "approved"
    assert (c["question"]["state"], c["state"]) == ("expired", "complete")


async def test_a_question_that_its_agent_does_not_wait_for_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "SWEEP", 0.1)

    @sessile.agent(continues=True)
    async def asks(turn: Turn) -> AsyncGenerator[str, None]:
        if turn.unfinished is None:
            await turn.ask(PENDING)
        else:
            async with asyncio.timeout(20):
                while (await chat.http.get("/chat/s/questions")).json():
                    await asyncio.sleep(0.05)
        yield "over"

    async with serving(tmp_path, agent=asks, park_after=0.1, approve_timeout=3) as chat:
        await send(chat)
        id = (await asked(chat))["id"]
        await parked(chat)
        message = await settled(chat)
        assert message["parts"][0]["question"]["state"] == "expired"
        assert (await answer(chat, id, True))[0] == 409


async def test_a_stop_of_a_parked_turn_and_what_waits_behind_it_survive_a_crash(
    tmp_path: Path,
) -> None:
    async with process(tmp_path, "--park-after", "0") as (server, chat):
        await send(chat, "[[ask]] x")
        await asked(chat)
        while "turns_running 0" not in (await chat.http.get("/metrics")).text:
            await asyncio.sleep(0.01)
        body = {"content": "instead", "whileBusy": "interrupt"}
        sending = asyncio.create_task(chat.http.post("/chat/s", json=body))
        async with asyncio.timeout(20):
            while all(m["content"] != "instead" for m in await chat.messages("s")):
                await asyncio.sleep(0)
        server.kill()
        await asyncio.gather(sending, return_exceptions=True)
    async with process(tmp_path) as (_, chat):
        assert (await settled(chat))["content"] == "instead"
        found = await chat.messages("s")
    assert [m["status"] for m in found] == ["complete", "stopped", "complete", "complete"]


@pytest.mark.parametrize("flags", [("--on-crash", "mark"), ("--agent", "other:reply")])
async def test_what_was_parked_ends_where_nobody_goes_on_with_it(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    (tmp_path / "other.py").write_text(
        "import sessile\n@sessile.agent(continues=True)\nasync def reply(turn):\n    yield 'other'\n"
    )
    async with process(tmp_path, "--park-after", "0") as (server, chat):
        await send(chat, "[[ask]] x")
        id = (await asked(chat))["id"]
        await send(chat, "then")
        while "turns_running 0" not in (await chat.http.get("/metrics")).text:
            await asyncio.sleep(0.01)
        assert server.terminate() == 0
    async with process(tmp_path, *flags, PYTHONPATH=str(tmp_path)) as (_, chat):
        async with asyncio.timeout(20):
            while (await chat.value("s"))["status"] != "idle":
                await asyncio.sleep(0.01)
        found = await chat.messages("s")
        assert [m["status"] for m in found] == ["complete", "interrupted", "complete", "complete"]
        assert found[1]["parts"][0]["question"]["state"] == "expired"
        assert (await answer(chat, id, True))[0] == 409


async def test_ids_of_questions_that_cannot_be_are_not_found(chat: Client) -> None:
    await send(chat, "[[ask]] x")
    id = (await asked(chat))["id"]
    own = id.rpartition(".")[0]
    async with chat.socket("s") as socket:
        for number in ("²", "9" * 5_000, "-1", "", "1.1", "2-x"):
            wrong = f"{own}.{number}"
            if len(wrong) < 1_000:
                assert (await answer(chat, wrong, True))[0] == 404, number
            await socket.send(json.dumps({"type": "answer", "questionId": wrong, "approve": True}))
            error = (await frames(socket, until="error"))[-1]
            assert error["code"] == "question_not_found"
    assert (await answer(chat, id, False))[0] == 200


async def test_a_key_or_a_record_that_is_no_text_of_unicode_does_no_harm(tmp_path: Path) -> None:
    @sessile.agent(continues=True)
    async def odd(turn: Turn) -> AsyncGenerator[str, None]:
        await turn.keep({"path": "a\udcff"})
        yield (await turn.ask(PENDING, key="a\udcff")).state

    async with serving(tmp_path, agent=odd) as chat:
        for _ in range(2):
            await send(chat)
            if _ == 0:
                assert (await answer(chat, (await asked(chat))["id"], True, always=True))[0] == 200
            assert (await settled(chat))["content"] == "approved"


async def test_the_output_of_a_client_has_the_limits_of_a_tool(tmp_path: Path) -> None:
    limits = {"max_tool_output": 1_024, "max_answer": 3_000}
    async with serving(tmp_path, **limits) as chat:
        await send(chat, "[[call]] x")
        id = (await asked(chat))["id"]
        assert (await answer(chat, id, output="x" * 100_000))[0] == 200
        call = (await settled(chat))["parts"][0]
    assert call["toolOutput"].endswith("[cut: the output has 100,000 bytes]")


async def test_a_damaged_record_harms_no_other_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, park_after=0.0, approve_timeout=3) as chat:
        for session in ("s", "t"):
            await send(chat, "[[ask]] x", session)
            await asked(chat, session)
        await parked(chat)
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    number = database.execute("SELECT number FROM sessions WHERE id = 's'").get
    database.execute("INSERT INTO records VALUES (?, x'7b')", (number,))
    database.close()
    assert "what its agent keeps with its answer cannot be read" in run(tmp_path, "check").stdout
    monkeypatch.setattr(registry, "SWEEP", 0.1)
    async with serving(tmp_path) as chat:
        for session in ("t", "s"):
            message = await settled(chat, session)
            assert message["parts"][0]["question"]["state"] == "expired"


async def test_what_is_kept_with_a_running_answer_is_dropped_by_an_edit_before_it(
    tmp_path: Path,
) -> None:
    @sessile.agent(continues=True)
    async def keeper(turn: Turn) -> AsyncGenerator[str, None]:
        said = [m.record for m in await turn.history() if m.role == "assistant"]
        if turn.content == "asks":
            if turn.unfinished is None:
                await turn.keep("untrue")
            yield (await turn.ask(PENDING)).state + f" {turn.unfinished and turn.unfinished.record}"
        yield json.dumps(said)

    async with serving(tmp_path, agent=keeper, park_after=0.0) as chat:
        await chat.send("s", "first")
        await send(chat, "asks")
        id = (await asked(chat))["id"]
        await parked(chat)
        first = (await chat.messages("s"))[0]["id"]
        body: Any = {"parts": [{"type": "text", "content": "edited"}]}
        await chat.http.patch(f"/sessions/s/messages/{first}", json=body)
        assert (await answer(chat, id, True))[0] == 200
        assert (await settled(chat))["content"].startswith("approved None")
        assert (await chat.send("s", "then"))[-2].data["content"] == "[null, null]"
