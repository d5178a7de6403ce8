"""What every store must do."""

import asyncio
import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sessile.store.base import READ, Body, Head, RunningTurn, Store
from sessile.testing.turns import TurnsSuite
from sessile.testing.writer import Writer
from sessile.wire.errors import Moved, SessionNotFound
from sessile.wire.frames import singly
from sessile.wire.messages import decode_message


def ids(bodies: Iterable[Body]) -> list[str]:
    return [decode_message(body.body).id for body in bodies]


class StoreSuite(TurnsSuite):
    """The promises of :class:`~sessile.store.base.Store`."""

    async def test_a_session_is_read_as_it_was_written(
        self, make_store: Callable[[], Store]
    ) -> None:
        async with self.open_store(make_store) as store:
            writer = Writer(store, "s")
            writer.row.title, writer.row.metadata = "Title", {"a": [1, None, {"b": "ü"}]}
            writer.row.running = RunningTurn("q", "a", 3, 4, True)
            writer.row.private, writer.row.held = {"allowed": ["x"]}, True
            writer.row.archived = True
            await writer.fill(3)
            assert await store.row("s") == writer.row
            assert await store.row("t") is None
        async with self.open_store(make_store) as store:
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

    async def test_a_message_is_replaced_in_place(self, store: Store) -> None:
        writer = Writer(store, "s")
        await writer.fill(3)
        change = writer.change()
        changed = writer.say(change, "m1", content="new", seq=2)
        await writer.commit(change)
        assert await store.message("s", "m1") == changed
        assert ids(await store.newest("s", 10, None)) == ["m2", "m1", "m0"]
        assert [body.changed for body in await store.newest("s", 10, None)] == [3, 4, 1]

    async def test_changed_messages_are_read_in_the_order_of_their_changes(
        self, store: Store
    ) -> None:
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
            single = list(singly(frames))
            assert [frame.seq for frame in single] == list(range(after + 1, head + 1))
            assert all(frame.event.seq == frame.seq for frame in single)  # type: ignore[union-attr]
        assert await store.events("s", head + 5) is None, "no event has had this number yet"
        row = await store.row("s")
        assert row is not None
        assert row.seq == head
        await store.trim(3600)
        assert len(await store.events("s", 0) or ()) == head, "no event is old enough to be trimmed"

    async def test_a_second_writer_is_refused_and_changes_nothing(self, store: Store) -> None:
        first, second = Writer(store, "s"), Writer(store, "s")
        await first.fill(2)
        change = second.change()
        second.say(change, "stranger")
        with pytest.raises(Moved):
            await second.commit(change)
        assert ids(await store.newest("s", 10, None)) == ["m1", "m0"]
        assert await store.row("s") == first.row

    async def test_the_owner_is_compared_as_well_as_the_number(self, store: Store) -> None:
        first = Writer(store, "s", node=1)
        await first.fill(1)
        row = await store.row("s")
        assert row is not None
        assert row.owner == 1
        second, late = Writer(store, "s", row, node=2), Writer(store, "s", copy.copy(row), node=1)
        takes = second.change()
        second.row.running = RunningTurn("m0", "a", 1, 1)
        await second.commit(takes)  # the same number, another owner
        assert await store.busy(1) == []
        assert await store.busy(2) == ["s"]
        for durable in (True, False):
            refused = late.change(durable)
            late.delta(refused, "a", 0, "x")
            late.row.seq -= 1
            with pytest.raises(Moved):
                await late.commit(refused)
            late.row.owner = 3  # nor is one accepted that has seen another owner
        gone = late.change()
        gone.drop = True
        with pytest.raises(Moved):
            await late.commit(gone)
        assert await store.row("s") == second.row

    async def test_a_stale_writer_cannot_write_to_a_deleted_session(self, store: Store) -> None:
        first, second = Writer(store, "s"), Writer(store, "s")
        await first.fill(1)
        row = await store.row("s")
        assert row is not None
        second.row = row
        change = first.change()
        change.drop = True
        await first.commit(change)
        late = second.change()
        second.say(late, "late")
        with pytest.raises(Moved):
            await second.commit(late)
        assert await store.row("s") is None
        assert await store.newest("s", 10, None) == []

    async def test_a_commit_does_not_change_after_it_is_taken(self, store: Store) -> None:
        """A store may commit late: a commit that it has taken must not change until then."""
        writer = Writer(store, "s")
        outcomes = []
        for number in range(50):
            change = writer.change(durable=number % 5 == 0)
            if number % 5 == 0:
                writer.say(change, f"m{number}", content=str(number))
            writer.delta(change, "a", number, "x")
            store.write(change)
            outcomes.append(change.outcome)
            if number % 3 == 0:
                await asyncio.sleep(0)
            while not change.taken:
                await asyncio.sleep(0)
        await asyncio.gather(*outcomes)
        frames = singly(await store.events("s", 0) or ())
        assert [frame.seq for frame in frames] == list(range(1, 61))
        assert await store.row("s") == writer.row

    async def test_a_message_moves_to_a_new_number(self, store: Store) -> None:
        writer = Writer(store, "s")
        change = writer.change()
        writer.say(change, "q1")
        writer.say(change, "q2", content="waits", status="queued")
        writer.row.queued = 1
        await writer.commit(change)
        assert ids(await store.newest("s", 10, None)) == ["q1"], "not the queued one"
        assert ids(await store.following("s", 10, 0)) == ["q1"]
        change = writer.change()
        writer.say(change, "a1", "assistant", reply_to="q1")
        moved = writer.say(change, "q2", content="waits", moved_from=2)
        writer.row.queued = 0
        await writer.commit(change)
        assert ids(await store.newest("s", 10, None)) == ["q2", "a1", "q1"]
        assert await store.message("s", "q2") == moved
        assert [body.seq for body in await store.changed("s", 10, 0)] == [1, 3, 4]
        found = [hit.message for hit in await store.search(["waits"], 10)]
        assert found == [moved]

    async def test_the_heads_of_many_sessions_are_read_at_once(self, store: Store) -> None:
        for number in range(3):
            await Writer(store, f"s{number}").fill(number + 1)
        heads = await store.heads(["s0", "s2", "nobody"])
        assert sorted(heads) == [Head("s0", 7, 1), Head("s2", 7, 3)]
        assert await store.heads([]) == []

    async def test_the_id_of_a_store_does_not_change(self, make_store: Callable[[], Store]) -> None:
        async with self.open_store(make_store) as store:
            first = store.id
            assert first
        async with self.open_store(make_store) as store:
            assert store.id == first

    async def test_a_commit_that_fails_does_not_affect_the_others(self, store: Store) -> None:
        await Writer(store, "s2").fill(1)
        writers = [Writer(store, f"s{index}") for index in range(5)]
        changes = []
        for writer in writers:
            change = writer.change()
            writer.say(change, "m")
            changes.append(writer.commit(change))
        outcomes = await asyncio.gather(*changes, return_exceptions=True)
        assert [error is None for error in outcomes] == [True, True, False, True, True]
        for index in (0, 1, 3, 4):
            assert ids(await store.newest(f"s{index}", 10, None)) == ["m"]
        assert ids(await store.newest("s2", 10, None)) == ["m0"]

    async def test_outcomes_are_reported_in_the_order_of_the_writes(self, store: Store) -> None:
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

    async def test_queues_answers_and_busy_sessions_are_found(self, store: Store) -> None:
        writer = Writer(store, "s")
        change = writer.change()
        question = writer.say(change, "q")
        waiting = [writer.say(change, f"w{i}", status="queued") for i in range(2)]
        writer.row.queued = 2
        writer.row.running = RunningTurn("q", "a", writer.row.seq, 1)
        await writer.commit(change)
        assert await store.busy(0) == ["s"]
        assert await store.busy(1) == []
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
        assert await store.busy(0) == []

    async def test_a_dropped_session_leaves_nothing_behind(self, store: Store) -> None:
        writer = Writer(store, "s")
        await writer.fill(3)
        other = await Writer(store, "t").fill(1)
        change = writer.change()
        writer.row.seq += 1
        change.deleted["m1"] = writer.row.seq
        await writer.commit(change)
        assert await store.was_deleted("s", "m1")
        assert not await store.was_deleted("s", "m0")
        assert not await store.was_deleted("t", "m1")
        change = writer.change()
        change.drop = True
        await writer.commit(change)
        assert await store.row("s") is None
        assert await store.newest("s", 10, None) == []
        assert await store.events("s", 0) == []
        assert not await store.was_deleted("s", "m1")
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

        async def list_ids(*query: Any) -> list[str]:
            return await store.listed(*query)

        assert await list_ids(10, None, None, None) == ["a", "d", "c", "b"]
        assert await list_ids(2, None, None, None) == ["a", "d"]
        assert await list_ids(2, "d", None, None) == ["c", "b"]
        assert await list_ids(10, None, "title c", None) == ["c"]
        assert await list_ids(10, None, None, True) == []
        for title, query in (
            ("Отчёт за МАРТ", "отчет за март"),
            ("Αθήνα", "ΑΘΗΝΑ"),
            ("Café Zoe\u0308", "CAFE zoë"),
            ("회의록", "의록"),
        ):
            writers["b"].row.title = title
            await writers["b"].commit(writers["b"].change())
            assert await list_ids(10, None, query, None) == ["b"]
        with pytest.raises(SessionNotFound):
            await list_ids(10, "nobody", None, None)

    async def test_a_read_stops_after_so_many_bytes(self, store: Store) -> None:
        writer = Writer(store, "s")
        for index in range(6):
            change = writer.change()
            writer.say(change, f"m{index}", content="x" * (READ // 3))
            await writer.commit(change)
        newest = await store.newest("s", 10, None)
        assert (ids(newest), newest.cut) == (["m5", "m4"], True)
        newest = await store.newest("s", 10, newest[-1].seq)
        assert (ids(newest), newest.cut) == (["m3", "m2"], True)
        following = await store.following("s", 10, 0)
        assert (ids(following), following.cut) == (["m0", "m1"], True)
        following = await store.following("s", 10, newest[0].seq)
        assert ids(following) == ["m4", "m5"]
        changed = await store.changed("s", 10, 0)
        assert (ids(changed), changed.cut) == (["m0", "m1"], True)
        places = await store.places("s", 4)
        assert [id for _, id in places] == ["m5", "m4", "m3", "m2"]
        places = await store.places("s", 4, before=places[-1].seq)
        assert [id for _, id in places] == ["m1", "m0"]
        places = await store.places("s", 3, after=following[0].seq - 1)
        assert [id for _, id in places] == ["m4", "m5"]
        head, seen = writer.row.seq, 0
        while seen < head:
            events = await store.events("s", seen)
            assert events
            numbers = [event.seq for event in singly(events)]
            assert numbers == list(range(seen + 1, events[-1].seq + 1))
            assert events.cut or events[-1].seq == head
            assert sum(event.size for event in events) < 3 * READ
            seen = events[-1].seq

    async def test_rows_are_read_in_the_given_order_in_chunks(self, store: Store) -> None:
        for id in "abc":
            writer = Writer(store, id)
            writer.row.metadata = {"a": "x" * (READ * 2 // 3)}
            await writer.fill(1)
        rows = await store.rows(["c", "nobody", "a", "b"])
        assert ([row.id for row in rows], rows.cut) == (["c", "a"], True)
        rows = await store.rows(["b"])
        assert ([row.id for row in rows], rows.cut) == (["b"], False)

    async def test_the_check_succeeds(self, store: Store) -> None:
        await store.check()
