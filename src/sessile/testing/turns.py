"""What a store must keep of turns that run, wait or are parked."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from sessile.store.base import Body, RunningTurn, Store
from sessile.testing.writer import Writer
from sessile.wire.codec import encode
from sessile.wire.frames import singly


class TurnsSuite:
    """A part of :class:`~sessile.testing.stores.StoreSuite`."""

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        raise NotImplementedError("Define a fixture that returns a factory of the store.")

    @pytest.fixture
    async def store(self, make_store: Callable[[], Store]) -> AsyncGenerator[Store, None]:
        async with self.open_store(make_store) as store:
            yield store

    @asynccontextmanager
    async def open_store(self, make_store: Callable[[], Store]) -> AsyncGenerator[Store, None]:
        store = make_store()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def test_the_row_of_a_busy_session_is_known_as_such(
        self, make_store: Callable[[], Store]
    ) -> None:
        async with self.open_store(make_store) as store:
            writers = [Writer(store, id) for id in ("idle", "running", "queued", "held")]
            writers[1].row.running = RunningTurn("q", "a", 0, 1)
            writers[2].row.queued = 1
            writers[3].row.held = True
            for writer in writers:
                await writer.fill(1)
            for writer in writers:
                row = await store.row_if_busy(writer.row.id)
                assert row == (writer.row if writer.row.busy else None)
            assert await store.row_if_busy("nobody") is None
            await store.trim(-1)
        async with self.open_store(make_store) as store:
            for writer in writers:
                row = await store.row_if_busy(writer.row.id)
                assert row == (writer.row if writer.row.busy else None)
            change = writers[2].change()
            writers[2].row.queued = 0
            writers[2].say(change, "m1")
            writers[2].store = store
            await writers[2].commit(change)
            assert await store.row_if_busy("queued") is None

    async def test_events_that_a_running_turn_needs_are_kept(self, store: Store) -> None:
        writer = Writer(store, "s")
        change = writer.change()
        writer.say(change, "q")
        writer.delta(change, "a", 0, "x")
        await writer.commit(change)
        change = writer.change()
        writer.row.running = RunningTurn("q", "a", 2, 1)
        writer.delta(change, "a", 1, "y")
        await writer.commit(change)
        await store.trim(0)
        assert await store.events("s", 0) is None
        assert [frame.seq for frame in singly(await store.events("s", 2) or ())] == [3]
        change = writer.change()
        writer.row.running = None
        writer.say(change, "a", "assistant", "xy", "q")
        await writer.commit(change)
        await store.trim(0)
        assert await store.events("s", 4) == []
        assert await store.events("s", 3) is None

    async def test_a_draft_stands_for_the_events_before_it(
        self, make_store: Callable[[], Store]
    ) -> None:
        async with self.open_store(make_store) as store:
            writer = Writer(store, "s")
            change = writer.change()
            writer.row.running = RunningTurn("q", "a", 1, 1)
            writer.say(change, "q")
            writer.delta(change, "a", 0, "x")
            await writer.commit(change)
            assert await store.draft("s") is None
            for text in ("first", "second"):
                change = writer.change(durable=False)
                writer.delta(change, "a", 1, "y")
                change.draft = Body(2, writer.row.seq, encode(text))
                await writer.commit(change)
            assert await store.draft("s") == change.draft
            assert await store.draft("t") is None
            change = writer.change(durable=False)
            writer.delta(change, "a", 3, "z")
            await writer.commit(change)
            await store.trim(0)
            assert await store.events("s", 3) is None
            assert [frame.seq for frame in singly(await store.events("s", 4) or ())] == [5]
        async with self.open_store(make_store) as store:
            assert await store.draft("s") == Body(2, 4, encode("second"))
            row = await store.row("s")
            assert row is not None
            assert row.seq == 5
            writer = Writer(store, "s", row)
            change = writer.change()
            writer.row.running = None
            writer.say(change, "a", "assistant", "xyyz", "q")
            await writer.commit(change)
            assert await store.draft("s") is None

    async def test_a_record_lives_as_long_as_its_turn(
        self, make_store: Callable[[], Store]
    ) -> None:
        async with self.open_store(make_store) as store:
            writer = Writer(store, "s")
            await self.begin(writer)
            assert await store.record("s") is None
            for record in (b"1", b'{"step":2}'):
                change = writer.change(durable=False)
                change.record = record
                await writer.commit(change)
            assert await store.record("s") == b'{"step":2}'
        async with self.open_store(make_store) as store:
            assert await store.record("s") == b'{"step":2}'
            row = await store.row("s")
            assert row is not None
            writer = Writer(store, "s", row)
            await self.end(writer, b"kept")
            assert await store.record("s") is None
            assert await store.records("s", 0, 100) == {"a": b"kept"}
            assert await store.records("s", 3, 100) == {}

    async def begin(self, writer: Writer) -> None:
        """Ask, and begin to answer."""
        change = writer.change()
        writer.row.running = RunningTurn("q", "a", 1, 1)
        writer.say(change, "q")
        writer.delta(change, "a", 0, "x")
        await writer.commit(change)

    async def end(self, writer: Writer, kept: bytes) -> None:
        """Settle the answer."""
        change = writer.change()
        writer.row.running = None
        writer.say(change, "a", "assistant", "x", "q")
        change.messages["a"] = change.messages["a"]._replace(private=kept)
        await writer.commit(change)

    async def test_what_is_kept_with_answers_is_dropped_from_a_number_on(
        self, store: Store
    ) -> None:
        writer = Writer(store, "s")
        change = writer.change()
        for number in range(4):
            role = "assistant" if number % 2 else "user"
            writer.say(change, f"m{number}", role)
            message = change.messages[f"m{number}"]
            change.messages[f"m{number}"] = message._replace(private=b'{"n":1}')
        await writer.commit(change)
        assert set(await store.records("s", 0, 10)) == {"m1", "m3"}
        change = writer.change()
        change.untrue = 3
        await writer.commit(change)
        assert set(await store.records("s", 0, 10)) == {"m1"}
        assert await store.request("s", "m2") == {"n": 1}, "what a client sent along stays"

    async def test_a_parked_turn_belongs_to_nobody_and_is_found_when_it_is_due(
        self, make_store: Callable[[], Store]
    ) -> None:
        async with self.open_store(make_store) as store:
            writer = Writer(store, "s", node=1)
            await self.begin(writer)
            assert await store.busy(1) == ["s"]
            change = writer.change()
            asked = {"a.1": "key"}
            writer.row.running = RunningTurn(
                "q", "a", 1, 1, asked=asked, expires_at=50, parked=True
            )
            writer.row.queued = 1
            change.draft = Body(2, writer.row.seq, encode("draft"))
            change.record = b"7"
            await writer.commit(change)
            await store.trim(-1)
        async with self.open_store(make_store) as store:
            assert await store.busy(1) == []
            assert await store.due(49) == []
            assert await store.due(50) == ["s"]
            row = await store.row_if_busy("s")
            assert row == writer.row == await store.row("s")
            assert await store.draft("s") == Body(2, 2, encode("draft"))
            assert await store.record("s") == b"7"
            assert await store.events("s", 1) is None, "a draft stands for them"
            other = Writer(store, "s", row, node=2)
            change = other.change()
            other.row.running = RunningTurn("q", "a", 1, 1)
            other.delta(change, "a", 1, "y")
            await other.commit(change)
            assert await store.due(10**9) == []
            assert await store.busy(2) == ["s"]
            other.row.queued = 0
            await self.end(other, b"8")
            assert await store.draft("s") is None
            assert await store.row_if_busy("s") is None
