"""A long answer is stored as it stands from time to time: what a late reader, a page and recovery
cost does not grow with its events."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import apsw
import pytest

from sessile import Turn
from sessile.history.pages import History
from sessile.session import writing
from sessile.store.base import Body, RunningTurn, Store
from sessile.store.sqlite.store import SQLiteStore
from sessile.testing.writer import Writer
from sessile.wire.frames import singly
from sessile.wire.messages import decode_message
from tests.operating import run
from tests.serving import Client, process, serving

WORDS = 4_000  # of one token each


class Speaker:
    """Says many words, waits, and says one more; ``wanted`` of them before it waits."""

    name = "speaker"

    def __init__(self) -> None:
        self.said = asyncio.Event()
        self.go_on = asyncio.Event()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[str, None]:
        for number in range(WORDS):
            yield f"{number} "
        await asyncio.sleep(0.05)  # all of it is stored
        self.said.set()
        await self.go_on.wait()
        yield "end"


TEXT = "".join(f"{number} " for number in range(WORDS))


async def test_a_late_reader_gets_the_answer_whole_and_its_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "DRAFT", 64 * 1024)
    speaker = Speaker()
    async with serving(tmp_path, agent=speaker) as chat:
        sending = asyncio.create_task(chat.send("s", "go"))
        await speaker.said.wait()
        assert chat.app is not None
        store = chat.app.store
        row = await store.row("s")
        assert row is not None
        assert row.running is not None
        assert await store.events("s", row.running.since) is not None
        await store.trim(-1)
        assert await store.events("s", row.running.since) is None, "a draft stands for them"
        read = list(singly((await store.events("s", (await drafted(store)) - 1)) or ()))
        assert len(read) < WORDS / 2

        seen = asyncio.create_task(chat.follow("s", after=0, count=4))
        while chat.watchers() < 2:
            await asyncio.sleep(0.01)
        page = await History(store, lambda session: None).page("s", 2)
        assert decode_message(page.bodies[-1]).content == TEXT
        speaker.go_on.set()
        events = await sending
        assert events[-2].data["content"] == TEXT + "end"
        reset, asked, whole, last = await seen
        assert [reset.event, asked.event, whole.event] == ["reset", "message", "message"]
        assert whole.data["content"] == TEXT
        assert (last.data["offset"], last.data["text"]) == (len(TEXT), "end")
        assert await store.draft("s") is None


async def drafted(store: Store) -> int:
    draft = await store.draft("s")
    assert draft is not None
    return draft.changed


async def test_a_crash_keeps_a_long_answer_that_has_a_draft(tmp_path: Path) -> None:
    """Its events up to the draft are forgotten before the crash."""
    (tmp_path / "speaker.py").write_text(
        f"async def reply(turn):\n"
        f"    import asyncio\n"
        f"    for number in range({WORDS}):\n"
        f"        yield f'{{number}} '\n"
        f"    await asyncio.sleep(60)\n"
    )
    flags = ["--agent", "speaker:reply"]
    async with process(tmp_path, *flags, PYTHONPATH=str(tmp_path)) as (server, chat):
        asking = asyncio.create_task(chat.http.post("/chat/s", json={"content": "go"}))
        await until_said(chat)
        server.kill()
        await asyncio.gather(asking, return_exceptions=True)
    store = SQLiteStore(tmp_path / "sessile.db")
    await store.open()
    changed = await drafted(store)
    await store.trim(-1)
    assert await store.events("s", changed - 1) is not None
    assert await store.events("s", 2) is None
    await store.close()
    async with process(tmp_path) as (_, chat):
        _, answer = await chat.messages("s")
        assert (answer["status"], answer["content"]) == ("interrupted", TEXT)


async def test_numbers_go_on_after_a_crash_where_a_draft_stands_for_all_events(
    tmp_path: Path,
) -> None:
    store = SQLiteStore(tmp_path / "sessile.db")
    await store.open()
    writer = Writer(store, "s")
    change = writer.change()
    writer.row.running = RunningTurn("q", "a", 1, 1)
    writer.say(change, "q")
    await writer.commit(change)
    change = writer.change(durable=False)
    writer.delta(change, "a", 0, "all of it")
    part = b'{"id":"a","role":"assistant","content":"x","parts":[],"createdAt":1,"seq":2,'
    change.draft = Body(2, 2, part + b'"status":"streaming","replyTo":"q"}')
    await writer.commit(change)
    await store.trim(-1)
    assert await store.events("s", 1) is None
    await store.close()
    assert "no faults" in run(tmp_path, "check").stdout
    store = SQLiteStore(tmp_path / "sessile.db")
    await store.open()
    row = await store.row("s")
    assert row is not None
    assert row.seq == 2
    await store.close()


async def test_a_draft_of_a_turn_that_is_over_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "DRAFT", 1_000)

    async def reply(turn: Turn) -> AsyncGenerator[str, None]:
        yield turn.content * 200  # with the end of the turn, in one commit
        if turn.content == "slow ":
            await asyncio.sleep(0.05)

    async with serving(tmp_path, agent=reply) as chat:
        assert chat.app is not None
        first = asyncio.create_task(chat.send("s", "slow "))
        await chat.follow("s", after=0, count=3)
        await chat.send("s", "quick ")  # begins with the end of the turn before
        await first
        await chat.send("t", "quick ")
        assert [await chat.app.store.draft(session) for session in "st"] == [None, None]
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    assert database.execute("SELECT count(*) FROM drafts").get == 0
    database.close()
    assert "no faults" in run(tmp_path, "check").stdout


async def until_said(chat: Client) -> None:
    async with asyncio.timeout(20):
        while [m["content"] for m in await chat.messages("s")][1:] != [TEXT]:
            await asyncio.sleep(0.05)
