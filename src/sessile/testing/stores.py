"""What every store must do."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import UNSET

from sessile.store.base import Body, Change, Row, Running, Store, StoredMessage
from sessile.wire.codec import encode
from sessile.wire.errors import SessionNotFound
from sessile.wire.events import DeletedEvent, DeltaEvent
from sessile.wire.frames import Frame
from sessile.wire.messages import Message, MessageStatus, decode_message
from sessile.wire.parts import TextPart


class Writer:
    """Writes one session's changes, as the session object does."""

    def __init__(self, store: Store, id: str) -> None:
        self.store = store
        self.row = Row(id, created_at=1, updated_at=1)

    def change(self, durable: bool = True) -> Change:
        change = Change(self.row, lambda change, error: None)
        change.durable = durable
        return change

    def say(
        self,
        change: Change,
        id: str,
        role: str = "user",
        content: str = "x",
        reply_to: str | None = None,
        status: MessageStatus = "complete",
        seq: int | None = None,
    ) -> Message:
        """Add a message; with ``seq`` it takes the place of an event that was before."""
        self.row.seq += 1
        message = Message(
            id,
            role,  # type: ignore[arg-type]
            content,
            [TextPart(content)],
            1,
            seq or self.row.seq,
            status,
            UNSET,
            UNSET if reply_to is None else reply_to,
        )
        body = encode(message)
        change.frames.append(Frame.of_message(message, body, self.row.seq))
        change.messages[id] = StoredMessage(message, body, self.row.seq)
        self.row.message_count += 1
        return message

    def delta(self, change: Change, answer: str, offset: int, text: str) -> None:
        self.row.seq += 1
        event = DeltaEvent(self.row.seq, answer, 0, "text", offset, text)
        change.frames.append(Frame.of(event, self.row.seq))

    def delete(self, change: Change, id: str) -> None:
        self.row.seq += 1
        change.frames.append(Frame.of(DeletedEvent(self.row.seq, id), self.row.seq))
        change.deleted[id] = self.row.seq
        self.row.message_count -= 1

    async def commit(self, change: Change) -> None:
        """Write the change and wait for its commit; raises what the store tells."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(told: Change, error: Exception | None) -> None:
            assert told is change
            assert change.taken
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        change.done = tell
        self.store.write(change)
        await done

    async def fill(self, count: int) -> list[Message]:
        change = self.change()
        messages = [self.say(change, f"m{index}") for index in range(count)]
        await self.commit(change)
        return messages


def ids(bodies: Iterable[Body]) -> list[str]:
    return [decode_message(body.body).id for body in bodies]


class StoreSuite:
    """The promises of :class:`~sessile.store.base.Store`."""

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        raise NotImplementedError("give a fixture that makes the store")

    @pytest.fixture
    async def store(self, make_store: Callable[[], Store]) -> AsyncGenerator[Store, None]:
        async with self.opened(make_store) as store:
            yield store

    @asynccontextmanager
    async def opened(self, make_store: Callable[[], Store]) -> AsyncGenerator[Store, None]:
        store = make_store()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def test_a_session_is_read_as_it_was_written(
        self, make_store: Callable[[], Store]
    ) -> None:
        async with self.opened(make_store) as store:
            writer = Writer(store, "s")
            writer.row.title, writer.row.metadata = "Title", {"a": [1, None, {"b": "ü"}]}
            writer.row.running = Running("q", "a", 3, 4, True)
            writer.row.archived = True
            await writer.fill(3)
            assert await store.row("s") == writer.row
            assert await store.row("t") is None
        async with self.opened(make_store) as store:
            assert await store.row("s") == writer.row
            assert ids(await store.newest("s", 10, None)) == ["m2", "m1", "m0"]

    async def test_messages_are_paged_by_their_numbers(self, store: Store) -> None:
        messages = await Writer(store, "s").fill(10)
        await Writer(store, "other").fill(3)
        newest = await store.newest("s", 4, None)
        assert ids(newest) == ["m9", "m8", "m7", "m6"]
        assert ids(await store.newest("s", 4, newest[-1].seq)) == ["m5", "m4", "m3", "m2"]
        assert ids(await store.following("s", 3, messages[4].seq)) == ["m5", "m6", "m7"]
        assert decode_message(newest[0].body) == messages[9]
        assert await store.message("s", "m3") == messages[3]
        assert await store.message("s", "nobody") is None
        assert await store.message("t", "m3") is None

    async def test_a_message_is_replaced_in_its_place(self, store: Store) -> None:
        writer = Writer(store, "s")
        await writer.fill(3)
        change = writer.change()
        changed = writer.say(change, "m1", content="new", seq=2)
        await writer.commit(change)
        assert await store.message("s", "m1") == changed
        assert ids(await store.newest("s", 10, None)) == ["m2", "m1", "m0"]
        assert [body.changed for body in await store.newest("s", 10, None)] == [3, 4, 1]

    async def test_what_changed_comes_in_the_order_of_the_changes(self, store: Store) -> None:
        writer = Writer(store, "s")
        await writer.fill(4)
        change = writer.change()
        writer.say(change, "m1", content="new", seq=2)
        writer.delete(change, "m2")
        writer.say(change, "m4")
        await writer.commit(change)
        found = await store.changed("s", 10, 0)
        assert [(body.seq, body.changed) for body in found] == [(1, 1), (4, 4), (2, 5), (7, 7)]
        assert [body.changed for body in await store.changed("s", 10, 4)] == [5, 7]
        assert [body.changed for body in await store.changed("s", 2, 0)] == [1, 4]
        assert await store.deleted("s", 0) == [(6, "m2")]
        assert await store.deleted("s", 6) == []

    async def test_events_are_kept_until_they_are_trimmed(self, store: Store) -> None:
        writer = Writer(store, "s")
        assert await store.events("s", 0) == []
        for word in range(3):
            change = writer.change(durable=word == 0)
            if word == 0:
                writer.say(change, "q")
            writer.delta(change, "a", word * 2, "ab")
            writer.delta(change, "a", word * 2, "ab")
            await writer.commit(change)
        head = writer.row.seq
        for after in range(head + 1):
            frames = await store.events("s", after)
            assert frames is not None
            assert [frame.seq for frame in frames] == list(range(after + 1, head + 1))
            assert all(frame.event.seq == frame.seq for frame in frames)  # type: ignore[union-attr]
        assert await store.events("s", head + 5) is None, "a number that was never given"
        row = await store.row("s")
        assert row is not None
        assert row.seq == head
        assert await store.tails() == [("s", head)]
        await store.trim([("s", 3)])
        assert await store.events("s", 0) is None
        assert [frame.seq for frame in await store.events("s", 3) or ()] == [4, 5, 6, 7]
        await store.trim([("s", head)])
        assert await store.events("s", head) == []
        assert await store.events("s", head - 1) is None

    async def test_a_second_writer_is_refused_and_changes_nothing(self, store: Store) -> None:
        first, second = Writer(store, "s"), Writer(store, "s")
        await first.fill(2)
        change = second.change()
        second.say(change, "stranger")
        with pytest.raises(Exception, match="another writer"):
            await second.commit(change)
        assert ids(await store.newest("s", 10, None)) == ["m1", "m0"]
        assert await store.row("s") == first.row

    async def test_one_that_fails_takes_no_other_with_it(self, store: Store) -> None:
        await Writer(store, "s2").fill(1)
        writers = [Writer(store, f"s{index}") for index in range(5)]
        changes = []
        for writer in writers:
            change = writer.change()
            writer.say(change, "m")
            changes.append(writer.commit(change))
        told = await asyncio.gather(*changes, return_exceptions=True)
        assert [error is None for error in told] == [True, True, False, True, True]
        for index in (0, 1, 3, 4):
            assert ids(await store.newest(f"s{index}", 10, None)) == ["m"]
        assert ids(await store.newest("s2", 10, None)) == ["m0"]

    async def test_outcomes_are_told_in_the_order_of_the_writes(self, store: Store) -> None:
        order: list[Any] = []
        changes = []
        for index in range(20):
            writer = Writer(store, f"s{index}")
            change = writer.change()
            writer.say(change, "m")
            changes.append(writer.commit(change))

        async def note(index: int, commit: Any) -> None:
            await commit
            order.append(index)

        await asyncio.gather(*(note(index, commit) for index, commit in enumerate(changes)))
        assert order == list(range(20))

    async def test_queues_answers_and_what_is_unsettled_are_found(self, store: Store) -> None:
        writer = Writer(store, "s")
        change = writer.change()
        question = writer.say(change, "q")
        waiting = [writer.say(change, f"w{i}", status="queued") for i in range(2)]
        writer.row.queued = 2
        writer.row.running = Running("q", "a", writer.row.seq, 1)
        await writer.commit(change)
        assert await store.unsettled() == ["s"]
        assert await store.queue("s") == waiting
        assert await store.answer("s", question) is None
        change = writer.change()
        answer = writer.say(change, "a", "assistant", reply_to="q")
        writer.say(change, "w0", seq=waiting[0].seq)
        writer.say(change, "w1", seq=waiting[1].seq)
        writer.row.running, writer.row.queued = None, 0
        await writer.commit(change)
        assert await store.answer("s", question) == answer
        assert await store.last_answer("s") == answer
        assert await store.queue("s") == []
        assert await store.unsettled() == []

    async def test_a_dropped_session_leaves_nothing(self, store: Store) -> None:
        writer = Writer(store, "s")
        await writer.fill(3)
        other = await Writer(store, "t").fill(1)
        change = writer.change()
        change.drop = True
        await writer.commit(change)
        assert await store.row("s") is None
        assert await store.newest("s", 10, None) == []
        assert await store.events("s", 0) == []
        assert ids(await store.newest("t", 10, None)) == [other[0].id]
        again = Writer(store, "s")
        await again.fill(1)
        assert ids(await store.newest("s", 10, None)) == ["m0"]

    async def test_sessions_are_listed_by_activity(self, store: Store) -> None:
        writers = {id: Writer(store, id) for id in "abcd"}
        for id in "abcda":
            writers[id].row.title = f"Title {id.upper()}"
            change = writers[id].change()
            writers[id].say(change, f"m{writers[id].row.seq}")
            await writers[id].commit(change)

        async def listed(*query: Any) -> list[str]:
            return [row.id for row in await store.rows(*query)]

        assert await listed(10, None, None, None) == ["a", "d", "c", "b"]
        assert await listed(2, None, None, None) == ["a", "d"]
        assert await listed(2, "d", None, None) == ["c", "b"]
        assert await listed(10, None, "title c", None) == ["c"]
        assert await listed(10, None, None, True) == []
        with pytest.raises(SessionNotFound):
            await listed(10, "nobody", None, None)

    async def test_it_answers(self, store: Store) -> None:
        await store.check()
