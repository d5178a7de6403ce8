"""Damaged rows in the store: the session they belong to says so, and all others go on."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from sessile.store.sqlite.store import SQLiteStore
from tests.serving import LONG, Client, Process, client_of, serving

UNREADABLE = (503, "session_unreadable")


def damage(folder: Path, statement: str) -> None:
    database = apsw.Connection(str(folder / "sessile.db"))
    database.execute(statement)
    assert database.changes()
    database.close()


async def answer(chat: Client, method: str, path: str, **request: object) -> tuple[int, str]:
    response = await chat.http.request(method, path, **request)  # type: ignore[arg-type]
    return response.status_code, response.json()["code"]


async def others_go_on(chat: Client) -> None:
    assert [session["id"] for session in (await chat.http.get("/sessions")).json()] == ["good"]
    await chat.send("good", "again")
    assert len(await chat.messages("good")) == 4
    assert (await chat.http.get("/readyz")).is_success


async def figures(chat: Client) -> str:
    return (await chat.http.get("/metrics")).text


OF_BAD = "session = (SELECT number FROM sessions WHERE id = 'bad')"


@asynccontextmanager
async def damaged(folder: Path, statement: str) -> AsyncGenerator[tuple[Process, Client], None]:
    """A process whose store has a good session, and a bad one in which a turn was cut off."""
    with Process(folder, "--echo-delay", "0.05") as server:
        async with client_of(server) as chat:
            await chat.send("good", "hello")
            await chat.send("bad", "hello")
            async with chat.http.stream("POST", "/chat/bad", json={"content": LONG}) as response:
                seen = ""
                async for text in response.aiter_text():
                    seen += text
                    if seen.count("event: delta") > 5:
                        break
            server.kill()
    damage(folder, statement)
    with Process(folder) as server:
        async with client_of(server) as chat:
            yield server, chat


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET metadata = x'7b' WHERE id = 'bad'",
        f"UPDATE running SET turn = 'nothing' WHERE {OF_BAD}",
    ],
)
async def test_a_session_whose_row_is_damaged_does_not_stop_the_others(
    tmp_path: Path, statement: str
) -> None:
    async with damaged(tmp_path, statement) as (_, chat):
        await others_go_on(chat)
        for method, path in (
            ("GET", "/sessions/bad"),
            ("GET", "/sessions/bad/export"),
            ("GET", "/chat/bad/messages"),
            ("GET", "/chat/bad/events"),
            ("PATCH", "/sessions/bad"),
        ):
            assert await answer(chat, method, path, json={}) == UNREADABLE, path
        assert await answer(chat, "POST", "/chat/bad", json={"content": "x"}) == UNREADABLE
        assert "sessile_sessions_unreadable 1.0" in await figures(chat)
    log = (tmp_path / "stderr.log").read_text()
    assert log.count("the session bad cannot be read") == 1


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE tail SET events = x'5b' WHERE {OF_BAD}",
        f"UPDATE messages SET body = x'7b' WHERE {OF_BAD}",
    ],
)
async def test_a_session_that_cannot_be_woken_does_not_stop_recovery_and_trimming(
    tmp_path: Path, statement: str
) -> None:
    async with damaged(tmp_path, statement) as (_, chat):
        assert await answer(chat, "POST", "/chat/bad", json={"content": "x"}) == UNREADABLE
        await chat.send("good", "again")
        assert len(await chat.messages("good")) == 4
        assert "sessile_sessions_unreadable 1.0" in await figures(chat)
    store = SQLiteStore(tmp_path / "sessile.db")
    await store.open()
    await store.trim(-1)
    assert await store.events("good", 0) is None
    await store.close()


async def test_an_agent_answers_though_an_earlier_message_is_damaged(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("s", "first")
        await chat.send("s", "second")
    damage(tmp_path, "UPDATE messages SET body = x'7b' WHERE seq = 1")
    async with serving(tmp_path) as chat:
        events = await chat.send("s", "third")
        assert events[-2].data["content"] == "third"
