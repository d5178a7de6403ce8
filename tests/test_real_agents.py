"""Real OpenCode, over HTTP and as an ACP agent, and real Gemini CLI, each behind `sessile serve`.

Only the model is a fake. One server for each agent is shared by most tests, each with its own
session. Tests that end a process have their own server.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from tests import real
from tests.fake_models import FakeModels
from tests.serving import Client, Event, Process, client_of, frames, kinds, text
from tests.test_approvals import question

pytestmark = pytest.mark.timeout(120)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Kind(NamedTuple):
    """A kind of agent: its flags, its environment, and the names of its tools."""

    flags: tuple[str, ...]
    environment: Callable[[Path, str], dict[str, str]]
    shell: str = "bash"
    read: str = "read"
    path: str = "filePath"

    def run(self, command: str) -> str:
        """The directive for a tool call that runs a command."""
        given = {"command": command, "description": "d"}
        return f"[[tool:{self.shell}:{json.dumps(given)}]]"


KINDS = {
    "opencode": Kind(
        ("--agent", "opencode", "--opencode-command", str(real.OPENCODE)),
        real.opencode_environment,
    ),
    "acp-opencode": Kind(("--agent", f"acp:{real.OPENCODE} acp"), real.opencode_environment),
    "acp-gemini": Kind(
        ("--agent", f"acp:{real.GEMINI}"),
        real.gemini_environment,
        "run_shell_command",
        "read_file",
        "file_path",
    ),
}


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@contextmanager
def start_server(kind: Kind, folder: Path, models: FakeModels, *flags: str) -> Iterator[Process]:
    home, work = folder / "home", folder / "work"
    home.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    environment = kind.environment(home, models.state.url)
    flags = (*kind.flags, "--directory", str(work), *flags)
    with Process(folder, *flags, **environment) as process:
        yield process


@pytest.fixture(scope="module")
def server(
    kind: Kind, models: FakeModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """The server that most tests share."""
    with start_server(kind, tmp_path_factory.mktemp("shared"), models) as process:
        yield process


@pytest.fixture
async def chat(server: Process) -> AsyncGenerator[Client, None]:
    async with client_of(server) as client:
        yield client


@pytest.fixture
def s(request: pytest.FixtureRequest) -> str:
    """The session of a test."""
    return "".join(c if c.isalnum() or c in "-_" else "." for c in request.node.name)[:128]


def tool_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in message["parts"] if part["type"] == "tool-call"]


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
        path = f"/chat/{s}/approvals/{part['approval']['id']}"
        response = await chat.http.post(path, json={"approve": approve, **more})
        assert response.status_code == 200, response.text
        return await sending


def find_processes(pattern: str) -> list[int]:
    """The processes with this pattern in their command line."""
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def unique_seconds() -> int:
    """A time for ``sleep`` that identifies the command among the processes of this machine."""
    return random.randrange(100_000, 10**9)


async def is_gone(pattern: str) -> bool:
    async with asyncio.timeout(10):
        while find_processes(pattern):
            await asyncio.sleep(0.02)
    return True


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


def last_request(models: FakeModels, said: str) -> dict[str, Any]:
    """The newest request whose last message contains this text."""
    body: dict[str, Any]
    for body in reversed(models.requests):
        last = (body.get("messages") or body.get("contents") or [{}])[-1]
        if said in json.dumps(last):
            return body
    raise AssertionError(f"the model was never shown {said}")


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
    assert call["approval"]["state"] == ("approved" if approve else "denied")
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
            f"/chat/{s}/approvals/{part['approval']['id']}", json={"approve": True}
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
    assert (call["state"], call["approval"]["state"]) == ("error", "expired")
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
async def test_a_provider_that_refuses(chat: Client, s: str, status: int) -> None:
    events = await chat.send(s, f"[[http:{status}]]")
    assert kinds(events)[-3:] == ["assistant", "error", "done"]
    assert events[-3].data["status"] == "error"
    assert "the key is wrong" in events[-2].data["error"]
    assert (await chat.send(s, "and on"))[-2].data["content"] == "Echo: and on"


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


def agents_of(server: Process) -> list[int]:
    """The process of the agent, not of the keeper that runs it."""
    keepers = [pid for pid in children(server.pid) if "keeper.py" in command_line(pid)]
    return [pid for keeper in keepers for pid in children(keeper)]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_an_agent_that_is_killed_during_a_turn_is_started_again(
    kind: Kind, models: FakeModels, tmp_path: Path
) -> None:
    with start_server(kind, tmp_path, models) as server:
        async with client_of(server) as chat:
            await chat.send("s", "before all that")
            async with chat.socket("s") as socket:
                sending = asyncio.create_task(chat.send("s", "[[endless]]"))
                await frames(socket, until="delta")
            (agent,) = agents_of(server)
            os.kill(agent, signal.SIGKILL)
            events = await sending
            assert kinds(events)[-3:] == ["assistant", "error", "done"]
            assert events[-3].data["content"].startswith("Echo: ")
            assert "ended" in events[-2].data["error"]
            assert (await chat.send("s", "after it"))[-2].data["content"] == "Echo: after it"
            assert "before all that" in json.dumps(last_request(models, "after it"))
        assert server.terminate() == 0
    assert not find_processes(str(tmp_path))


async def test_a_server_killed_during_a_turn_leaves_no_agent_and_continues_later(
    kind: Kind, models: FakeModels, tmp_path: Path
) -> None:
    seconds = unique_seconds()
    with start_server(kind, tmp_path, models, "--approve", "allow") as server:
        async with client_of(server) as chat, chat.socket("s") as socket:
            await chat.send("s", "before all that")
            await socket.send(
                json.dumps({"type": "send", "content": kind.run(f"echo ask; sleep {seconds}")})
            )
            async with asyncio.timeout(20):
                while not find_processes(f"^sleep {seconds}$"):
                    await asyncio.sleep(0.02)
            (agent,) = agents_of(server)
            server.kill()
        assert await is_gone(f"^sleep {seconds}$")
        async with asyncio.timeout(10):
            while alive(agent):
                await asyncio.sleep(0.02)
    with start_server(kind, tmp_path, models, "--approve", "allow") as server:
        async with client_of(server) as chat:
            message = (await chat.messages("s"))[-1]
            assert message["status"] == "interrupted"
            assert [call["state"] for call in tool_calls(message)] == ["error"]
            assert (await chat.send("s", "after it"))[-2].data["content"] == "Echo: after it"
            assert "before all that" in json.dumps(last_request(models, "after it"))


def stored_conversations(path: Path) -> dict[str, Any]:
    """What the server has stored about the agent's own conversation in the only session."""
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found: dict[str, Any] = json.loads(database.execute("SELECT private FROM sessions").get)
    database.close()
    return found


async def test_the_agents_own_conversation_continues_after_a_restart(
    kind: Kind, models: FakeModels, tmp_path: Path
) -> None:
    kept: list[str] = []
    for word in ("before the restart", "after the restart"):
        with start_server(kind, tmp_path, models) as server:
            async with client_of(server) as chat:
                assert (await chat.send("s", word))[-2].data["content"] == f"Echo: {word}"
                assert (await chat.value("s"))["metadata"] == {}, "clients do not see it"
            assert server.terminate() == 0
        (own,) = stored_conversations(tmp_path / "sessile.db").values()
        kept.append(own["id"])
    shown = json.dumps(last_request(models, "after the restart"))
    assert "before the restart" in shown
    if "gemini" not in kind.flags[1]:
        # Gemini CLI can load its sessions only after a minute; until then it is sent the history.
        assert kept[0] == kept[1]
        assert "<conversation>" not in shown, "the agent has the history itself"


@pytest.mark.parametrize(
    ("flags", "state"),
    [(("--approve-timeout", "0.3"), "expired"), (("--approve", "deny"), "denied")],
    ids=["timeout", "policy"],
)
async def test_a_timeout_or_a_policy_answers_when_no_person_does(
    kind: Kind, models: FakeModels, tmp_path: Path, flags: tuple[str, str], state: str
) -> None:
    mark = tmp_path / "work" / "mark.ask"
    with start_server(kind, tmp_path, models, *flags) as server:
        async with client_of(server) as chat:
            (call,) = tool_calls((await chat.send("s", kind.run(f"touch {mark}")))[-2].data)
            assert (call["state"], call["approval"]["state"]) == ("error", state)
            assert not mark.exists()
            assert (await chat.send("s", "and on"))[-2].data["content"] == "Echo: and on"
