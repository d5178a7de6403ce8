"""The examples of docs/agents.md work, with real agents."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import real
from tests.asking import asked, question
from tests.fake_models import FakeModels, Step, serve_in_thread
from tests.serving import Process, clean_environment, client_of
from tests.test_docs import ROOT, console, python_files

PAGE = ROOT / "docs" / "agents.md"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's Python files."""
    for name, content in python_files(PAGE).items():
        (tmp_path / name).write_text(content)
    return tmp_path


async def test_a_function_that_asks_for_approval(folder: Path) -> None:
    with Process(folder, "writer:reply") as server:
        await console(PAGE, server.url, folder, "poems")
        async with client_of(server) as chat:
            while (message := (await chat.messages("poems"))[-1])["status"] != "complete":
                await asyncio.sleep(0.01)
    assert message["content"] == "After 0 messages: it is written."
    assert message["metadata"]["cost"] == 0.01


async def test_a_function_that_asks_for_values(folder: Path) -> None:
    with Process(folder, "host:reply") as server:
        await console(PAGE, server.url, folder, "tables")
        async with client_of(server) as chat:
            id = (await asked(chat, "tables"))["id"]
            output = {"name": "Ann", "guests": 3, "room": "inside"}
            path = f"/chat/tables/questions/{id}"
            assert (await chat.http.post(path, json={"output": output})).status_code == 200
            while (message := (await chat.messages("tables"))[-1])["status"] != "complete":
                await asyncio.sleep(0.01)
    assert message["content"] == "A table for Ann."


async def test_a_function_that_continues(folder: Path) -> None:
    """It is killed while it waits, while it books, and after that."""
    seen: list[str] = []
    for state in ("pending", "running", "complete", None):
        with Process(folder, "trip:reply", "--approve", "ask") as server:
            async with client_of(server) as chat:
                if not seen:
                    body, headers = {"content": "Rome Oslo"}, {"prefer": "respond-async"}
                    await chat.http.post("/chat/s", json=body, headers=headers)
                if state == "running":
                    id = (await asked(chat))["id"]
                    await chat.http.post(f"/chat/s/questions/{id}", json={"approve": True})
                while True:
                    message = (await chat.messages("s"))[-1]
                    states = [p["state"] for p in message["parts"] if p["type"] == "tool-call"]
                    if message["status"] == "complete" or state in states[:1]:
                        break
                    if state is None and "open" in str(message["parts"]):
                        id = (await asked(chat))["id"]
                        await chat.http.post(f"/chat/s/questions/{id}", json={"approve": True})
                    await asyncio.sleep(0.01)
                seen.append(message["id"])
                server.kill()
    assert (message["status"], message["content"]) == ("complete", "Have a good trip.")
    assert states == ["complete", "complete"]
    assert (folder / "booked.txt").read_text().split() == ["Rome", "Oslo"]
    assert len(set(seen[1:])) == 1, "it is one answer"


def test_the_agent_suite_passes(folder: Path) -> None:
    (folder / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_writer.py"],
        cwd=folder,
        env=clean_environment() | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in run.stdout, run.stdout + run.stderr


async def test_a_turn_of_real_opencode(tmp_path: Path) -> None:
    real.install()
    answer = [
        Step("say", "Let me look."),
        Step("call", "bash", '{"command":"ls","description":"List files"}'),
        Step("say", "A README and a poem."),
    ]
    work = tmp_path / "work"
    work.mkdir()
    for name in ("README.md", "poem.txt"):
        (work / name).touch()
    with serve_in_thread(FakeModels({"What is in this folder?": answer})) as url:
        flags = ("--agent", "opencode", "--opencode-command", str(real.OPENCODE))
        environment = real.opencode_environment(tmp_path / "home", url)
        with Process(tmp_path, *flags, "--directory", str(work), **environment) as server:
            await console(PAGE, server.url, tmp_path, "tour")


async def test_a_pydantic_ai_agent(folder: Path) -> None:
    with Process(folder, "clerk:agent") as server:
        message = await ask(server, "pay", {"approve": True})
    calls = {part["toolName"]: part for part in message["parts"] if part["type"] == "tool-call"}
    assert calls["session"]["toolOutput"] == "s"
    assert calls["pay"]["toolOutput"] == "paid 0"


async def test_a_langgraph_graph(folder: Path) -> None:
    with Process(folder, "desk:graph") as server:
        message = await ask(server, "interrupt", {"approve": True, "message": "red"})
    assert message["content"] == "Then it is red."


async def ask(server: Process, tool: str, decision: dict[str, Any]) -> dict[str, Any]:
    """Send a message, answer its question, and return the answer."""
    async with client_of(server) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "go"))
        part = await question(socket)
        assert part["toolName"] == tool
        path = f"/chat/s/questions/{part['question']['id']}"
        assert (await chat.http.post(path, json=decision)).status_code == 200
        message: dict[str, Any] = (await sending)[-2].data
        return message
