"""`sessile check` and `sessile backup`, on damaged stores and beside a server that writes."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from sessile.store import sql
from sessile.store.sqlite.place import DatabaseFile
from tests.operating import damage, files, run
from tests.serving import LONG, Client, Process, clean_environment, process, serving
from tests.test_faults import in_a_mount_namespace

pytestmark = pytest.mark.timeout(180)  # many processes start

# Check --------------------------------------------------------------------------------------------


def test_a_whole_store_has_no_faults(store: Path) -> None:
    before = files(store)
    ended = run(store, "check")
    assert ended.stdout == "sqlite:///sessile.db: no faults in 2 sessions, 6 messages\n"
    assert (ended.returncode, ended.stderr) == (0, "")
    assert files(store) == before, "nothing was created or changed"


OF_A = "session = (SELECT number FROM sessions WHERE id = 'a')"
OF_B = "session = (SELECT number FROM sessions WHERE id = 'b')"
DAMAGES = {
    f"UPDATE messages SET body = x'7b' WHERE {OF_B}": "its body cannot be read: Input data",
    "UPDATE sessions SET metadata = 'x' WHERE id = 'b'": "session b: its row cannot be read",
    """INSERT INTO running SELECT number, seq, message_count, updated_at, activity, x'7b7d', NULL
    FROM sessions WHERE id = 'b'""": "session b: its row cannot be read",
    "UPDATE sessions SET seq = 'x' WHERE id = 'b'": "session b: its row cannot be read",
    "UPDATE messages SET status = 'queued' WHERE reply_to <> ''": "its body and its row differ",
    "UPDATE messages SET changed = 900": "do not fit the session's number",
    "UPDATE sessions SET message_count = 5 WHERE id = 'b'": (
        "session b: its message count is 5, but it has 2 messages"
    ),
    "UPDATE sessions SET queued = 1 WHERE id = 'b'": (
        "session b: 1 messages are counted as queued, but 0 are"
    ),
    f"""UPDATE messages SET status = 'streaming',
    body = CAST(json_set(CAST(body AS TEXT), '$.status', 'streaming') AS BLOB)
    WHERE {OF_B} AND role = 'assistant'""": "it is being written, but no turn runs",
    """UPDATE messages SET body = CAST(replace(
    CAST(body AS TEXT), '"state":"complete"', '"state":"running"') AS BLOB)""": (
        "is running, but no turn runs"
    ),
    f"DELETE FROM tail WHERE last > 2 AND {OF_B}": "session b: its newest event is 2",
    f"""DELETE FROM tail WHERE {OF_A} AND last > 2
    AND last < (SELECT seq FROM sessions WHERE id = 'a')""": "session a: its events 3 to ",
    "UPDATE tail SET events = '[' WHERE last = 2": "its events 1 to 2 cannot be read",
    "UPDATE tail SET events = '[]' WHERE last = 2": "its events 1 to 2 have other numbers",
    "UPDATE sessions SET seq = 900 WHERE id = 'b'": "but its number is 900",
    "DELETE FROM sessions WHERE id = 'b'": "does not exist, but has messages",
    "UPDATE messages SET private = '{' WHERE reply_to <> ''": "what agents have of it cannot be read",
    "INSERT INTO records SELECT number, 'x' FROM sessions WHERE id = 'b'": (
        "session b: what its agent keeps with its answer cannot be read"
    ),
    "INSERT INTO running VALUES (900, 1, 1, 1, 1, x'7b7d', NULL)": "does not exist, but has a turn",
    "INSERT INTO deletions SELECT number, 900, 'x' FROM sessions WHERE id = 'b'": (
        "session b, message x: its deletion 900 is ahead of the session"
    ),
    f"DELETE FROM places WHERE {OF_B} AND NOT changed": "it is not where it stands in the history",
    f"DELETE FROM places WHERE {OF_B} AND NOT stands": "it is not where it stands in the history",
    f"DELETE FROM messages WHERE {OF_B} AND role = 'user'": "has no message at its place 1",
    "INSERT INTO places VALUES (1, 900, 1, 0, 1)": "has no message at its place 900",
    "DELETE FROM search WHERE rowid = 1": "it is missing in the full-text index",
    "UPDATE search SET content = 'other' WHERE rowid = 1": (
        "it has another text in the full-text index"
    ),
    "INSERT INTO search (rowid, content) VALUES (900, 'x')": "which no message has",
    "DELETE FROM search_data WHERE id > 10": "SQLite: ",
    "DROP INDEX messages_queued": "the index messages_queued is missing",
    "PRAGMA application_id = 0": "the application id is 0, not 6182174",
    "DELETE FROM store": "the store has 0 ids, not one",
}


@pytest.mark.parametrize("statement", DAMAGES)
def test_a_check_finds(store: Path, statement: str) -> None:
    damage(store, statement)
    before = files(store)
    ended = run(store, "check")
    assert (ended.returncode, ended.stderr) == (1, "")
    *faults, summary = ended.stdout.splitlines()
    assert any(DAMAGES[statement] in fault for fault in faults), ended.stdout
    assert f"sqlite:///sessile.db: {len(faults)} fault" in summary
    assert files(store) == before


async def test_what_the_index_has_not_caught_up_with_is_not_a_fault(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("a", "not searched for")
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    database.execute("DELETE FROM search")
    database.close()
    assert run(tmp_path, "check").returncode == 0


def test_a_page_of_the_file_that_is_damaged(store: Path) -> None:
    database = apsw.Connection(str(store / "sessile.db"))
    page = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'").get
    database.close()
    with (store / "sessile.db").open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(b"\xff" * 4096)
    ended = run(store, "check")
    assert ended.returncode == 1
    assert "SQLite" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_not_a_database_or_is_empty(tmp_path: Path) -> None:
    (tmp_path / "sessile.db").write_bytes(b"not a database, but a text of some length" * 100)
    assert "SQLite cannot read the file" in run(tmp_path, "check").stdout
    (tmp_path / "sessile.db").write_bytes(b"")
    ended = run(tmp_path, "check")
    assert (ended.returncode, ended.stdout.splitlines()[0]) == (
        1,
        "the file is empty: no server has used it",
    )


@pytest.mark.parametrize("command", [["check"], ["backup", "copy.db"]])
def test_a_store_that_cannot_be_used(store: Path, command: list[str]) -> None:
    def refused(url: str) -> str:
        before = files(store)
        ended = run(store, *command, "--store", url)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert files(store) == before
        return ended.stderr

    assert refused("sqlite:///no.db") == "sessile: the store no.db does not exist\n"
    assert "unknown store mongodb://x" in refused("mongodb://x")
    assert (
        refused(f"sqlite:///{store}") == f"sessile: cannot read the store {store}: it is a folder\n"
    )
    damage(store, "PRAGMA user_version = 99")
    assert "was written by a newer Sessile" in refused("sqlite:///sessile.db")
    damage(store, "PRAGMA application_id = 77")
    assert "is the database of another program" in refused("sqlite:///sessile.db")


async def test_check_and_backup_after_a_crash_change_no_file(tmp_path: Path) -> None:
    """What is in the log is read; with and without the log's index beside it."""
    async with process(tmp_path) as (server, chat):
        await chat.send("a", "in the log")
        server.kill()
    for copy in ("one.db", "two.db"):
        before = files(tmp_path)
        assert "no faults in 1 session, 2 messages" in run(tmp_path, "check").stdout
        ended = run(tmp_path, "backup", copy)
        assert "1 session, 2 messages" in ended.stdout, ended.stderr
        assert set(files(tmp_path)) - set(before) == {copy}
        assert {name: found for name, found in files(tmp_path).items() if name in before} == before
        (tmp_path / "sessile.db-shm").unlink(missing_ok=True)


async def test_a_store_of_an_older_sessile_is_copied_and_only_its_file_is_checked(
    tmp_path: Path,
) -> None:
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    database.execute(sql.migrations("sessile.store.sqlite")[0])
    database.execute("PRAGMA user_version = 1")
    database.close()
    for command in (["check"], ["backup", "copy.db"]):
        ended = run(tmp_path, *command)
        assert ended.returncode == 0, ended.stderr
        assert "only the file was checked: an older Sessile wrote it (schema 1)" in ended.stdout
    async with serving(tmp_path, store=f"sqlite:///{tmp_path}/copy.db") as chat:
        await chat.send("s", "x")


# Beside a server ----------------------------------------------------------------------------------


async def write(chat: Client, writer: int, acknowledged: list[tuple[str, str]]) -> None:
    for number in range(1_000_000):
        session, id = f"s{writer}-{number % 5}", f"m{writer}-{number}"
        await chat.send(session, f"words {number} [[tool]]", id=id)
        acknowledged.append((session, id))


async def test_backup_and_check_beside_a_server_that_writes_all_the_time(tmp_path: Path) -> None:
    """Every message that was acknowledged before the backup is in it."""
    acknowledged: list[tuple[str, str]] = []
    async with process(tmp_path, "--echo-delay", "0.001") as (server, chat):
        await chat.stream("POST", "/chat/approval", json={"content": "x"})
        writing = [asyncio.create_task(write(chat, n, acknowledged)) for n in range(8)]
        while len(acknowledged) < 50:
            await asyncio.sleep(0.05)
        for turn in range(2):
            checked = await asyncio.to_thread(run, tmp_path, "check")
            assert "no faults in " in checked.stdout, checked.stdout
            before = list(acknowledged)
            ended = await asyncio.to_thread(run, tmp_path, "backup", f"copy{turn}.db")
            assert ended.returncode == 0, ended.stderr
            assert len(acknowledged) > len(before), "the server went on"
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        assert server.terminate() == 0
    assert "no faults in " in run(tmp_path, "check").stdout
    copy = tmp_path / "copy1.db"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert "no faults" in run(tmp_path, "check", "--store", "sqlite:///copy1.db").stdout
    assert not [name for name in os.listdir(tmp_path) if name.startswith("copy1.db-")]
    database = apsw.Connection(str(copy))
    stored = set(
        database.execute(
            "SELECT sessions.id, messages.id FROM messages JOIN sessions ON number = session"
        )
    )
    database.close()
    assert set(before) <= stored
    async with process(tmp_path, "--store", "sqlite:///copy1.db") as (_, chat):
        session, id = before[-1]
        assert id in [message["id"] for message in await chat.messages(session, limit=200)]
        assert (await chat.send(session, "again"))[-2].data["content"] == "again"


async def test_a_server_that_is_killed_under_load_leaves_no_faults(tmp_path: Path) -> None:
    for _ in range(3):
        acknowledged: list[tuple[str, str]] = []
        async with process(tmp_path, "--echo-delay", "0.001") as (server, chat):
            first = server.pid * 100
            writing = [asyncio.create_task(write(chat, first + n, acknowledged)) for n in range(8)]
            while len(acknowledged) < 50:
                await asyncio.sleep(0.02)
            server.kill()
            await asyncio.gather(*writing, return_exceptions=True)
        assert "no faults in " in run(tmp_path, "check").stdout


async def test_a_backup_during_a_turn_has_the_turn_as_a_crash_would_leave_it(
    tmp_path: Path,
) -> None:
    async with process(tmp_path, "--echo-delay", "0.01") as (_, chat):
        await chat.http.post("/chat/s", json={"content": "first"})
        sending = asyncio.create_task(chat.send("s", LONG + "[[tool]]"))
        await chat.follow("s", after=0, count=20)
        ended = await asyncio.to_thread(run, tmp_path, "backup", "copy.db")
        assert ended.stdout.startswith("copy.db: "), ended.stderr
        await chat.stop("s")
        await sending
    assert run(tmp_path, "check", "--store", "sqlite:///copy.db").returncode == 0
    flags = ("--store", "sqlite:///copy.db", "--on-crash", "mark")
    async with process(tmp_path, *flags) as (_, chat):
        assert (await chat.messages("s"))[-1]["status"] == "interrupted"


async def test_check_and_backup_leave_the_lock_to_the_servers(tmp_path: Path) -> None:
    with Process(tmp_path):
        assert run(tmp_path, "check").returncode == 0
        assert run(tmp_path, "backup", "copy.db").returncode == 0
        assert DatabaseFile(tmp_path / "sessile.db").is_taken()
    assert not DatabaseFile(tmp_path / "sessile.db").is_taken()
    with Process(tmp_path):
        pass


# Backup -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["copy.db", "copy.db-wal", "copy.db-journal"])
def test_a_backup_overwrites_nothing(store: Path, name: str) -> None:
    """A log of an earlier database of that name would become a part of the copy."""
    (store / name).write_text("mine")
    before = files(store)
    ended = run(store, "backup", "copy.db")
    assert (ended.returncode, ended.stdout) == (1, "")
    says = "exists already; remove it, or give another name"
    assert ended.stderr == f"sessile: {name} {says}\n"
    assert files(store) == before


def test_a_backup_into_a_folder_that_is_missing(store: Path) -> None:
    ended = run(store, "backup", "no/copy.db")
    says = "sessile: cannot write no/copy.db: No such file or directory\n"
    assert (ended.returncode, ended.stderr) == (1, says)
    ended = run(store, "backup", ".")
    assert "is a folder; give the name of a file" in ended.stderr


def test_a_store_with_faults_gives_no_backup(store: Path) -> None:
    damage(store, "UPDATE sessions SET queued = 3")
    before = files(store)
    ended = run(store, "backup", "copy.db")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "session b: 3 messages are counted as queued" in ended.stderr
    assert "No backup was written" in ended.stderr
    assert files(store) == before


@pytest.fixture
def large(store: Path) -> Path:
    """A store of 40 MB that has no faults of its file."""
    rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) "
    damage(store, f"CREATE TABLE ballast AS {rows} SELECT randomblob(4000) AS x FROM n")
    return store


SMALL_DISK = 'mount -t tmpfs -o size=4m none "$1" && shift && "$@"; s=$?; ls disk; exit $s'


def test_a_backup_to_a_full_disk_leaves_nothing(large: Path) -> None:
    (large / "disk").mkdir()
    within = in_a_mount_namespace(SMALL_DISK, large / "disk")
    ended = run(large, "backup", "disk/copy.db", within=within)
    assert ended.returncode == 1
    assert ended.stdout == "", "no file is on the disk"
    assert ended.stderr.startswith("sessile: cannot write disk/copy.db")
    assert ended.stderr.count("\n") == 1


def test_a_backup_that_is_killed_leaves_no_file_and_the_next_one_cleans_up(large: Path) -> None:
    part = large / "copy.db.sessile-part"
    for number in (signal.SIGINT, signal.SIGKILL):
        while _killed_in_the_middle(large, part, number) == 0:  # it was done before
            (large / "copy.db").unlink()
        assert not (large / "copy.db").exists()
        assert part.exists() == (number == signal.SIGKILL)
    part.write_bytes(b"rest of a backup" * 10_000_000)
    (large / "copy.db.sessile-part-wal").write_bytes(b"rest")
    ended = run(large, "backup", "copy.db")
    assert ended.returncode == 0, ended.stderr
    assert [name for name in os.listdir(large) if "part" in name] == []
    assert run(large, "check", "--store", "sqlite:///copy.db").returncode == 0


def _killed_in_the_middle(folder: Path, part: Path, number: signal.Signals) -> int:
    backup = subprocess.Popen(
        [sys.executable, "-m", "sessile", "backup", "copy.db"],
        cwd=folder,
        env=clean_environment(),
        stderr=subprocess.DEVNULL,
    )
    while not (part.exists() and part.stat().st_size) and backup.poll() is None:
        time.sleep(0.001)
    backup.send_signal(number)
    return backup.wait(30)


def test_two_backups_to_one_file_do_not_disturb_each_other(store: Path) -> None:
    backups = [
        subprocess.Popen(
            [sys.executable, "-m", "sessile", "backup", "copy.db"],
            cwd=store,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [backup.communicate(timeout=60)[1] for backup in backups]
    assert sorted(backup.returncode for backup in backups) == [0, 1, 1], said
    assert run(store, "check", "--store", "sqlite:///copy.db").returncode == 0
