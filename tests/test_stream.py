"""How a stream of events is sent: heartbeats, and clients whose buffer is full."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from sessile.bus.base import Publication
from sessile.bus.memory import MemoryBus
from sessile.http.frames import ANYWHERE
from sessile.http.stream import EventStream
from sessile.protocols.native import SessionStream
from sessile.store.sqlite.store import SQLiteStore
from sessile.watch.feeds import Feeds
from sessile.wire.events import DeletedEvent
from sessile.wire.frames import Frame
from sessile.wire.sse import HEARTBEAT


class Client:
    """The receiver of a response, with its body. ``send`` waits while ``room`` is not set."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.ended = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.got = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.room.wait()
        if message["type"] == "http.response.body":
            self.body.append(message["body"])
            self.got.set()
            if not message["more_body"]:
                self.ended.set()

    async def receive(self) -> dict[str, str]:
        await self.ended.wait()
        return {"type": "http.disconnect"}

    async def next(self) -> bytes:
        while not self.body:
            self.got.clear()
            await asyncio.wait_for(self.got.wait(), 10)
        return self.body.pop(0)


@pytest.fixture
async def feeds(tmp_path: Path) -> AsyncGenerator[Feeds, None]:
    store = SQLiteStore(tmp_path / "s.db")
    await store.open()
    yield Feeds(store, MemoryBus())
    await store.close()


def frame(seq: int) -> Frame:
    return Frame.of(DeletedEvent(seq, "m"), seq)


async def begin(feeds: Feeds, client: Client, heartbeat: float) -> asyncio.Task[None]:
    watcher = await feeds.watch("s")
    stream = EventStream(
        watcher, feeds.leave, SessionStream(), heartbeat, first=b"first", last=b"last"
    )
    return asyncio.create_task(
        stream(
            {"type": "http", "method": "GET", "extensions": {ANYWHERE: {}}},
            client.receive,
            client.send,
        )
    )


async def test_an_idle_stream_gets_heartbeats(feeds: Feeds) -> None:
    client = Client()
    serving = await begin(feeds, client, 0.02)
    assert await client.next() == b"first"
    assert [await client.next() for _ in range(3)] == [HEARTBEAT] * 3
    feeds._bus.publish("s", Publication(7, 1, [frame(1)]))
    while (data := await client.next()) == HEARTBEAT:
        pass
    assert data.startswith(b"id: 1\nevent: deleted\n")
    feeds.close()
    await asyncio.wait_for(serving, 10)
    assert client.body[-1] == b"last"
    assert feeds.watchers == 0


async def test_events_that_wait_for_a_full_client_are_sent_in_one_write(feeds: Feeds) -> None:
    client = Client()
    serving = await begin(feeds, client, 60)
    assert await client.next() == b"first"
    client.room.clear()
    for seq in range(1, 6):
        feeds._bus.publish("s", Publication(7, seq, [frame(seq)]))
    client.room.set()
    assert (await client.next()).count(b"id: ") == 1
    assert (await client.next()).count(b"id: ") == 4
    assert client.body == []
    feeds.close()
    await asyncio.wait_for(serving, 10)
