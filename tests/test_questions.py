"""Agents that ask for permission: what is shown, who answers, and how a question ends."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import UNSET

from sessile import ToolCallPart, Turn
from sessile.session.questions import Policy, Questions
from sessile.session.reply import Reply
from sessile.store.base import RunningTurn
from tests.asking import answer, question
from tests.serving import Client, Event, frames, kinds, process, serving


async def send_and_answer(
    chat: Client, approve: bool, content: str = "[[ask]] please", **more: Any
) -> list[Event]:
    """Send a message, answer its question over HTTP, and return the whole stream."""
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", content))
        part = await question(socket)
        status, said = await answer(chat, part["question"]["id"], approve, **more)
        state = "approved" if approve else "denied"
        expected = part["question"] | {"state": state}
        if "message" in more:
            expected["message"] = more["message"]
        assert (status, said) == (200, expected)
        return await sending


def states(found: list[Event]) -> list[tuple[str, str | None]]:
    """(state, question) of the tool call, event by event."""
    return [
        (event.data["part"]["state"], event.data["part"].get("question", {}).get("state"))
        for event in found
        if event.data["type"] == "part"
    ]


@pytest.mark.parametrize("content", ["[[ask]] please", "[[tool]] [[ask]] please"])
async def test_an_approved_tool_runs(chat: Client, content: str) -> None:
    events = await send_and_answer(chat, True, content)
    assert states(events) == [
        ("pending", None),
        ("pending", "open"),
        ("pending", "approved"),
        ("running", "approved"),
        ("complete", "approved"),
    ]
    call, text = events[-2].data["parts"]
    assert (call["toolName"], call["toolInput"], call["toolOutput"]) == (
        "echo",
        {"text": content},
        content,
    )
    assert (text["content"], events[-2].data["status"]) == (content, "complete")
    assert (await chat.messages("s"))[-1]["parts"] == [call, text]


async def test_a_denied_tool_ends_with_an_error_and_the_text_follows(chat: Client) -> None:
    events = await send_and_answer(chat, False, message="not on a Friday")
    assert states(events) == [("pending", None), ("pending", "open"), ("error", "denied")]
    call, text = events[-2].data["parts"]
    assert call["error"] == "not on a Friday"
    assert (text["content"], events[-2].data["status"]) == ("[[ask]] please", "complete")
    assert "denied" in (await send_and_answer(chat, False))[-2].data["parts"][0]["error"]


@pytest.mark.parametrize(
    ("type", "name"),
    [("answer", "questionId"), ("answer", "id"), ("approve", "approvalId"), ("approve", "id")],
)
async def test_any_client_can_answer_over_its_socket(chat: Client, type: str, name: str) -> None:
    sending = asyncio.create_task(chat.send("s", "[[ask]]"))
    async with chat.socket("s", "?after=0") as one, chat.socket("s", "?after=0") as two:
        part = await question(one)
        await two.send(json.dumps({"type": type, name: part["question"]["id"], "approve": True}))
        seen = await frames(one)
        assert seen[0]["part"]["question"]["state"] == "approved"
        assert seen[-1]["message"]["parts"][0]["state"] == "complete"
        for wrong, code in (
            ({"approve": True}, "invalid_request"),
            ({name: part["question"]["id"]}, "invalid_request"),
            ({name: "nothing", "approve": True}, "question_not_found"),
            ({name: part["question"]["id"], "approve": True}, "question_answered"),
        ):
            await two.send(json.dumps({"type": type, **wrong}))
            assert (await frames(two, until="error"))[-1]["code"] == code
    await sending


async def test_only_the_first_answer_counts_during_and_after_the_turn(chat: Client) -> None:
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "[[ask]]"))
        id = (await question(socket))["question"]["id"]
        answers = await asyncio.gather(*(answer(chat, id, bool(i % 2)) for i in range(6)))
        await sending
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409, 409]
    assert (await answer(chat, id, True))[1]["code"] == "question_answered"
    for unknown in ("nobody", id + "1", id.rpartition(".")[0], "x.1"):
        assert (await answer(chat, unknown, True))[0] == 404
    assert (await chat.http.post("/chat/t/approvals/x", json={"approve": True})).json() == {
        "error": "The question does not exist in this session.",
        "code": "question_not_found",
    }
    assert (await chat.http.get("/sessions/t")).status_code == 404


@pytest.mark.parametrize("body", ["", "{}", '{"approve":1}', '{"approve":true,"message":5}', "[]"])
async def test_an_invalid_answer_is_refused_and_the_question_stays_open(
    chat: Client, body: str
) -> None:
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "[[ask]]"))
        id = (await question(socket))["question"]["id"]
        refused = await chat.http.post(f"/chat/s/questions/{id}", content=body)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        assert (await answer(chat, id, True))[0] == 200
        await sending


async def test_a_question_waits_even_without_watchers(chat: Client) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await chat.send("s", "[[ask]]")
    while chat.watchers():
        await asyncio.sleep(0.001)
    call = (await chat.messages("s"))[-1]["parts"][0]
    assert (call["question"]["state"], (await chat.value("s"))["status"]) == ("open", "waiting")
    assert (await answer(chat, call["question"]["id"], True))[0] == 200
    while (await chat.messages("s"))[-1]["status"] != "complete":
        await asyncio.sleep(0.001)


async def test_a_question_without_an_answer_expires(tmp_path: Path) -> None:
    async with serving(tmp_path, approve_timeout=0.05) as chat:
        events = await chat.send("s", "[[ask]] please")
        assert states(events)[1:] == [("pending", "open"), ("error", "expired")]
        message = events[-2].data
        assert (message["status"], message["content"]) == ("complete", "[[ask]] please")
        assert (await answer(chat, message["parts"][0]["question"]["id"], True))[0] == 409


async def test_an_answer_at_the_last_moment_counts() -> None:
    shown: dict[str, ToolCallPart] = {}

    def put(call: ToolCallPart) -> None:
        shown[call.tool_call_id] = call

    questions = Questions(
        RunningTurn("q", "answer", 0, 1), Policy("ask", 0.05), shown.get, put, lambda: False
    )
    asking = asyncio.create_task(questions.ask(ToolCallPart("1", "t", {}, "pending"), False))
    while not shown:
        await asyncio.sleep(0)
    time.sleep(0.1)  # its time is over, but the timeout has not been handled  # noqa: ASYNC251
    questions.answer("answer.1", Reply(approve=True))
    assert (await asking).state == "approved"
    asked = shown["1"].question
    assert asked is not UNSET
    assert (asked.id, asked.state) == ("answer.1", "approved")


@pytest.mark.parametrize(
    ("rule", "ended"), [("allow", ("complete", "approved")), ("deny", ("error", "denied"))]
)
async def test_a_policy_answers(tmp_path: Path, rule: str, ended: tuple[str, str]) -> None:
    async with serving(tmp_path, approve=rule) as chat:
        events = await chat.send("s", "[[ask]] please")
        assert states(events)[-1] == ended
        assert ("pending", "open") not in states(events)
        assert events[-2].data["content"] == "[[ask]] please"


async def test_a_stop_ends_the_question(chat: Client) -> None:
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "[[ask]]"))
        id = (await question(socket))["question"]["id"]
        assert await chat.stop("s")
        message = (await sending)[-2].data
    assert message["status"] == "stopped"
    assert message["parts"][0]["state"] == "error"
    asked = message["parts"][0]["question"]
    assert (asked["id"], asked["state"]) == (id, "expired")
    assert (await answer(chat, id, True))[1]["code"] == "question_answered"


async def test_an_always_approval_is_stored_with_the_session(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        events = await send_and_answer(chat, True, always=True)
        assert "session" not in kinds(events)
        assert (await chat.value("s"))["metadata"] == {}, "clients do not see permissions"
        exported = await chat.http.get("/sessions/s/export?format=sqlite")
        (tmp_path / "export.db").write_bytes(exported.content)
        database = apsw.Connection(str(tmp_path / "export.db"))
        assert database.execute("SELECT private FROM sessions").get == b"{}"
        database.close()
    async with serving(tmp_path) as chat:
        assert states(await chat.send("s", "[[ask]]"))[1] == ("pending", "approved")
        async with chat.socket("other") as socket:
            sending = asyncio.create_task(chat.send("other", "[[ask]]"))
            await question(socket)
            assert await chat.stop("other")
            await sending
        fork = (await chat.http.post("/sessions/s/fork")).json()["id"]
        async with chat.socket(fork) as socket:
            sending = asyncio.create_task(chat.send(fork, "[[ask]]"))
            await question(socket)
            assert await chat.stop(fork)
            await sending


async def test_a_client_cannot_grant_permissions_through_metadata(tmp_path: Path) -> None:
    forged = {"metadata": {"alwaysAllowed": ["echo"]}}
    async with serving(tmp_path) as chat:
        await chat.http.post("/sessions", json={"id": "made", **forged})
        await chat.http.post("/sessions", json={"id": "patched"})
        await chat.http.patch("/sessions/patched", json=forged)
        exported = {"session": {"id": "imported", **forged}, "messages": []}
        assert (await chat.http.post("/sessions/import", json=exported)).status_code == 201
        for session in ("made", "patched", "imported"):
            async with chat.socket(session) as socket:
                sending = asyncio.create_task(chat.send(session, "[[ask]]"))
                await question(socket)
                assert await chat.stop(session)
                await sending


async def test_a_question_expires_with_its_turn(tmp_path: Path) -> None:
    flags = ("--on-crash", "mark")
    async with process(tmp_path, *flags) as (server, chat), chat.socket("s") as socket:
        await socket.send('{"type":"send","content":"[[ask]] please"}')
        id = (await question(socket))["question"]["id"]
        server.kill()
    async with process(tmp_path, *flags) as (_, chat):
        message = (await chat.messages("s"))[-1]
        assert message["status"] == "interrupted"
        assert message["parts"][0]["state"] == "error"
        asked = message["parts"][0]["question"]
        assert (asked["id"], asked["state"]) == (id, "expired")
        assert (await answer(chat, id, True))[0] == 409
        assert (await chat.send("s", "go on"))[-2].data["status"] == "complete"


async def test_an_agent_can_ask_several_questions_at_once(tmp_path: Path) -> None:
    async def asks(turn: Turn) -> AsyncGenerator[str, None]:
        calls = [ToolCallPart(f"c{i}", "delete", {"n": i}, "pending") for i in range(3)]
        calls.append(ToolCallPart("c0", "delete", {"n": 0}, "pending"))
        decisions = await asyncio.gather(*(turn.ask(call) for call in calls))
        yield " ".join(f"{decision.state}:{decision.message}" for decision in decisions)

    async with serving(tmp_path, agent=asks) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "go"))
        ids: list[str] = []
        while len(ids) < 3:
            part = await question(socket)
            if part["question"]["id"] not in ids:
                ids.append(part["question"]["id"])
                n = part["toolInput"]["n"]
                await answer(chat, ids[-1], n != 1, message=f"{n}{len(ids)}")
        said = (await sending)[-2].data["content"]
        # Asked twice about one call, the agent waits on one question.
        assert said == "approved:01 denied:12 approved:23 approved:01"


async def test_a_question_stays_with_its_tool_call_when_the_call_is_yielded_again(
    tmp_path: Path,
) -> None:

    async def works(turn: Turn) -> AsyncGenerator[Any, None]:
        yield ToolCallPart("1", "t", {}, "pending")
        asking = asyncio.create_task(turn.ask(ToolCallPart("1", "t", {}, "running")))
        await asyncio.sleep(0)
        yield ToolCallPart("1", "t", {"late": 1}, "running")
        await asking
        yield ToolCallPart("1", "t", {"late": 1}, "complete", tool_output="done")

    async with serving(tmp_path, agent=works) as chat:
        events = await send_and_answer(chat, True)
    assert states(events)[1:] == [
        ("running", "open"),
        ("running", "open"),
        ("running", "approved"),
        ("complete", "approved"),
    ]
    assert events[-2].data["parts"][0]["toolInput"] == {"late": 1}
