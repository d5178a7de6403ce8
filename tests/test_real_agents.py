"""Real OpenCode, over HTTP and as an ACP agent, and real Gemini CLI, each behind `sessile serve`.

Only the model is a fake. One server for each agent is shared by most tests, each with its own
session.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

from tests.asking import question
from tests.fake_models import FakeModels
from tests.kinds import (
    Kind,
    find_processes,
    is_gone,
    last_request,
    start_server,
    tool_calls,
    unique_seconds,
)
from tests.serving import Client, Event, Process, client_of, frames, kinds, text
from tests.test_secrets import SECRETS

pytestmark = pytest.mark.timeout(120)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def server(
    kind: Kind, models: FakeModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """The server that most tests share."""
    folder = tmp_path_factory.mktemp("shared")
    with start_server(kind, folder, models, **SECRETS, ANTHROPIC_API_KEY="key-1") as process:
        yield process


@pytest.fixture
async def chat(server: Process) -> AsyncGenerator[Client, None]:
    async with client_of(server) as client:
        yield client


@pytest.fixture
def s(request: pytest.FixtureRequest) -> str:
    """The session of a test."""
    return "".join(c if c.isalnum() or c in "-_" else "." for c in request.node.name)[:128]


def tool_states(events: list[Event]) -> list[str]:
    """The successive states of the tool calls, without repeats."""
    found: list[str] = []
    for event in events:
        part = event.data.get("part")
        if isinstance(part, dict) and part["type"] == "tool-call" and found[-1:] != [part["state"]]:
            found.append(part["state"])
    return found


async def ask(chat: Client, s: str, content: str, approve: bool, **more: Any) -> list[Event]:
    """Send a message, answer its questions, and return the stream."""
    async with chat.socket(s) as socket:
        sending = asyncio.create_task(chat.send(s, content))
        part = await question(socket)
        path = f"/chat/{s}/questions/{part['question']['id']}"
        response = await chat.http.post(path, json={"approve": approve, **more})
        assert response.status_code == 200, response.text
        return await sending


async def test_text_is_streamed_and_the_conversation_continues(
    chat: Client, models: FakeModels, kind: Kind, s: str
) -> None:
    events = await chat.send(s, "one two")
    message = events[-2].data
    assert (message["status"], message["content"]) == ("complete", "Echo: one two")
    assert text(events) == message["content"]
    assert kinds(events).count("delta") >= 2
    assert (await chat.send(s, "three"))[-2].data["content"] == "Echo: three"
    shown = json.dumps(last_request(models, "three"))
    assert shown.index("one two") < shown.index("Echo: one two") < shown.index("three")
    assert shown.count("one two") == 2, "sent once, answered once"


async def test_thoughts_are_reasoning(chat: Client, s: str) -> None:
    message = (await chat.send(s, "[[think:let me see]] so"))[-2].data
    assert [part["type"] for part in message["parts"]] == ["reasoning", "text"]
    # Gemini CLI turns the start of a thought into a headline.
    assert message["parts"][0]["content"].replace("*", "").split() == ["let", "me", "see"]


async def test_a_tool_shows_its_states_its_input_and_its_output(
    chat: Client, kind: Kind, s: str
) -> None:
    command = "echo ask; for i in 1 2 3; do echo line$i; sleep 0.4; done"
    events = await ask(chat, s, kind.run(command), True)
    message = events[-2].data
    (call,) = tool_calls(message)
    assert call["state"] == "complete"
    assert "line1\nline2\nline3" in call["toolOutput"]
    assert command in json.dumps(call["toolInput"])
    assert tool_states(events)[0] == "pending"
    assert tool_states(events)[-1] == "complete"
    assert message["status"] == "complete"
    assert message["content"].startswith("Tool said: ")
    if kind.shell == "bash":
        assert tool_states(events) == ["pending", "running", "complete"]
        live = {
            event.data["part"].get("toolOutput")
            for event in events
            if event.data["type"] == "part" and event.data["part"]["state"] == "running"
        }
        assert {"ask\nline1\n", "ask\nline1\nline2\n"} <= live
        usage = message["metadata"]["usage"]
        assert (usage["inputTokens"] > 0, usage["outputTokens"] > 0) == (True, True)
        assert message["metadata"]["cost"] > 0


async def test_a_tool_that_fails(chat: Client, kind: Kind, s: str) -> None:
    read = f'[[tool:{kind.read}:{{"{kind.path}":"nowhere.txt"}}]]'
    message = (await chat.send(s, read))[-2].data
    (call,) = tool_calls(message)
    assert call["state"] == "error"
    assert "not found" in call["error"].lower()
    assert message["status"] == "complete"


async def test_tools_side_by_side(chat: Client, kind: Kind, s: str) -> None:
    message = (await chat.send(s, kind.run("echo first") + kind.run("echo second")))[-2].data
    calls = tool_calls(message)
    assert [call["state"] for call in calls] == ["complete", "complete"]
    assert ["first" in calls[0]["toolOutput"], "second" in calls[1]["toolOutput"]] == [True, True]
    assert calls[0]["toolCallId"] != calls[1]["toolCallId"]


@pytest.mark.parametrize("approve", [True, False])
async def test_approval_is_asked_and_given_or_denied(
    chat: Client, kind: Kind, s: str, approve: bool, server: Process
) -> None:
    mark = server.folder / "work" / f"{s}.ask"
    events = await ask(chat, s, kind.run(f"touch {mark}"), approve)
    (call,) = tool_calls(events[-2].data)
    assert call["question"]["state"] == ("approved" if approve else "denied")
    assert call["state"] == ("complete" if approve else "error")
    assert mark.exists() == approve
    assert events[-2].data["status"] in ("complete", "error")
    assert (await chat.send(s, "and on"))[-2].data["content"] == "Echo: and on"


async def test_a_stop_during_text(chat: Client, models: FakeModels, s: str) -> None:
    async with chat.socket(s) as socket:
        sending = asyncio.create_task(chat.send(s, "[[endless]]"))
        await frames(socket, until="delta")
        models.left.clear()
        assert await chat.stop(s)
        message = (await sending)[-2].data
    assert message["status"] == "stopped"
    assert await asyncio.to_thread(models.left.wait, 10), "the request to the model has ended"
    assert (await chat.send(s, "and on"))[-2].data["content"] == "Echo: and on"


async def test_a_stop_during_a_tool_call(chat: Client, kind: Kind, s: str) -> None:
    seconds = unique_seconds()
    async with chat.socket(s) as socket:
        sending = asyncio.create_task(chat.send(s, kind.run(f"echo ask; sleep {seconds}")))
        part = await question(socket)
        await chat.http.post(
            f"/chat/{s}/questions/{part['question']['id']}", json={"approve": True}
        )
        async with asyncio.timeout(20):
            while not find_processes(f"^sleep {seconds}$"):
                await asyncio.sleep(0.02)
        assert await chat.stop(s)
        message = (await sending)[-2].data
    assert message["status"] == "stopped"
    assert [call["state"] for call in tool_calls(message)] == ["error"]
    assert await is_gone(f"^sleep {seconds}$")
    assert (await chat.send(s, "and on"))[-2].data["content"] == "Echo: and on"


async def test_a_stop_while_a_question_is_open(
    chat: Client, kind: Kind, s: str, server: Process
) -> None:
    mark = server.folder / "work" / f"{s}.ask"
    async with chat.socket(s) as socket:
        sending = asyncio.create_task(chat.send(s, kind.run(f"touch {mark}")))
        await question(socket)
        assert await chat.stop(s)
        (call,) = tool_calls((await sending)[-2].data)
    assert (call["state"], call["question"]["state"]) == ("error", "expired")
    events = await ask(chat, s, kind.run(f"touch {mark}.2"), True)
    assert [call["state"] for call in tool_calls(events[-2].data)] == ["complete"]
    assert [path.name for path in mark.parent.glob(f"{s}*")] == [f"{s}.ask.2"]


async def test_deleting_a_session_during_a_turn_stops_its_agent(
    chat: Client, models: FakeModels, s: str
) -> None:
    async with chat.socket(s) as socket:
        sending = asyncio.create_task(chat.send(s, "[[endless]]"))
        await frames(socket, until="delta")
        models.left.clear()
        assert (await chat.http.delete(f"/sessions/{s}")).status_code == 204
        await sending
    assert await asyncio.to_thread(models.left.wait, 10)
    assert (await chat.send(s, "again"))[-2].data["content"] == "Echo: again"


async def test_long_output_is_shown_at_intervals_and_whole_at_the_end(
    chat: Client, kind: Kind, s: str
) -> None:
    command = "echo ask; seq 1 600 | while read i; do echo line $i; sleep 0.002; done"
    events = await ask(chat, s, kind.run(command), True)
    (call,) = tool_calls(events[-2].data)
    assert "line 600" in call["toolOutput"]
    assert [event.data["type"] for event in events].count("part") < 40


@pytest.mark.parametrize("status", [401, 500])
async def test_a_provider_that_refuses(chat: Client, server: Process, s: str, status: int) -> None:
    events = await chat.send(s, f"[[http:{status}]]")
    assert kinds(events)[-3:] == ["assistant", "error", "done"]
    assert events[-3].data["status"] == "error"
    known = {401: "refused the API key", 500: "provider failed"}
    expected = known[status] if "acp-opencode" not in s else "provider answered with an error"
    assert expected in events[-2].data["error"]
    assert (await chat.send(s, "and on"))[-2].data["content"] == "Echo: and on"
    shown = str(events) + str(await chat.messages(s))
    for detail in ("sk-", "10.0.0.7"):
        assert detail not in shown
    log = (server.folder / "stderr.log").read_text()
    assert "10.0.0.7" in log
    assert "sk-abc" not in log


async def test_two_sessions_at_once_do_not_mix(chat: Client, kind: Kind, s: str) -> None:
    async def one(name: str) -> None:
        for n in range(3):
            events = await chat.send(f"{s}.{name}", kind.run(f"echo {name}{n}"))
            (call,) = tool_calls(events[-2].data)
            assert f"{name}{n}" in call["toolOutput"]
            assert f"{name}{n}" in text(events)
            answer = events[-2].data["id"]
            said = [event.data for event in events[2:-1]]  # after the ack and the start of the turn
            assert {event.get("messageId", answer) for event in said} == {answer}

    await asyncio.gather(one("left"), one("right"))


async def test_an_edited_history_is_sent_again(chat: Client, models: FakeModels, s: str) -> None:
    await chat.send(s, "the first thing", id=f"{s}.1")
    await chat.send(s, "a mistake", id=f"{s}.2")
    await chat.send(s, "a correction", replaces=f"{s}.2")
    shown = json.dumps(last_request(models, "a correction"))
    assert "the first thing" in shown
    assert "a mistake" not in shown
    fork = (await chat.http.post(f"/sessions/{s}/fork", json={"id": f"{s}.fork"})).json()
    await chat.send(fork["id"], "in the fork")
    assert "a correction" in json.dumps(last_request(models, "in the fork"))
    await chat.send(s, "in the original")
    assert "in the fork" not in json.dumps(last_request(models, "in the original"))


async def test_a_session_has_a_folder_of_its_own(
    chat: Client, kind: Kind, s: str, server: Process
) -> None:
    folder = server.folder / "work" / s
    folder.mkdir()
    await chat.http.post("/sessions", json={"id": s, "metadata": {"directory": s}})
    (call,) = tool_calls((await chat.send(s, kind.run("pwd")))[-2].data)
    assert str(folder) in call["toolOutput"]
    for wrong in ("..", "/", "nowhere", 5):
        await chat.http.patch(f"/sessions/{s}", json={"metadata": {"directory": wrong}})
        events = await chat.send(s, "hello")
        assert events[-3].data["status"] == "error"
        assert "folder" in events[-2].data["error"] or "directory" in events[-2].data["error"]


async def test_an_image_reaches_the_model(chat: Client, models: FakeModels, s: str) -> None:
    parts = [
        {"type": "text", "content": "what is this picture"},
        {"type": "file", "mediaType": "image/png", "url": f"data:image/png;base64,{PIXEL}"},
    ]
    await chat.stream("POST", f"/chat/{s}", json={"parts": parts})
    assert PIXEL[:60] in json.dumps(last_request(models, "what is this picture"))


async def test_a_client_cannot_attach_a_file_of_the_servers_machine(
    chat: Client, models: FakeModels, s: str, server: Process
) -> None:
    secret = server.folder / "secret.txt"
    secret.write_text("the password is swordfish")
    parts = [
        {"type": "text", "content": "read this for me"},
        {"type": "file", "mediaType": "text/plain", "url": f"file://{secret}"},
    ]
    await chat.stream("POST", f"/chat/{s}", json={"parts": parts})
    assert "swordfish" not in json.dumps(models.requests[-3:])


# Ends -------------------------------------------------------------------------------------------


async def test_a_real_agents_shell_tool_finds_no_secret_in_its_environment(
    chat: Client, kind: Kind, s: str
) -> None:
    events = await ask(chat, s, kind.run("env; echo ask seen"), approve=True)
    output = tool_calls(events[-2].data)[0]["toolOutput"]
    assert "seen" in output
    assert "PATH=" in output
    assert "secret" not in output
