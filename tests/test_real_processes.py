"""Real agents whose process, or whose server's process, ends or starts again."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import apsw
import pytest

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
from tests.serving import Client, Process, client_of, frames, kinds

pytestmark = pytest.mark.timeout(120)


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


def stored_conversations(path: Path) -> dict[str, Any]:
    """What the server has stored about the agent's own conversation in the only session."""
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found: dict[str, Any] = json.loads(database.execute("SELECT private FROM sessions").get)
    database.close()
    return found


async def test_the_conversation_continues_after_the_agent_or_the_server_ended(
    kind: Kind, models: FakeModels, tmp_path: Path
) -> None:
    kept: list[str] = []
    for word in ("before the restart", "after the restart"):
        with start_server(kind, tmp_path, models, "--approve-timeout", "0.3") as server:
            async with client_of(server) as chat:
                assert (await chat.send("s", word))[-2].data["content"] == f"Echo: {word}"
                assert (await chat.value("s"))["metadata"] == {}, "clients do not see it"
                (own,) = stored_conversations(tmp_path / "sessile.db").values()
                kept.append(own["id"])
                if len(kept) == 2:
                    shown = json.dumps(last_request(models, "after the restart"))
                    await expire_a_question(kind, chat, tmp_path)
                    await kill_the_agent_during_a_turn(server, chat)
                    assert "after the restart" in json.dumps(last_request(models, "after it"))
            assert server.terminate() == 0
    assert "before the restart" in shown
    if "gemini" not in kind.flags[1]:
        # Gemini CLI can load its sessions only after a minute; until then it is sent the history.
        assert kept[0] == kept[1]
        assert "<conversation>" not in shown, "the agent has the history itself"
    assert not find_processes(str(tmp_path))


async def expire_a_question(kind: Kind, chat: Client, folder: Path) -> None:
    """Nobody answers in time."""
    mark = folder / "work" / "mark.ask"
    (call,) = tool_calls((await chat.send("s", kind.run(f"touch {mark}")))[-2].data)
    assert (call["state"], call["question"]["state"]) == ("error", "expired")
    assert not await asyncio.to_thread(mark.exists)


async def kill_the_agent_during_a_turn(server: Process, chat: Client) -> None:
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
            # Where the model is asked to go on, it may call its tool again.
            while (message := (await chat.messages("s"))[-1])["status"] == "streaming":
                if len(tool_calls(message)) > 1:
                    assert await chat.stop("s")
                await asyncio.sleep(0.05)
            assert message["status"] in ("complete", "stopped")
            assert tool_calls(message)[0]["state"] == "error"
            assert (await chat.send("s", "after it"))[-2].data["content"] == "Echo: after it"
            assert "before all that" in json.dumps(last_request(models, "after it"))
