"""Every adapter passes the suite of its port."""

import asyncio
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from sessile.bus.base import Bus
from sessile.bus.memory import MemoryBus
from sessile.protocols.base import Protocol
from sessile.protocols.native import TurnStream
from sessile.store import sql
from sessile.store.base import Store
from sessile.store.sqlite import log as sqlite_log
from sessile.store.sqlite.store import SQLiteStore
from sessile.testing import BusSuite, ProtocolSuite, StoreSuite, Writer
from sessile.wire.codec import encode
from sessile.wire.errors import SettingsError
from sessile.wire.events import DeltaEvent
from sessile.wire.frames import Frame, singly
from sessile.wire.messages import Message
from sessile.wire.parts import Part, TextPart


class TestNativeProtocol(ProtocolSuite):
    @pytest.fixture
    def make_protocol(self) -> Callable[[], Protocol]:
        return lambda: TurnStream("question", "answer")


class TestSQLiteStore(StoreSuite):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SQLiteStore(tmp_path / "sessile.db")

    async def test_a_message_is_synced_and_a_token_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = SQLiteStore(tmp_path / "sessile.db")
        await store.open()
        synced: list[str] = []
        sync = os.fdatasync

        def watched(file: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{file}"))
            sync(file)

        monkeypatch.setattr("os.fdatasync", watched)
        writer = Writer(store, "s")
        counts: list[int] = []
        for durable in (True, False, True, False):
            change = writer.change(durable)
            if durable:
                writer.say(change, f"m{len(counts)}")
            writer.delta(change, "a", 0, "x")
            await writer.commit(change)
            counts.append(len(synced))
        assert counts == [1, 1, 2, 2]
        assert set(synced) == {str(tmp_path / "sessile.db-wal")}
        await store.close()

    def test_the_migrations_produce_the_schema(self) -> None:
        def described(*scripts: str) -> dict[str, Any]:
            database = apsw.Connection(":memory:")
            for script in scripts:
                database.execute(script)
            found: dict[str, Any] = {}
            for kind, name, made in database.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
            ):
                if kind == "table":
                    found[name] = set(
                        database.execute("SELECT * FROM pragma_table_xinfo(?)", (name,))
                    )
                    found[name] = {column[1:] for column in found[name]}
                else:
                    found[name] = " ".join(made.split())
            return found

        package = "sessile.store.sqlite"
        schema = (Path(sql.__file__).parent / "sqlite" / "schema.sql").read_text()
        assert described(*sql.migrations(package)) == described(schema)

    async def test_a_file_of_a_newer_schema_is_left_alone(self, tmp_path: Path) -> None:
        newer = len(sql.migrations("sessile.store.sqlite")) + 1
        database = apsw.Connection(str(tmp_path / "sessile.db"))
        database.execute(f"PRAGMA user_version = {newer}")
        database.close()
        with pytest.raises(SettingsError, match="newer Sessile"):
            await SQLiteStore(tmp_path / "sessile.db").open()

    async def test_a_file_of_an_older_schema_is_brought_up_to_date(self, tmp_path: Path) -> None:
        path = str(tmp_path / "sessile.db")
        parts: list[Part] = [TextPart("old words")]
        message = Message("m1", "user", "old words", parts, 1, 1, "complete")
        events = [Frame.of_message(message, encode(message), 1)]
        events.append(Frame.of(DeltaEvent(2, "a", 0, "text", 0, "two\nlines"), 2))
        database = apsw.Connection(path)
        for script in sql.migrations("sessile.store.sqlite")[:2]:
            database.execute(script)
        database.execute("PRAGMA user_version = 2")
        database.execute(
            "INSERT INTO sessions VALUES ('s', 'Title', 2, 1, 0, 1, 1, 1, 0, '{}', NULL, 0)"
        )
        database.execute(
            "INSERT INTO messages VALUES ('s', 1, 'm1', 1, 'user', 'complete', NULL, ?)",
            (encode(message),),
        )
        lines = b"\n".join(frame.data for frame in events)
        database.execute("INSERT INTO tail VALUES ('s', 2, 1, ?)", (lines,))
        database.close()
        store = SQLiteStore(path)
        await store.open()
        assert [frame.data for frame in singly(await store.events("s", 0) or [])] == [
            frame.data for frame in events
        ]
        assert [hit.message for hit in await store.search(["old"], 5)] == [message]
        await store.close()

    async def test_a_file_that_is_not_a_database_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "sessile.db"
        path.write_bytes(b"my diary, not a database\n" * 100)
        with pytest.raises(SettingsError, match="not a database"):
            await SQLiteStore(path).open()
        assert path.read_bytes().startswith(b"my diary")

    async def test_no_query_of_a_turn_or_a_page_scans_all_rows(self, tmp_path: Path) -> None:
        """G10: the cost does not grow with a session or with the number of sessions."""
        store = SQLiteStore(tmp_path / "sessile.db")
        await store.open()
        store.database.create_scalar_function("folded", lambda *text: text[0], 1)
        over_all = {
            "search",
            "delete_ownerless_texts",
            "unindexed",
            "tails",
            "exported",
            "exported_messages",
        }
        over_all |= {"store_id", "store_ids"}  # of one row
        over_all |= {
            "schema",
            "all_sessions",
            "all_tails",
            "ownerless",
            "misplaced",
            "empty_places",
            "ownerless_texts",
            "deleted_ahead",
        }  # checks
        sorts_turns = {"listed", "busy", "all_busy"}  # a few
        few = r"\(|CONSTANT|running|.*INDEX"
        for name, query in sql.queries("sessile.store.sqlite", first=3).items():
            numbered = [int(number) for number in re.findall(r"\?(\d+)", query)]
            values = [None] * (max(numbered) if numbered else query.count("?"))
            plan = [
                row[-1] for row in store.database.execute(f"EXPLAIN QUERY PLAN {query}", values)
            ]
            whole = [step for step in plan if re.match(rf"SCAN (?!{few})", step)]
            sorts = [step for step in plan if "TEMP B-TREE" in step]
            if name not in over_all:
                assert whole == [], (name, plan)
            if name not in over_all | sorts_turns:
                assert sorts == [], (name, plan)
        await store.close()

    def test_every_query_has_a_purpose_and_is_used(self) -> None:
        queries = sql.queries("sessile.store.sqlite")
        source = "".join(
            path.read_text() for path in (Path(sql.__file__).parent / "sqlite").glob("*.py")
        )
        assert {name for name in queries if f'"{name}"' not in source} == set()
        text = (Path(sql.__file__).parent / "sqlite" / "queries.sql").read_text()
        for name in queries:
            assert f"-- name: {name}\n-- " in text

    async def test_writers_that_wait_for_a_full_log_continue_after_a_checkpoint(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_log, "CHECKPOINT", 4)
        may_end = threading.Event()
        move = sqlite_log.Log._move

        def slow_move(log: sqlite_log.Log, mode: int) -> tuple[int, int]:
            moved = move(log, mode)
            assert may_end.wait(20)
            return moved

        monkeypatch.setattr(sqlite_log.Log, "_move", slow_move)
        store = SQLiteStore(tmp_path / "sessile.db")
        await store.open()
        writers = [Writer(store, f"s{index}") for index in range(40)]

        async def write(writer: Writer) -> None:
            for number in range(20):
                change = writer.change()
                writer.say(change, f"m{number}")
                await writer.commit(change)

        writing = [asyncio.create_task(write(writer)) for writer in writers]
        async with asyncio.timeout(20):
            while not store.writer.log.full:
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not all(task.done() for task in writing)
            # This write restarts the log, so it is no longer full.
            await store.tend()
            may_end.set()
            await asyncio.gather(*writing)
        assert len(await store.newest("s39", 100, None)) == 20
        await store.close()


class TestSQLiteStoreOnASlowDisk(StoreSuite):
    """Durable commits are synced in a thread."""

    @pytest.fixture
    def make_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Store]:
        monkeypatch.setattr(sqlite_log, "QUICK", -1)
        return lambda: SQLiteStore(tmp_path / "sessile.db")


class TestMemoryBus(BusSuite):
    @pytest.fixture
    async def bus(self) -> Bus:
        return MemoryBus()
