"""What the protocol allows ACP agents to do, and real agents do rarely."""

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sessile.agents.acp.agent import ACPAgent
from sessile.wire.errors import SettingsError
from tests.serving import Client, frames, serving, work_in

SCRIPT = Path(__file__).parent / "acp_agent.py"


@asynccontextmanager
async def serve_agent(folder: Path, *arguments: str) -> AsyncGenerator[Client, None]:
    command = shlex.join([sys.executable, str(SCRIPT), *arguments])
    async with serving(folder, agent=ACPAgent(command, work_in(folder))) as chat:
        yield chat


async def ask(chat: Client, content: str) -> dict[str, Any]:
    message: dict[str, Any] = (await chat.send("s", content))[-2].data
    return message


async def test_a_history_replayed_after_the_load_is_not_part_of_the_answer(tmp_path: Path) -> None:
    async with serve_agent(tmp_path, "can-load") as chat:
        assert (await ask(chat, "one"))["content"] == "session-1 received: one"
    async with serve_agent(tmp_path, "can-load") as chat:
        assert (await ask(chat, "two"))["content"] == "session-1 received: two"


async def test_an_agent_that_cannot_load_a_session_is_sent_the_history(tmp_path: Path) -> None:
    async with serve_agent(tmp_path) as chat:
        await ask(chat, "one")
    async with serve_agent(tmp_path) as chat:
        content = (await ask(chat, "two"))["content"]
        assert "User: one\n\nAssistant: session-1 received: one" in content
        assert content.endswith(" / two")


async def test_a_plan_is_shown(tmp_path: Path) -> None:
    async with serve_agent(tmp_path) as chat:
        part = (await ask(chat, "plan"))["parts"][0]
        assert part["name"] == "plan"
        assert part["data"] == [{"content": "first", "status": "pending", "priority": "low"}]


async def test_the_ways_an_answer_ends(tmp_path: Path) -> None:
    async with serve_agent(tmp_path) as chat:
        assert (await ask(chat, "too long"))["metadata"]["finishReason"] == "length"
        for said, reason in (
            ("refuse", "refuses to continue"),
            ("crash", "The agent failed. It says: it broke"),
        ):
            events = await chat.send("s", said)
            assert events[-3].data["status"] == "error"
            assert reason in events[-2].data["error"]
        assert "session-1" in (await ask(chat, "and on"))["content"]


async def test_when_an_agent_does_not_stop_the_next_turn_has_a_new_conversation(
    tmp_path: Path,
) -> None:
    async with serve_agent(tmp_path) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "deaf"))
        await frames(socket, until="delta")
        assert await chat.stop("s")
        assert (await sending)[-2].data["status"] == "stopped"
        content = (await ask(chat, "and on"))["content"]
        assert content.startswith("session-2 received: ")
        assert "User: deaf" in content


async def test_a_permission_request_after_a_stop_is_answered(tmp_path: Path) -> None:
    async with serve_agent(tmp_path) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "ask late"))
        await frames(socket, until="delta")
        assert await chat.stop("s")
        assert (await sending)[-2].data["status"] == "stopped"
        assert (await ask(chat, "and on"))["content"] == "session-1 received: and on"


async def test_an_agent_that_needs_a_login(tmp_path: Path) -> None:
    async with serve_agent(tmp_path, "needs-login") as chat:
        events = await chat.send("s", "hello")
        assert "Log in" in events[-2].data["error"]


async def test_a_command_that_is_not_an_agent_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessile.agents.acp.process.START", 0.5)
    agent = ACPAgent("sleep 100", tmp_path)
    with pytest.raises(SettingsError, match="does not answer"):
        await agent.open()
