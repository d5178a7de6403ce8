"""Whether the memory of an agent matches the session, and the history it is sent if not."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from sessile import ToolCallPart, Turn
from sessile.agents.kit.conversation import Context, HistoryLimits
from tests.serving import Client, serving


class Remembers:
    """An agent with its own memory: the history and the messages it was sent, by conversation."""

    name = "remembers"

    def __init__(self, folder: Path, limits: HistoryLimits = HistoryLimits()) -> None:  # noqa: B008
        self._folder = folder
        self._limits = limits
        self.memory: list[list[str]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Any, None]:
        context = await Context.of(turn, "remembers", self._folder, self._limits)
        if context.conversation is None:
            self.memory.append([])
            history = await context.briefing()
            if history:
                self.memory[-1].append(history)
            id = str(len(self.memory) - 1)
        else:
            id = context.conversation.id
        self.memory[int(id)].append(turn.content)
        await context.keep(id)
        yield f"{id}:"
        if turn.content == "tool":
            yield ToolCallPart("1", "look", {"at": "it"}, "complete", tool_output="green")
        yield turn.content.upper()
        while turn.content == "slow":
            await asyncio.sleep(0.01)


@pytest.fixture
def agent(tmp_path: Path) -> Remembers:
    return Remembers(tmp_path)


async def ask(chat: Client, content: str, session: str = "s", **fields: Any) -> str:
    """Send a message and return the number of the conversation that answered it."""
    events = await chat.send(session, content, **fields)
    content = events[-2].data["content"]
    return str(content.partition(":")[0])


async def test_a_conversation_continues_turn_by_turn_and_after_a_restart(
    tmp_path: Path, agent: Remembers
) -> None:
    async with serving(tmp_path, agent=agent) as chat:
        assert [await ask(chat, word) for word in ("a", "b", "c")] == ["0", "0", "0"]
        assert await ask(chat, "x", "other") == "1"
    async with serving(tmp_path, agent=agent) as chat:
        assert await ask(chat, "d") == "0"
    assert agent.memory == [["a", "b", "c", "d"], ["x"]]


async def test_a_conversation_continues_after_a_stop(tmp_path: Path, agent: Remembers) -> None:
    async with serving(tmp_path, agent=agent) as chat:
        sending = asyncio.create_task(chat.send("s", "slow"))
        while not agent.memory:
            await asyncio.sleep(0.005)
        assert await chat.stop("s")
        await sending
        assert await ask(chat, "and on") == "0"


@pytest.mark.parametrize(
    "change", ["edit", "regenerate", "delete", "earlier", "stored", "fork", "folder"]
)
async def test_a_changed_history_is_sent_to_a_new_conversation(
    tmp_path: Path, agent: Remembers, change: str
) -> None:
    (tmp_path / "inside").mkdir()
    async with serving(tmp_path, agent=agent) as chat:
        for word in ("one", "two", "three"):
            await ask(chat, word, id=word)
        page, session = await chat.messages("s"), "s"
        if change == "edit":
            assert await ask(chat, "3", replaces="three") == "1"
        elif change == "regenerate":
            await chat.stream("POST", "/chat/s/regenerate")
            assert len(agent.memory) == 2
        elif change == "delete":
            await chat.http.delete(f"/sessions/s/messages/{page[-1]['id']}")
        elif change == "earlier":
            parts = {"parts": [{"type": "text", "content": "1"}]}
            await chat.http.patch("/sessions/s/messages/one", json=parts)
        elif change == "stored":
            await chat.http.post("/sessions/s/messages", json={"content": "aside"})
        elif change == "fork":
            session = (await chat.http.post("/sessions/s/fork", json={})).json()["id"]
        else:
            inside = {"directory": "inside"}
            await chat.http.patch("/sessions/s", json={"metadata": inside})
        newest = await ask(chat, "last", session)
    assert newest == ("1" if len(agent.memory) == 2 else "0")
    assert len(agent.memory) == 2
    history = agent.memory[1][0]
    assert "User: one" in history or (change == "earlier" and "User: 1" in history)
    assert "Assistant: 0:TWO" in history
    assert agent.memory[1][-1] == "last"
    assert ("aside" in history) == (change == "stored")
    assert ("three" in history.lower()) == (change not in ("edit", "regenerate"))


async def test_a_client_cannot_select_another_conversation(
    tmp_path: Path, agent: Remembers
) -> None:
    async with serving(tmp_path, agent=agent) as chat:
        for word in ("one", "two"):
            await ask(chat, word)
        await chat.http.patch("/sessions/s", json={"metadata": {"remembers": {"id": "5"}}})
        assert await ask(chat, "three") == "0"
        assert agent.memory == [["one", "two", "three"]]


async def test_the_history_that_is_sent_includes_tool_calls_and_files(
    tmp_path: Path, agent: Remembers
) -> None:
    async with serving(tmp_path, agent=agent) as chat:
        await ask(chat, "tool")
        parts = [
            {"type": "text", "content": "see"},
            {"type": "file", "mediaType": "text/plain", "url": "data:,x", "filename": "a.txt"},
        ]
        await chat.http.post("/sessions/s/messages", json={"parts": parts})
        await ask(chat, "next")
    history = agent.memory[1][0]
    assert '[used look {"at":"it"}: green]' in history
    assert "[a file: a.txt]" in history


async def test_the_history_that_is_sent_has_limits(tmp_path: Path) -> None:
    agent = Remembers(tmp_path, HistoryLimits(messages=3, characters=40))
    async with serving(tmp_path, agent=agent) as chat:
        for n in range(6):
            assert await ask(chat, f"number {n}") == "0"
        await chat.http.post("/sessions/s/messages", json={"content": "x" * 20})
        assert await ask(chat, "last") == "1"
    history = agent.memory[1][0]
    assert "x" * 20 in history
    assert "NUMBER 5" in history
    assert "number 4" not in history


async def test_with_limits_of_zero_no_history_is_sent(tmp_path: Path) -> None:
    agent = Remembers(tmp_path, HistoryLimits(messages=0, characters=0))
    async with serving(tmp_path, agent=agent) as chat:
        assert [await ask(chat, word) for word in ("a", "b")] == ["0", "0"]
        await chat.stream("POST", "/chat/s/regenerate")
    assert agent.memory == [["a", "b"], ["b"]]
