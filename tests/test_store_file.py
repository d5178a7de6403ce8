"""The files of the embedded store, when others touch them."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw
import pytest

from sessile import create_app
from sessile.store.sqlite.store import SQLiteStore
from sessile.testing.writer import Writer
from sessile.wire.errors import SettingsError
from tests.serving import Client, Process, client_of, serving


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    with Process(tmp_path):
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in tmp_path.iterdir()
            if path.name.startswith("sessile.db")
        }
    assert {"sessile.db", "sessile.db-wal", "sessile.db-shm"} <= set(modes)
    assert set(modes.values()) == {0o600}


async def refused(path: Path) -> str:
    """Why the store cannot be opened."""
    with pytest.raises(SettingsError) as error:
        await SQLiteStore(path).open()
    return str(error.value)


async def test_a_second_server_is_refused_by_whatever_name_it_opens_the_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "folder" / "link.db"
    link.symlink_to("../sessile.db")
    with Process(tmp_path):
        for name in (tmp_path / "sessile.db", link):
            assert await refused(name) == f"the store {name} is in use by another server"
    store = SQLiteStore(link)
    await store.open()
    assert await refused(tmp_path / "sessile.db")
    assert (tmp_path / "sessile.db-wal").exists(), "SQLite's files are beside the database"
    await store.close()
    assert os.listdir(link.parent) == ["link.db"]


async def test_a_file_with_two_names_is_refused(tmp_path: Path) -> None:
    with Process(tmp_path):
        pass
    (tmp_path / "copies").mkdir()
    other = tmp_path / "copies" / "sessile.db"
    other.hardlink_to(tmp_path / "sessile.db")
    for name in (other, tmp_path / "sessile.db"):
        assert "has 2 names (hard links)" in await refused(name)


async def test_the_database_of_another_program_is_refused_and_not_changed(tmp_path: Path) -> None:
    for name, statement in (
        ("tables", "CREATE TABLE theirs (x)"),
        ("application", "PRAGMA application_id = 77"),
    ):
        path = tmp_path / name
        database = apsw.Connection(str(path))
        database.execute(statement)
        database.close()
        before = path.read_bytes()
        assert await refused(path) == f"the store {path} is the database of another program"
        assert path.read_bytes() == before
    (tmp_path / "empty").touch()
    store = SQLiteStore(tmp_path / "empty")
    await store.open()
    await store.close()


async def test_a_folder_is_refused_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "s.db").mkdir()
    assert (
        await refused(tmp_path / "s.db") == f"cannot use the store {tmp_path}/s.db: it is a folder"
    )
    assert os.listdir(tmp_path) == ["s.db"]


async def test_while_another_process_writes_the_others_are_served(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("other", "before")
        other = apsw.Connection(str(tmp_path / "sessile.db"))
        other.execute("BEGIN IMMEDIATE")
        sending = asyncio.create_task(chat.send("s", "waits"))
        for _ in range(20):
            assert len(await chat.messages("other")) == 2
            assert (await chat.http.get("/readyz")).status_code == 200
        assert not sending.done()
        other.execute("ROLLBACK")
        assert (await sending)[-2].data["content"] == "waits"
        other.close()


async def test_a_process_that_does_not_stop_writing_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("s", "before")
        other = apsw.Connection(str(tmp_path / "sessile.db"))
        other.execute("BEGIN IMMEDIATE")
        response = await chat.http.post("/chat/s", json={"content": "refused"})
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        other.execute("ROLLBACK")
        other.close()
        assert (await chat.send("s", "after"))[-2].data["content"] == "after"
        assert [m["content"] for m in await chat.messages("s")] == ["before"] * 2 + ["after"] * 2


@pytest.mark.parametrize("name", ["sessile.db-wal", "sessile.db"])
async def test_a_server_whose_files_were_removed_says_so_and_refuses(
    tmp_path: Path, name: str
) -> None:
    """What was acknowledged before is in the database, if that is still there."""
    with Process(tmp_path) as server:
        async with client_of(server) as chat:
            for number in range(5):
                await chat.send("s", str(number))
            (tmp_path / name).unlink()
            await is_refused(chat)
            assert (await chat.http.get("/readyz")).status_code == 503
            assert (await chat.http.get("/healthz")).status_code == 200
            await is_moved(tmp_path, name)
        server.kill()
    for end in ("-wal", "-shm"):
        (tmp_path / f"sessile.db{end}").unlink(missing_ok=True)
    with Process(tmp_path) as again:
        async with client_of(again) as chat:
            kept = [m["content"] for m in await chat.messages("s")]
    # The message without an acknowledgement may be there, as after a crash.
    expected = [str(number) for number in range(5) for _ in range(2)]
    assert kept[: len(expected)] == (expected if name == "sessile.db-wal" else [])


async def is_refused(chat: Client) -> None:
    response = await chat.http.post("/chat/s", json={"content": "lost"})
    assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")


async def is_moved(folder: Path, name: str) -> None:
    """Wait until what was in the removed log is in the database."""
    if name != "sessile.db-wal":
        return
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(count_messages, folder):
            await asyncio.sleep(0.01)


def count_messages(folder: Path) -> int:
    copied = folder / "copied.db"
    copied.write_bytes((folder / "sessile.db").read_bytes())
    database = apsw.Connection(str(copied))
    try:
        database.execute("PRAGMA journal_mode = DELETE")
        tables = database.execute("SELECT count(*) FROM sqlite_schema").get
        return int(database.execute("SELECT count(*) FROM messages").get) if tables else 0
    finally:
        database.close()
        os.unlink(copied)


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite:///file::memory:?cache=shared"])
def test_a_store_in_memory_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="would keep nothing"):
        create_app(store=url)


async def test_a_file_system_without_shared_memory_is_refused(tmp_path: Path) -> None:
    """There SQLite keeps another kind of journal."""
    apsw.set_default_vfs("unix-dotfile")
    try:
        with pytest.raises(SettingsError, match="cannot keep a write-ahead log") as refused:
            await SQLiteStore(tmp_path / "sessile.db").open()
    finally:
        apsw.set_default_vfs("unix")
    assert "put it on a local disk" in str(refused.value)
    assert "sessile.db" not in os.listdir(tmp_path)
    assert "sessile.db-journal" not in os.listdir(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
async def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.fcntl", refuse)
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(SettingsError, match="its file system has no locks"):
        await SQLiteStore(tmp_path / "sessile.db").open()
    assert os.listdir(tmp_path) == []


async def test_a_new_store_has_no_deleted_texts_to_take_out_of_its_log(tmp_path: Path) -> None:
    """To empty the log keeps writers waiting."""
    path = tmp_path / "sessile.db"
    for wiped in (0, 1):
        store = SQLiteStore(path)
        await store.open()
        with patch.object(store.writer.log, "wipe") as wipe:
            await store.tend()
            assert wipe.call_count == wiped
        await Writer(store, f"s{wiped}").fill(1)
        await store.close()
        os.unlink(f"{path}-reserve")  # as where the disk was full, and something deleted
