"""Questions that wait: over restarts, without a process, for a client's output, and until they expire."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import sessile
from sessile import ToolCallPart, Turn
from sessile.agents.base import Output
from sessile.node import registry
from tests.asking import asked, send, settled
from tests.operating import run
from tests.serving import Client, frames, kinds, process, serving

PAYS = """
import sessile
from sessile import ToolCallPart

@sessile.agent(continues=True)
async def reply(turn):
    yield "I will pay. "
    call = ToolCallPart("pay-1", "pay", {"euros": 5}, "pending")
    if (await turn.ask(call)).approved:
        yield ToolCallPart("pay-1", "pay", {"euros": 5}, "running")
        with open("paid.txt", "a") as file:
            file.write("paid\\n")
        yield ToolCallPart("pay-1", "pay", {"euros": 5}, "complete", tool_output="paid")
    yield "Done."
"""
PAYS = PAYS.replace('    yield "I will', '    if turn.unfinished is None:\n        yield "I will')

FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "guests": {"type": "integer", "minimum": 1},
    },
    "required": ["name", "guests"],
}


@sessile.agent(continues=True)
async def booking(turn: Turn) -> AsyncGenerator[Output, None]:
    call = ToolCallPart("form", "book", {"message": "Who comes?"}, "pending")
    result = await turn.call(call, FORM)
    yield f"{json.dumps(result.output)} {result.error}"


async def answer(chat: Client, id: str, body: Any, session: str = "s") -> tuple[int, Any]:
    response = await chat.http.post(f"/chat/{session}/questions/{id}", json=body)
    return response.status_code, response.json()


@pytest.mark.parametrize("park", ["0", "60"])
async def test_a_question_waits_over_three_kills_and_the_tool_runs_once(
    tmp_path: Path, park: str
) -> None:
    (tmp_path / "pays.py").write_text(PAYS)
    flags = ("--agent", "pays:reply", "--park-after", park)
    path = {"PYTHONPATH": str(tmp_path)}
    ids: set[str] = set()
    for life in range(3):
        async with process(tmp_path, *flags, **path) as (server, chat):
            if not life:
                await send(chat)
            question = await asked(chat)
            ids.add(question["id"])
            assert (await chat.value("s"))["status"] == "waiting"
            assert (await chat.http.get("/sessions")).json()[0]["status"] == "waiting"
            server.kill()
    async with process(tmp_path, *flags, **path) as (_, chat):
        assert ids == {question["id"]}, "it is the same question each time"
        assert (question["kind"], question["state"]) == ("approval", "open")
        assert (question["toolName"], question["toolInput"]) == ("pay", {"euros": 5})
        answers = await asyncio.gather(
            *(answer(chat, question["id"], {"approve": True}) for _ in range(4))
        )
        assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
        message = await settled(chat)
        assert (message["status"], message["content"]) == ("complete", "I will pay. Done.")
        assert message["parts"][1]["toolOutput"] == "paid"
        assert (await chat.value("s"))["status"] == "idle"
        assert (await chat.http.get("/chat/s/questions")).json() == []
    assert (tmp_path / "paid.txt").read_text() == "paid\n"
    assert "no faults" in run(tmp_path, "check").stdout


async def test_an_answer_that_was_stored_counts_after_a_crash(tmp_path: Path) -> None:
    """The agent has the answer before it can act upon it, or gets it when it asks again."""
    async with process(tmp_path) as (server, chat):
        await send(chat, "[[ask]] a b c")
        id = (await asked(chat))["id"]
        answered = await answer(chat, id, {"approve": False, "message": "not today"})
        server.kill()
    assert answered[0] == 200
    async with process(tmp_path) as (_, chat):
        assert (await answer(chat, id, {"approve": True}))[0] == 409
        message = await settled(chat)
    (call, text) = message["parts"]
    assert (call["question"]["state"], call["error"]) == ("denied", "not today")
    assert (text["content"], message["status"]) == ("[[ask]] a b c", "complete")


async def test_a_turn_that_waits_lets_go_of_its_agent_and_goes_on_with_the_answer(
    tmp_path: Path,
) -> None:
    lives: list[str] = []

    @sessile.agent(continues=True)
    async def asks(turn: Turn) -> AsyncGenerator[Output, None]:
        lives.append("begins")
        try:
            if turn.unfinished is None:
                turn.metadata["n"] = 1
                yield "before "
            decision = await turn.ask(ToolCallPart("1", "t", {}, "pending"), key="k")
            yield f"{decision.state} {decision.message}"
        finally:
            lives.append("ends")

    async with serving(tmp_path, agent=asks, park_after=0.05) as chat:
        assert chat.app is not None
        assert chat.app._registry is not None
        sending = asyncio.create_task(chat.send("s", "go"))
        question = await asked(chat)
        while lives != ["begins", "ends"]:
            await asyncio.sleep(0.01)
        while chat.app._registry.running:
            await asyncio.sleep(0.01)
        # What is sent meanwhile waits behind the question.
        queued = asyncio.create_task(chat.send("s", "and then"))
        while (await chat.messages("s"))[-1]["status"] != "queued":
            await asyncio.sleep(0.01)
        await chat.app.store.trim(-1)
        assert (await chat.messages("s"))[1]["content"] == "before "
        body = {"approve": True, "always": True, "message": "fine"}
        assert (await answer(chat, question["id"], body))[0] == 200
        events = await sending
        assert events[-2].data["content"] == "before approved fine"
        assert events[-2].data["metadata"] == {"n": 1}
        assert [event.id for event in events[:-1] if event.id] == sorted(
            {event.id for event in events[:-1] if event.id}
        )
        assert (await queued)[-2].data["content"] == "before approved ", "always, by its key"
        assert lives == ["begins", "ends"] * 3


async def test_a_parked_turn_is_only_a_row(tmp_path: Path) -> None:
    """A start does not wake it, and neither do readers."""
    flags = ("--park-after", "0")
    async with process(tmp_path, *flags) as (server, chat):
        await send(chat, "[[ask]] x")
        id = (await asked(chat))["id"]
        await wait_until_parked(chat)
        assert server.terminate() == 0
    async with process(tmp_path, *flags) as (_, chat):
        await wait_until_parked(chat)
        assert await metric(chat, "sessile_sessions_awake") == 0
        page = await chat.messages("s")
        assert page[-1]["parts"][0]["question"]["id"] == id
        async with chat.socket("s") as socket:
            assert (await frames(socket, until="hello"))[-1]["status"] == "waiting"
        repeat = await chat.http.post("/chat/s", json={"content": "x", "whileBusy": "reject"})
        assert (repeat.status_code, repeat.json()["code"]) == (409, "turn_in_progress")
        assert await chat.stop("s") is True
        message = await settled(chat)
        assert (message["status"], message["parts"][0]["question"]["state"]) == (
            "stopped",
            "expired",
        )


async def wait_until_parked(chat: Client) -> None:
    while await metric(chat, "sessile_turns_running"):
        await asyncio.sleep(0.01)


async def metric(chat: Client, name: str) -> float:
    lines = (await chat.http.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def test_a_question_expires_while_its_turn_is_parked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "SWEEP", 0.05)
    async with serving(tmp_path, park_after=0.0, approve_timeout=0.6) as chat:
        events = await chat.send("s", "[[ask]] please")
        call, text = events[-2].data["parts"]
        assert (call["question"]["state"], call["state"]) == ("expired", "error")
        assert text["content"] == "[[ask]] please"


async def test_a_client_gives_the_output_of_a_call(tmp_path: Path) -> None:
    async with serving(tmp_path, agent=booking) as chat:
        sending = asyncio.create_task(chat.send("s", "go"))
        question = await asked(chat)
        assert (question["kind"], question["schema"]) == ("output", FORM)
        assert question["toolInput"] == {"message": "Who comes?"}
        for wrong, where in (
            ({"name": "Ann"}, "guests"),
            ({"name": "Ann", "guests": "many"}, "`output/guests`"),
            ({"name": "", "guests": 2}, "`output/name`"),
            (None, "`output`"),
        ):
            status, said = await answer(chat, question["id"], {"output": wrong})
            assert (status, said["code"]) == (400, "invalid_output")
            assert where in said["error"]
        for wrong_body in ({"approve": True}, {}, {"output": 1, "error": "x"}, {"error": 5}):
            status, said = await answer(chat, question["id"], wrong_body)
            assert (status, said["code"]) == (400, "invalid_request"), wrong_body
        assert (await asked(chat))["id"] == question["id"], "it stays open"
        given = {"name": "Ann", "guests": 12345678901234567890}
        status, said = await answer(chat, question["id"], {"output": given})
        assert (status, said["state"], said["schema"]) == (200, "answered", FORM)
        message = (await sending)[-2].data
    call = message["parts"][0]
    assert (call["state"], call["toolOutput"]) == ("complete", given)
    assert message["content"] == f"{json.dumps(given)} None"


async def test_a_client_declines_a_call_over_its_socket(tmp_path: Path) -> None:
    async with serving(tmp_path, agent=booking) as chat, chat.socket("s") as socket:
        await send(chat)
        id = (await asked(chat))["id"]
        for command, code in (
            ({"error": "no", "output": 1}, "invalid_request"),
            ({"output": {}}, "invalid_output"),
        ):
            await socket.send(json.dumps({"type": "answer", "questionId": id, **command}))
            assert (await frames(socket, until="error"))[-1]["code"] == code
        command = {"type": "answer", "questionId": id, "error": "Nobody comes."}
        await socket.send(json.dumps(command))
        message = (await frames(socket))[-1]["message"]
    call = message["parts"][0]
    assert (call["state"], call["error"]) == ("error", "Nobody comes.")
    assert call["question"]["state"] == "answered"
    assert message["content"] == "null Nobody comes."


async def test_a_call_without_a_schema_takes_any_output_also_null(tmp_path: Path) -> None:
    async with serving(tmp_path, park_after=0.0) as chat:
        for output in (None, False, "text", [1, {"a": None}], 0):
            await send(chat, "[[call]] words")
            question = await asked(chat)
            assert "schema" not in question
            assert (await answer(chat, question["id"], {"output": output}))[0] == 200
            call, text = (await settled(chat))["parts"]
            assert (call["state"], call["toolOutput"]) == ("complete", output)
            assert text["content"] == "[[call]] words"


@pytest.mark.parametrize(
    "schema", [{"type": "strin"}, 5, {"$ref": "http://127.0.0.1:9/schema"}, {"$ref": "file:///x"}]
)
async def test_what_is_not_a_schema_ends_the_answer_with_an_error(
    tmp_path: Path, schema: Any
) -> None:
    async def calls(turn: Turn) -> str:
        await turn.call(ToolCallPart("1", "t", {}, "pending"), schema)
        return "not reached"

    async with serving(tmp_path, agent=calls) as chat:
        events = await chat.send("s", "go")
        assert kinds(events)[-3:] == ["assistant", "error", "done"]
        assert events[-3].data["status"] == "error"


async def test_another_input_under_the_same_call_is_another_question(tmp_path: Path) -> None:
    """Approval for one input is not approval for another."""

    async def asks(turn: Turn) -> AsyncGenerator[str, None]:
        for command in ("ls", "rm -rf /"):
            decision = await turn.ask(ToolCallPart("1", "bash", {"command": command}, "pending"))
            again = await turn.ask(ToolCallPart("1", "bash", {"command": command}, "pending"))
            assert decision.state == again.state
            yield f"{command}: {decision.state} "

    async with serving(tmp_path, agent=asks) as chat:
        sending = asyncio.create_task(chat.send("s", "go"))
        for command, approve in (("ls", True), ("rm -rf /", False)):
            question = await asked(chat)
            while question["toolInput"] != {"command": command}:
                question = await asked(chat)
            assert (await answer(chat, question["id"], {"approve": approve}))[0] == 200
        said = (await sending)[-2].data["content"]
    assert said == "ls: approved rm -rf /: denied "


async def test_messages_of_clients_cannot_open_questions(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        call = {
            "type": "tool-call",
            "toolCallId": "1",
            "toolName": "t",
            "toolInput": {},
            "state": "pending",
            "question": {"id": "x.1", "kind": "approval", "state": "open"},
        }
        parts = [call, {"type": "text", "content": "hi"}]
        await chat.stream("POST", "/chat/s", json={"parts": parts})
        assert (await chat.http.get("/chat/s/questions")).json() == []
        assert (await answer(chat, "x.1", {"approve": True}))[0] == 404
        assert (await chat.http.get("/chat/nobody/questions")).json() == []
        assert (await chat.http.get("/sessions/nobody")).status_code == 404
