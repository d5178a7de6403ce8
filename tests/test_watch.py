"""Watchers get every event once, whatever the bus loses, and wake only for their own events."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response

from sessile import create_app
from sessile.bus.base import Publication
from sessile.bus.memory import MemoryBus
from sessile.http import pump
from sessile.store.base import Chunk, Head
from sessile.store.sqlite.store import SQLiteStore
from sessile.testing import Writer
from sessile.watch.feed import Watcher
from sessile.watch.feeds import Feeds
from sessile.wire.errors import StoreUnavailable
from sessile.wire.events import DeletedEvent
from sessile.wire.frames import Frame, Piece, singly
from tests.serving import Client, events, frames, kinds, running, serving


class LossyBus(MemoryBus):
    """Loses every publication while ``loses`` is set, without noticing it."""

    may_lose = True

    def __init__(self) -> None:
        super().__init__()
        self.loses = False

    def publish(self, session: str, publication: Publication) -> None:
        if not self.loses:
            super().publish(session, publication)


class Watched:
    """A session's writer, and a watcher of it over a lossy bus."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store
        self.bus = LossyBus()
        self.feeds = Feeds(store, self.bus)
        self.writer = Writer(store, "s")

    async def says(self, id: str) -> None:
        change = self.writer.change()
        self.writer.say(change, id)
        await self.writer.commit(change)
        row = self.writer.row
        self.bus.publish("s", Publication(row.epoch, row.seq, change.frames))

    async def drops(self) -> None:
        change = self.writer.change()
        change.drop = True
        self.writer.row.seq += 1
        change.frames.append(Frame.of(DeletedEvent(self.writer.row.seq), self.writer.row.seq))
        await self.writer.commit(change)
        row = self.writer.row
        self.bus.publish("s", Publication(row.epoch, row.seq, change.frames))

    async def seen(self, watcher: Watcher) -> list[int]:
        return [frame.seq for frame in await watcher.read()]


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncGenerator[Watched, None]:
    store = SQLiteStore(tmp_path / "sessile.db")
    await store.open()
    yield Watched(store)
    await store.close()


async def test_a_lost_last_event_is_found(watched: Watched) -> None:
    await watched.says("one")
    watcher = await watched.feeds.watch("s", 0)
    assert await watched.seen(watcher) == [1]
    woken = asyncio.Event()
    watcher.listener = woken.set
    watched.bus.loses = True
    await watched.says("two")
    assert await watched.seen(watcher) == []
    await watched.feeds.look()
    assert woken.is_set()
    assert await watched.seen(watcher) == [2]


async def test_the_heads_are_compared_soon_after_the_bus_doubts(watched: Watched) -> None:
    await watched.says("one")
    watcher = await watched.feeds.watch("s", 1)
    woken = asyncio.Event()
    watcher.listener = woken.set
    await watched.feeds.open()
    watched.bus.loses = True
    await watched.says("two")
    watched.bus.doubts += 1
    await asyncio.wait_for(woken.wait(), 10)
    watched.feeds.close()


async def test_a_session_that_was_created_again_is_not_joined_in_the_middle(
    watched: Watched,
) -> None:
    for id in ("one", "two"):
        await watched.says(id)
    watcher = await watched.feeds.watch("s", 2)
    watched.bus.loses = True
    await watched.drops()
    watched.writer = Writer(watched.store, "s")
    watched.writer.row.epoch = 8
    for id in ("new one", "new two"):
        await watched.says(id)
    watched.bus.loses = False
    await watched.says("new three")
    (end,) = await watcher.read()
    assert end.ends_session
    fresh = await watched.feeds.watch("s", 0)
    assert await watched.seen(fresh) == [1, 2, 3]


async def test_a_deletion_whose_event_was_lost_is_found(watched: Watched) -> None:
    await watched.says("one")
    watcher = await watched.feeds.watch("s", 1)
    watched.bus.loses = True
    await watched.drops()
    await watched.feeds.look()
    (end,) = await watcher.read()
    assert end.ends_session


async def test_a_session_created_while_heads_are_read_is_not_taken_for_deleted(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = await watched.feeds.watch("s", 0)
    heads = watched.store.heads

    async def late(sessions: Sequence[str]) -> list[Head]:
        found = await heads(sessions)
        await watched.says("one")
        return found

    monkeypatch.setattr(watched.store, "heads", late)
    await watched.feeds.look()
    assert await watched.seen(watcher) == [1]


async def test_a_frame_without_data_is_read_from_the_store(watched: Watched) -> None:
    await watched.says("one")
    watcher = await watched.feeds.watch("s", 1)
    watched.bus.loses = True
    await watched.says("two")
    watched.bus.loses = False
    watched.bus.publish("s", Publication(7, 2, [Frame(2, b"")]))
    (frame,) = singly(await watcher.read())
    assert b"two" in frame.data


async def test_a_watcher_that_follows_a_turn_wakes_only_for_that_turn(watched: Watched) -> None:
    watcher = await watched.feeds.watch("s", 0)
    watcher.follow("mine")
    woken: list[int] = []
    watcher.listener = lambda: woken.append(watcher.cursor)
    assert await watched.seen(watcher) == []
    for number in range(20):
        await watched.says(f"other {number}")
    while await watcher.read():
        pass
    woken.clear()
    for number in range(20, 40):
        await watched.says(f"other {number}")
    assert woken == []
    await watched.says("mine")
    assert len(woken) == 1
    assert await watched.seen(watcher) == [41]


@pytest.fixture
def fail_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that makes the next reads of events fail."""
    left = [0]
    read = SQLiteStore.events

    async def events(store: SQLiteStore, session: str, after: int) -> Chunk[Piece] | None:
        if left[0]:
            left[0] -= 1
            raise StoreUnavailable
        return await read(store, session, after)

    monkeypatch.setattr(SQLiteStore, "events", events)

    def fail(count: int) -> None:
        left[0] = count

    return fail


async def test_a_read_that_fails_once_is_tried_again(
    chat: Client, fail_reads: Callable[[int], None]
) -> None:
    await chat.send("s", "before")
    fail_reads(1)
    async with asyncio.timeout(20):
        assert [event.id for event in await chat.follow("s", after=0, count=4)] == [1, 2, 3, 4]
        fail_reads(1)
        async with chat.socket("s", "?after=0") as socket:
            assert [frame["seq"] for frame in await frames(socket)] == [4, 1, 2, 3, 4]


async def test_a_stream_that_cannot_be_read_is_closed(
    chat: Client, fail_reads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "PATIENCE", 0.3)
    await chat.send("s", "before")
    fail_reads(1_000)
    async with asyncio.timeout(20):
        async with chat.socket("s", "?after=0") as socket:
            assert json.loads(await socket.recv())["type"] == "hello"
            await socket.wait_closed()
            assert socket.close_code == 1011
        with pytest.raises(Exception, match=r"incomplete|closed|peer"):
            await chat.follow("s", after=0, count=4)
    fail_reads(0)
    assert len(await chat.follow("s", after=0, count=4)) == 4
    while chat.watchers():
        await asyncio.sleep(0.01)


async def test_a_socket_that_joins_as_a_turn_starts_sees_the_turn(chat: Client) -> None:
    async def join(session: str) -> list[str]:
        async with chat.socket(session) as socket:
            hello = json.loads(await socket.recv())
            seen = [] if hello["seq"] >= 4 else await frames(socket)
            return [str(frame["seq"]) for frame in seen[-1:]]

    async with asyncio.timeout(50):
        for number in range(25):
            session = f"s{number}"
            sending = asyncio.create_task(chat.send(session, "Hello"))
            joined = await asyncio.gather(*(join(session) for _ in range(4)))
            assert all(seen in ([], ["4"]) for seen in joined)
            await sending


async def test_streams_work_behind_a_middleware_that_runs_them_in_its_own_tasks(
    tmp_path: Path,
) -> None:
    chat_app = create_app(store=f"sqlite:///{tmp_path}/s.db", echo_delay=0.01)
    app = FastAPI(lifespan=chat_app.lifespan)

    @app.middleware("http")
    async def timed(request: Request, call_next: Callable[[Request], object]) -> Response:
        response: Response = await call_next(request)  # type: ignore[misc]
        response.headers["x-timed"] = "yes"
        return response

    app.mount("/ai", chat_app)
    async with running(app) as url:
        client = Client(f"{url}/ai")
        async with client.http, asyncio.timeout(20):
            sent = await client.send("s", "one two three")
            assert kinds(sent) == ["ack", "status", *["delta"] * 3, "assistant", "done"]
            async with client.http.stream("GET", "/chat/s/events?after=0") as response:
                assert response.headers["x-timed"] == "yes"
                seen = []
                async for event in events(response):
                    seen.append(event.id)
                    if len(seen) == 6:
                        break
            assert seen == [1, 2, 3, 4, 5, 6]


async def test_queued_messages_are_last_until_their_turn_starts(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.005) as chat:
        first = asyncio.create_task(chat.send("s", "one " * 30, id="q1"))
        while (await chat.http.get("/sessions/s")).status_code == 404:
            await asyncio.sleep(0.005)
        others = [asyncio.create_task(chat.send("s", f"{n}", id=f"q{n}")) for n in (2, 3)]
        while len(found := await chat.messages("s")) < 4:
            await asyncio.sleep(0.005)
        assert [m["status"] for m in found] == ["complete", "streaming", "queued", "queued"]
        page = await chat.messages("s", limit=2)
        assert [m["status"] for m in page] == ["queued", "queued"]
        older = await chat.messages("s", limit=10, before=page[0]["id"])
        assert [m["role"] for m in older] == ["user", "assistant"]
        newer = await chat.messages("s", limit=10, after=older[0]["id"])
        assert [m["status"] for m in newer] == ["streaming", "queued", "queued"]
        assert await chat.messages("s", after=page[-1]["id"]) == []
        await asyncio.gather(first, *others)
        messages = await chat.messages("s")
        assert [m["role"] for m in messages] == ["user", "assistant"] * 3
        assert [m.get("replyTo") for m in messages[1::2]] == [m["id"] for m in messages[::2]]
        assert [m["seq"] for m in messages] == sorted(m["seq"] for m in messages)
        export = (await chat.http.get("/sessions/s/export")).json()["messages"]
        assert export == messages
