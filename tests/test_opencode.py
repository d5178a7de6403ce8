"""What only OpenCode over HTTP has: plans, questions, subagents, retries, a separate server."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sessile.agents.opencode import server as opencode_server
from sessile.agents.opencode.agent import OpenCodeAgent
from tests import real
from tests.asking import answer, question
from tests.fake_models import FakeModels
from tests.serving import Client, Process, frames, serving, work_in

pytestmark = pytest.mark.timeout(120)

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def opencode(models: FakeModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An OpenCode server that Sessile did not start; yields its address."""
    folder = tmp_path_factory.mktemp("opencode")
    environment = real.opencode_environment(folder, models.state.url)
    environment["OPENCODE_SERVER_PASSWORD"] = PASSWORD
    with subprocess.Popen(
        [real.OPENCODE, "serve", "--hostname", "127.0.0.1", "--port", "0"],
        cwd=folder,
        env=environment | {"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"listening on (http://\S+)", line):
                break
        yield found[1] if found else ""
        process.kill()


@pytest.fixture
async def chat(opencode: str, tmp_path: Path) -> AsyncGenerator[Client, None]:
    agent = OpenCodeAgent(opencode, password=PASSWORD, directory=work_in(tmp_path), patience=0.5)
    async with serving(tmp_path, agent=agent) as client:
        yield client


def tool(name: str, **given: Any) -> str:
    return f"[[tool:{name}:{json.dumps(given)}]]"


async def test_todo_lists_are_the_plan(chat: Client) -> None:
    todos = [{"content": "step one", "status": "in_progress", "priority": "high"}]
    message = (await chat.send("s", tool("todowrite", todos=todos)))[-2].data
    assert [p["data"] for p in message["parts"] if p["type"] == "data"] == [todos]


@pytest.mark.parametrize(
    ("approve", "said", "expected"),
    [(True, "blue\n", "blue"), (True, "", "red"), (False, "", "dismissed")],
)
async def test_its_questions_are_answered_by_people(
    chat: Client, approve: bool, said: str, expected: str
) -> None:
    options = [{"label": "red", "description": "r"}, {"label": "green", "description": "g"}]
    asks = tool(
        "question", questions=[{"question": "Which?", "header": "Colour", "options": options}]
    )
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", asks))
        part = await question(socket)
        assert part["toolName"] == "question"
        assert part["toolInput"]["questions"][0]["question"] == "Which?"
        assert (await answer(chat, part["question"]["id"], approve, message=said))[0] == 200
        message = (await sending)[-2].data
    (call,) = [part for part in message["parts"] if part["type"] == "tool-call"]
    assert call["state"] == ("complete" if approve else "error")
    assert expected in json.dumps(call)


async def test_a_question_of_a_subagent_is_asked_in_the_session(chat: Client) -> None:
    asks = tool("bash", command="echo ask", description="d")
    task = tool("task", description="Sub", prompt=asks, subagent_type="general")
    task = task.replace("]]", "\\u005d\\u005d", 1)  # escaped in JSON, because ]] ends the directive
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", task))
        part = await question(socket)
        assert part["toolInput"] == {"command": "echo ask"}
        await answer(chat, part["question"]["id"], True)
        message = (await sending)[-2].data
    assert message["status"] == "complete"
    assert "ask" in message["content"]


async def test_the_turn_fails_when_its_provider_stays_down(chat: Client) -> None:
    events = await chat.send("s", "[[down]]")
    message, error = events[-3].data, events[-2].data
    assert message["status"] == "error"
    assert "failed for too long" in error["error"]
    assert message["parts"][0]["name"] == "retry"
    assert message["parts"][0]["data"]["attempt"] >= 1
    assert "10.0.0.7" not in str(events)
    assert (await chat.send("s", "and on"))[-2].data["content"] == "Echo: and on"


async def stored_conversation(chat: Client) -> dict[str, Any]:
    """What the server has stored about OpenCode's own conversation."""
    assert chat.app is not None
    row = await chat.app.store.row("s")
    assert row is not None
    found: dict[str, Any] = row.private["opencode"]
    return found


async def test_a_question_answered_in_opencode_is_answered_here(
    chat: Client, opencode: str
) -> None:
    """As a user does who has the same OpenCode open in a terminal."""
    asks = tool("bash", command="echo ask", description="d")
    async with chat.socket("s") as socket, opencode_client(opencode) as other:
        sending = asyncio.create_task(chat.send("s", asks))
        await question(socket)
        directory = (await stored_conversation(chat))["directory"]
        asked = (await other.get("/permission", params={"directory": directory})).json()
        path = f"/permission/{asked[0]['id']}/reply"
        await other.post(path, params={"directory": directory}, json={"reply": "once"})
        message = (await sending)[-2].data
    (call, _) = message["parts"]
    assert (call["state"], call["toolOutput"]) == ("complete", "ask\n")
    assert call["question"]["state"] == "expired"


async def test_a_stop_in_opencode_ends_the_turn(chat: Client, opencode: str) -> None:
    async with chat.socket("s") as socket, opencode_client(opencode) as other:
        sending = asyncio.create_task(chat.send("s", "[[endless]]"))
        await frames(socket, until="delta")
        kept = await stored_conversation(chat)
        directory = {"directory": kept["directory"]}
        await other.post(f"/session/{kept['id']}/abort", params=directory)
        events = await sending
    assert events[-3].data["status"] == "error"
    assert events[-2].data["error"] == "The answer was stopped in OpenCode."
    assert (await chat.send("s", "and on"))[-2].data["content"] == "Echo: and on"


# Connections --------------------------------------------------------------------------------------


class Cable:
    """A proxy for TCP connections that can be cut and repaired."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._lines: set[asyncio.Task[None]] = set()
        self._cut = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str, None]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        self.cut()

    def cut(self) -> None:
        self._cut = True
        for line in self._lines:
            line.cancel()

    def repair(self) -> None:
        self._cut = False

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for line in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(*line))
            self._lines.add(task)
            task.add_done_callback(self._lines.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serve_over_cable(
    opencode: str, folder: Path
) -> AsyncGenerator[tuple[Cable, Client], None]:
    cable = Cable(opencode)
    async with cable.open() as url:
        agent = OpenCodeAgent(url, password=PASSWORD, directory=work_in(folder))
        async with serving(folder, agent=agent) as chat:
            yield cable, chat


async def test_a_cut_connection_loses_nothing_and_repeats_nothing(
    opencode: str, tmp_path: Path
) -> None:
    """The tool ends and the answer is written while the connection is cut."""
    go, done = work_in(tmp_path) / "go", work_in(tmp_path) / "done"
    waits = tool(
        "bash",
        command=f"echo started; until [ -e {go} ]; do sleep 0.05; done; touch {done}",
        description="d",
    )
    async with serve_over_cable(opencode, tmp_path) as (cable, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", waits))
        while (await frames(socket, until="part"))[-1]["part"].get("toolOutput") != "started\n":
            pass
        cable.cut()
        go.touch()
        while not done.exists():
            await asyncio.sleep(0.02)
        cable.repair()
        message = (await sending)[-2].data
        call, said = message["parts"]
        assert (call["state"], call["toolOutput"]) == ("complete", "started\n")
        assert said["content"] == "Tool said: started"
        assert message["status"] == "complete"
        assert (await chat.send("s", "and on"))[-2].data["content"] == "Echo: and on"


async def test_a_question_asked_while_disconnected_is_shown(opencode: str, tmp_path: Path) -> None:
    go = work_in(tmp_path) / "go"
    first = tool("bash", command=f"until [ -e {go} ]; do sleep 0.05; done", description="d")
    second = tool("bash", command="echo ask", description="d")
    async with serve_over_cable(opencode, tmp_path) as (cable, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", first + second))
        part = await question(socket)
        cable.cut()
        await asyncio.sleep(0)
        cable.repair()
        go.touch()
        assert (await answer(chat, part["question"]["id"], True))[0] == 200
        message = (await sending)[-2].data
    assert [part.get("state") for part in message["parts"][:2]] == ["complete", "complete"]


async def test_a_connection_that_stays_cut_ends_the_turn(
    opencode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencode_server, "REACH", 1.5)
    async with serve_over_cable(opencode, tmp_path) as (cable, chat), chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "[[endless]]"))
        await frames(socket, until="delta")
        cable.cut()
        events = await sending
        assert events[-3].data["status"] == "error"
        assert "cannot be reached" in events[-2].data["error"]
        cable.repair()
        assert (await chat.send("s", "and on"))[-2].data["content"] == "Echo: and on"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--agent", "opencode:{url}"), "refuses the password"),
        (("--agent", "opencode:http://127.0.0.1:1"), "cannot be reached at http://127.0.0.1:1"),
        (("--agent", "opencode:nowhere"), "needs a URL"),
        (
            ("--agent", "opencode", "--opencode-command", "no-such-thing"),
            "command no-such-thing is not on the PATH",
        ),
        (("--agent", "opencode", "--opencode-command", "false"), "ended with status 1"),
        (("--agent", "acp:no-such-thing --acp"), "command no-such-thing is not on the PATH"),
        (("--agent", "acp:false"), "ended with status 1"),
        (("--agent", "acp:"), "needs a command"),
        (("--agent", "acp:'"), "No closing quotation"),
        (
            ("--agent", "opencode", "--directory", "/no/such"),
            "--directory /no/such does not exist",
        ),
    ],
)
def test_an_agent_that_cannot_start_is_reported_in_one_line(
    opencode: str, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    apart = ("--directory", str(work_in(tmp_path)))
    with pytest.raises(RuntimeError) as error:
        Process(tmp_path, *apart, *(flag.format(url=opencode) for flag in flags))
    lines = str(error.value).strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@asynccontextmanager
async def opencode_client(url: str) -> AsyncGenerator[httpx2.AsyncClient, None]:
    async with httpx2.AsyncClient(base_url=url, auth=("opencode", PASSWORD)) as client:
        yield client
