"""A session is read anywhere and written by one owner, over stores that commit late."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self

import pytest

from sessile import Draft, TextPart, Turn
from sessile.agents.function import FunctionAgent
from sessile.bus.memory import MemoryBus
from sessile.node.handle import Handle
from sessile.node.registry import Registry
from sessile.session.inbox import Sent
from sessile.store.base import Commit, OpenCommit
from sessile.store.sqlite.store import SQLiteStore
from sessile.watch.feeds import Feeds
from sessile.wire.errors import Elsewhere
from sessile.wire.events import MessageEvent
from sessile.wire.ids import answer_id
from sessile.wire.messages import Message


class Late:
    """A commit that is taken at once and stored later, as over a network."""

    def __init__(self, source: OpenCommit, commit: Commit) -> None:
        self.session = commit.session
        self.durable = commit.durable
        self.done = source.done
        self._commit = commit

    def take(self) -> Commit:
        return self._commit


class LateStore(SQLiteStore):
    """Stores each commit 5 ms after it took it."""

    async def open(self) -> None:
        await super().open()
        self._in_time = self.write
        self._order: dict[str, list[Late]] = {}
        self.write = self._take

    def _take(self, commit: OpenCommit) -> None:
        asyncio.get_running_loop().call_soon(self._store_late, commit)

    def _store_late(self, source: OpenCommit) -> None:
        late = Late(source, source.take())
        asyncio.get_running_loop().call_later(0.005, self._in_time, late)


class Node:
    """The registry and the feeds of one node with a store and a bus."""

    def __init__(self, store: SQLiteStore, bus: MemoryBus, agent: Any, number: int = 0) -> None:
        self.registry = Registry(store, bus, FunctionAgent(agent), node=number)
        self.feeds = Feeds(store, bus)
        self._store = store

    async def __aenter__(self) -> Self:
        await self.registry.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.registry.close(1)
        self.feeds.close()

    def session(self, id: str = "s") -> Handle:
        return Handle(id, self._store, self.registry.history, self.registry, self.feeds)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SQLiteStore, None]:
    store = SQLiteStore(tmp_path / "sessile.db")
    await store.open()
    yield store
    await store.close()


class Story:
    """An agent that says two words and waits between them until ``middle`` is set."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.middle = asyncio.Event()

    async def __call__(self, turn: Turn) -> AsyncGenerator[str, None]:
        yield "first "
        self.started.set()
        await self.middle.wait()
        yield "last"


async def answer(session: Handle, sent: Sent) -> Message:
    async with asyncio.timeout(20):
        async for event in session.events(sent.after):
            if isinstance(event, MessageEvent) and event.message.id == sent.answer_id:
                return event.message
    raise AssertionError("the session ended")


async def test_a_store_that_commits_late_loses_nothing(tmp_path: Path) -> None:
    async def talkative(turn: Turn) -> AsyncGenerator[str, None]:
        for number in range(100):
            yield f"{number:03} "
            await asyncio.sleep(0.0005)

    store = LateStore(tmp_path / "sessile.db")
    await store.open()
    async with Node(store, MemoryBus(), talkative) as node:
        session = node.session()
        sent = [await session.send(f"question {number}") for number in range(3)]
        for one in sent:
            message = await answer(session, one)
            assert message.status == "complete"
            assert message.content == "".join(f"{number:03} " for number in range(100))
        head = (await session.read()).seq
        assert [event.seq async for event in events_up_to(session, head)] == list(
            range(1, head + 1)
        )
    await store.close()


async def events_up_to(session: Handle, head: int) -> AsyncGenerator[Any, None]:
    count = 0
    async for event in session.events(0):
        yield event
        count += 1
        if count == head:
            return


async def test_the_agent_of_a_turn_that_ends_before_it_began_does_not_run(tmp_path: Path) -> None:
    ran: list[str] = []

    async def agent(turn: Turn) -> AsyncGenerator[str, None]:
        ran.append(turn.content)
        yield "too late"

    store = LateStore(tmp_path / "sessile.db")
    await store.open()
    node = Node(store, MemoryBus(), agent)
    await node.registry.open()
    sending = asyncio.create_task(node.session().send("go"))
    while not node.registry.running:
        await asyncio.sleep(0)
    await node.registry.close(patience=0)
    sent = await sending
    await asyncio.sleep(0)
    assert ran == []
    stored = await store.message("s", str(sent.answer_id))
    assert stored is not None
    assert stored.status == "interrupted"
    await store.close()


async def test_another_node_reads_a_session_without_becoming_its_owner(store: SQLiteStore) -> None:
    story, bus = Story(), MemoryBus()
    async with Node(store, bus, story, 1) as owner:
        sent = await owner.session().send("Hello")
        await story.started.wait()
        async with Node(store, bus, story, 2) as other:
            reader = other.session()
            while len((await reader.get_messages()).messages) < 2:
                await asyncio.sleep(0.001)
            assert (await reader.get_messages()).messages[-1].content == "first "
            assert (await reader.read()).status == "running"
            assert [len(chunk) async for chunk in reader.walk()] == [2]
            with pytest.raises(Elsewhere):
                await reader.persist_message("not here")
            watching = asyncio.create_task(answer(reader, sent))
            story.middle.set()
            assert (await watching).content == "first last"
            assert (await reader.get_messages()).messages[-1].status == "complete"


async def test_an_idle_session_can_be_written_at_any_node(store: SQLiteStore) -> None:
    async def says(turn: Turn) -> str:
        return turn.content

    bus = MemoryBus()
    nodes = [Registry(store, bus, FunctionAgent(says), awake=0, node=number) for number in (1, 2)]
    for registry in nodes:
        await registry.open()
    feeds = Feeds(store, bus)
    for number in range(6):
        registry = nodes[number % 2]
        session = Handle("s", store, registry.history, registry, feeds)
        message = await answer(session, await session.send(str(number)))
        assert (message.content, message.status) == (str(number), "complete")
    for registry in nodes:
        await registry.close(1)
    row = await store.row("s")
    assert row is not None
    assert row.message_count == 12


async def test_a_queued_answer_has_the_same_id_at_any_node(store: SQLiteStore) -> None:
    story, bus = Story(), MemoryBus()
    async with Node(store, bus, story) as node:
        await node.session().send("runs")
        waits = await node.session().send(Draft([TextPart("waits")], id="w"))
        row = await store.row("s")
        assert row is not None
        assert waits.answer_id == answer_id(row.epoch, "w", waits.message.seq)
        again = await node.session().send(Draft([TextPart("waits")], id="w"))
        assert again.answer_id == waits.answer_id


async def test_an_interrupted_import_leaves_nothing_behind(store: SQLiteStore) -> None:
    async def chunks() -> AsyncGenerator[list[Message], None]:
        yield [Message("m", "user", "x", [TextPart("x")], 1, 1, "complete")]
        await asyncio.Event().wait()

    story, bus = Story(), MemoryBus()
    async with Node(store, bus, story) as node:
        adopting = asyncio.create_task(node.session().adopt(chunks(), "", {}))
        while await store.row("s") is None:
            await asyncio.sleep(0.001)
        async with Node(store, bus, story) as after_a_crash:
            assert await store.row("s") is None
            assert await after_a_crash.session().persist_message("new")
        adopting.cancel()
        await asyncio.wait({adopting})
