"""Agents that continue: a deploy or a crash ends no answer, and no finished tool runs twice."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import sessile
from sessile import ToolCallPart, Turn
from sessile.agents.base import Output
from tests.restarting import ENDINGS, through_restarts
from tests.serving import Client, Process, frames, kinds, process, serving

WORDS = " ".join(f"word{number}" for number in range(60))

WORKER = '''
"""Six tool calls, each with ten words after it; each tool writes a line into a file outside."""

import asyncio
from pathlib import Path

import sessile
from sessile import ToolCallPart

FILE = Path("ran.txt")


@sessile.agent(continues=True)
async def reply(turn):
    words, former = turn.content.split(), turn.unfinished
    said = len(former.text.split()) if former else 0
    for number in range(6):
        known = former and former.call(f"call{number}")
        if known is None or known.is_open:
            # Nobody knows whether an open call ran; the file does.
            call = ToolCallPart(f"call{number}", "write", {"number": number}, "running")
            yield call
            await asyncio.sleep(0.01)
            if not (FILE.exists() and f"call{number}\\n" in FILE.read_text()):
                with FILE.open("a") as file:
                    file.write(f"call{number}\\n")
            await asyncio.sleep(0.01)
            yield ToolCallPart(call.tool_call_id, "write", call.tool_input, "complete", tool_output="done")
        for index in range(10 * number, 10 * number + 10):
            if index >= said:
                await asyncio.sleep(0.01)
                yield words[index] + " "
    turn.metadata["usage"] = {"inputTokens": 1}
'''


@pytest.mark.parametrize("end", ENDINGS)
async def test_a_function_continues_over_many_restarts(tmp_path: Path, end: str) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    seen = await through_restarts(
        tmp_path,
        "--agent",
        "worker:reply",
        content=WORDS,
        end=ENDINGS[end],
        every=[2, 3, 9, 14, 6, 20, 3],
        PYTHONPATH=str(tmp_path),
    )
    assert seen.restarts == 7
    assert (seen.answer["status"], seen.answer["content"]) == ("complete", WORDS + " ")
    calls = [part for part in seen.answer["parts"] if part["type"] == "tool-call"]
    assert [call["toolCallId"] for call in calls] == [f"call{number}" for number in range(6)]
    assert {call["state"] for call in calls} == {"complete"}
    assert (tmp_path / "ran.txt").read_text().split() == [f"call{number}" for number in range(6)]
    assert seen.answer["metadata"]["usage"] == {"inputTokens": 1}
    statuses = [event.data for event in seen.events if event.data["type"] == "status"]
    continued = [status.get("continued", False) for status in statuses]
    assert continued == [False] + [True] * (len(statuses) - 1)
    assert len(statuses) > 4, "the client may be behind the server, but not far"
    question = statuses[0]["messageId"]
    assert {(status["messageId"], status["status"]) for status in statuses} == {
        (question, "running")
    }


@pytest.mark.parametrize("end", ENDINGS)
async def test_echo_says_the_remaining_words(tmp_path: Path, end: str) -> None:
    content = f"[[tool]] {WORDS}"
    seen = await through_restarts(
        tmp_path, "--echo-delay", "0.02", content=content, end=ENDINGS[end], every=[4, 3, 15, 25]
    )
    call, text = seen.answer["parts"]
    assert (seen.answer["status"], text["content"]) == ("complete", content)
    assert (call["state"], call["toolOutput"]) == ("complete", content)
    states = [event.data["part"]["state"] for event in seen.events if event.event == "part"]
    assert states[0] == "pending"
    assert states.index("complete") == len(states) - 1, "the finished tool did not run again"


async def test_queued_messages_are_answered_after_the_continued_one(tmp_path: Path) -> None:
    async with process(tmp_path, "--echo-delay", "0.02") as (server, chat):
        for content in (WORDS, "later"):
            await chat.http.post(
                "/chat/s", json={"content": content}, headers={"prefer": "respond-async"}
            )
        await chat.follow("s", after=0, count=9)
        server.kill()
    async with process(tmp_path) as (_, chat):
        async with chat.socket("s", "?after=0") as socket:
            await frames(socket)
            await frames(socket)
        found = await chat.messages("s")
    assert [(m["content"], m["status"]) for m in found] == [
        (WORDS, "complete"),
        (WORDS, "complete"),
        ("later", "complete"),
        ("later", "complete"),
    ]


async def test_a_stopped_turn_is_not_continued(tmp_path: Path) -> None:
    async with process(tmp_path, "--echo-delay", "0.05") as (_, chat):
        await chat.http.post(
            "/chat/s", json={"content": WORDS}, headers={"prefer": "respond-async"}
        )
        await chat.follow("s", after=0, count=5)
        assert await chat.stop("s")
    async with process(tmp_path) as (_, chat):
        assert (await chat.messages("s"))[1]["status"] == "stopped"


async def test_a_turn_that_ends_the_server_each_time_is_not_continued_for_ever(
    tmp_path: Path,
) -> None:
    (tmp_path / "deadly.py").write_text(
        "import asyncio, os, sessile\n"
        "@sessile.agent(continues=True)\n"
        "async def reply(turn):\n"
        "    if turn.unfinished is None:\n"
        "        yield 'this much '\n"
        "        await asyncio.sleep(0.2)\n"
        "    open('lives', 'a').write('x')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    flags = ("--agent", "deadly:reply")
    path = {"PYTHONPATH": str(tmp_path)}
    with Process(tmp_path, *flags, **path) as server:
        client = Client(server.url)
        async with client.http:
            with pytest.raises(Exception):  # noqa: B017, PT011  (the server dies at once)
                await client.send("s", "go")
    for _ in range(20):
        try:
            async with process(tmp_path, *flags, **path) as (_, chat):
                answer = (await chat.messages("s"))[1]
                if answer["status"] != "streaming":
                    break
        except (RuntimeError, OSError, ValueError):
            continue
        except Exception as error:  # it died while it was asked
            assert type(error).__module__.startswith("httpx2")  # noqa: PT017
    assert answer["status"] == "interrupted"
    assert answer["content"] == "this much "
    assert answer["metadata"]["error"]["code"] == "continued_too_often"
    assert len((tmp_path / "lives").read_text()) == 6, "once, and five times again"


async def test_an_agent_of_another_kind_does_not_continue(tmp_path: Path) -> None:
    async with process(tmp_path, "--echo-delay", "0.05") as (server, chat):
        await chat.http.post(
            "/chat/s", json={"content": WORDS}, headers={"prefer": "respond-async"}
        )
        await chat.follow("s", after=0, count=5)
        server.kill()
    (tmp_path / "worker.py").write_text(WORKER)
    flags = ("--agent", "worker:reply")
    async with process(tmp_path, *flags, PYTHONPATH=str(tmp_path)) as (_, chat):
        assert (await chat.messages("s"))[1]["status"] == "interrupted"


async def test_sigterm_gives_a_turn_time_to_end(tmp_path: Path) -> None:
    async with process(tmp_path, "--echo-delay", "0.05") as (server, chat):
        sending = asyncio.create_task(chat.send("s", "a few words only"))
        await chat.follow("s", after=0, count=3)
        assert await asyncio.to_thread(server.terminate) == 0
        assert kinds(await sending)[-1] == "done"
        assert (await sending)[-2].data["status"] == "complete"


async def test_sigterm_leaves_what_goes_on_later(tmp_path: Path) -> None:
    flags = ("--echo-delay", "0.05", "--drain-timeout", "0.1")
    async with process(tmp_path, *flags) as (server, chat):
        sending = asyncio.create_task(chat.send("s", WORDS))
        await chat.follow("s", after=0, count=5)
        assert await asyncio.to_thread(server.terminate) == 0
        ended = await sending
    assert [event.data["type"] for event in ended[-2:]] == ["error", "done"]
    assert ended[-2].data["code"] == "shutting_down"
    async with process(tmp_path) as (_, chat):
        last = ended[-3].id
        async with chat.socket("s", f"?after={last}") as socket:
            seen = await frames(socket)
    assert seen[1]["seq"] == (last or 0) + 1
    assert (seen[-1]["message"]["status"], seen[-1]["message"]["content"]) == ("complete", WORDS)


# The agent's own record ----------------------------------------------------------------------


@sessile.agent(continues=True)
async def keeper(turn: Turn) -> AsyncGenerator[Output, None]:
    """Says what it kept with its former answers, and keeps the question."""
    history = await turn.history()
    records = [message.record for message in history if message.role == "assistant"]
    yield json.dumps([record and record["secret"][::-1] for record in records])
    await turn.keep({"secret": turn.content[::-1]})


async def test_what_an_agent_keeps_comes_back_in_later_turns_and_no_client_sees_it(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, agent=keeper) as chat:
        await chat.send("s", "one")
        await chat.send("s", "two")
        said = (await chat.send("s", "three"))[-2].data["content"]
        assert json.loads(said) == ["one", "two"]
        for path in ("/chat/s/messages", "/sessions/s/export", "/chat/s/events?after=0"):
            async with chat.http.stream("GET", path) as response:
                async for chunk in response.aiter_raw():
                    assert b"secret" not in chunk
                    if "events" in path:
                        break
        sqlite = (await chat.http.get("/sessions/s/export?format=sqlite")).content
        assert b"secret" not in sqlite
        fork = (await chat.http.post("/sessions/s/fork")).json()["id"]
        said = (await chat.send(fork, "four"))[-2].data["content"]
        assert json.loads(said) == [None, None, None]
    async with serving(tmp_path, agent=keeper) as chat:
        said = (await chat.send("s", "five"))[-2].data["content"]
        assert json.loads(said) == ["one", "two", "three"]


@pytest.mark.parametrize("change", ["edit the question", "edit the answer", "delete"])
async def test_a_record_is_dropped_when_a_change_makes_it_untrue(
    tmp_path: Path, change: str
) -> None:
    async with serving(tmp_path, agent=keeper) as chat:
        for content in ("one", "two", "three"):
            await chat.send("s", content)
        found = await chat.messages("s")
        if change == "delete":
            await chat.http.delete(f"/sessions/s/messages/{found[2]['id']}")
        else:
            at = found[2] if "question" in change else found[3]
            body = {"parts": [{"type": "text", "content": "other"}]}
            response = await chat.http.patch(f"/sessions/s/messages/{at['id']}", json=body)
            assert response.status_code == 200
        said = (await chat.send("s", "four"))[-2].data["content"]
        assert json.loads(said) == ["one", None, None]


async def test_metadata_alone_leaves_records_as_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path, agent=keeper) as chat:
        await chat.send("s", "one")
        answer = (await chat.messages("s"))[1]
        body = {"metadata": {"liked": True}}
        await chat.http.patch(f"/sessions/s/messages/{answer['id']}", json=body)
        said = (await chat.send("s", "two"))[-2].data["content"]
        assert json.loads(said) == ["one"]


async def test_a_record_and_metadata_survive_a_crash(tmp_path: Path) -> None:
    (tmp_path / "keeps.py").write_text(
        "import asyncio, json, sessile\n"
        "@sessile.agent(continues=True)\n"
        "async def reply(turn):\n"
        "    former = turn.unfinished\n"
        "    if former is None:\n"
        "        turn.metadata['calls'] = 1\n"
        "        yield 'kept '\n"
        "        await turn.keep({'step': 1, 'big': 12345678901234567890})\n"
        "        yield 'then '\n"
        "        await asyncio.sleep(60)\n"
        "    turn.begin_part()\n"
        "    yield json.dumps([former.text, former.record])\n"
    )
    flags, path = ("--agent", "keeps:reply"), {"PYTHONPATH": str(tmp_path)}
    async with process(tmp_path, *flags, **path) as (server, chat):
        await chat.http.post("/chat/s", json={"content": "x"}, headers={"prefer": "respond-async"})
        await chat.follow("s", after=0, count=4)
        server.kill()
    async with process(tmp_path, *flags, **path) as (_, chat):
        async with chat.socket("s", "?after=0") as socket:
            await frames(socket)
        answer = (await chat.messages("s"))[1]
    first, second = answer["parts"]
    assert first["content"] == "kept then "
    record: Any = {"step": 1, "big": 12345678901234567890}
    assert json.loads(second["content"]) == ["kept then ", record]
    assert answer["metadata"] == {"calls": 1}


async def test_a_finished_call_that_is_yielded_again_stays_as_it_is(tmp_path: Path) -> None:
    """An agent that simply begins from scratch does not take back what was shown."""
    calls: list[str] = []

    @sessile.agent(continues=True)
    async def naive(turn: Turn) -> AsyncGenerator[Output, None]:
        call = ToolCallPart("1", "write", {"a": (1, 2)}, "pending")
        yield call
        yield ToolCallPart("1", "write", {"a": (1, 2)}, "complete", tool_output="once")
        decision = await turn.ask(ToolCallPart("2", "pay", {}, "pending"))
        calls.append(decision.state)
        yield f"paid: {decision.state}"

    async with serving(tmp_path, agent=naive, park_after=0.0) as chat:
        sending = asyncio.create_task(chat.send("s", "go"))
        while (await chat.value("s")).get("status") != "waiting":
            await asyncio.sleep(0.01)
        question = (await chat.http.get("/chat/s/questions")).json()[0]["id"]
        await asyncio.sleep(0.05)
        path = f"/chat/s/questions/{question}"
        assert (await chat.http.post(path, json={"approve": True})).status_code == 200
        events = await sending
    states = [
        (event.data["part"]["toolCallId"], event.data["part"]["state"])
        for event in events
        if event.data["type"] == "part"
    ]
    assert states[:2] == [("1", "pending"), ("1", "complete")]
    assert ("1", "pending") not in states[2:]
    assert events[-2].data["content"] == "paid: approved"
    assert calls == ["approved"]
