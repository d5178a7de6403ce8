"""A store of an older schema is brought up to date: whole, or not at all."""

import random
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from sessile.store import sql
from sessile.store.base import Store
from sessile.store.sqlite.store import SQLiteStore
from sessile.wire.errors import SettingsError
from sessile.wire.frames import singly
from sessile.wire.messages import decode_message
from tests.older import EDITED, SCHEMA, messages_of, older_store
from tests.operating import run
from tests.serving import clean_environment, process
from tests.test_faults import in_a_mount_namespace

pytestmark = pytest.mark.timeout(900)  # with --thorough, of a million messages

NEWEST = len(sql.migrations("sessile.store.sqlite"))
TURNS = 3


def version(path: Path) -> tuple[int, int]:
    """The schema of a store, and how many messages it has."""
    database = apsw.Connection(str(path))
    found = database.execute("PRAGMA user_version").get
    count = database.execute("SELECT count(*) FROM messages").get
    database.close()
    return found, count


async def check_session(store: Store, id: str, turns: int) -> None:
    """The session of this id is as it was before."""
    expected = list(messages_of(id, turns))
    row = await store.row(id)
    assert row is not None
    assert (row.title, row.seq, row.epoch) == (f"Title of {id}", 4 * turns + EDITED, 7)
    assert (row.metadata, row.private, row.message_count) == ({"a": 1}, {"b": 2}, len(expected))
    page = await store.newest(id, 100, None)
    assert [(decode_message(body), changed) for _, changed, body in page[::-1]] == expected
    in_order = sorted(expected, key=lambda one: one[1])
    found = await store.changed(id, 100, 0)
    assert [decode_message(body.body).id for body in found] == [one.id for one, _ in in_order]
    for message, _ in expected:
        assert await store.message(id, message.id) == message
    assert await store.answer(id, expected[0][0]) == expected[1][0]
    assert await store.last_answer(id) == expected[-1][0]
    gone = [(4 * turns + 1, f"{id}-q1"), (4 * turns + 2, f"{id}-a1")]
    assert await store.deleted(id, 0) == gone
    assert await store.was_deleted(id, f"{id}-q1")


async def test_nothing_is_lost_by_an_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "sessile.db"
    older_store(path, 30, TURNS)
    assert version(path)[0] == SCHEMA
    store = SQLiteStore(path)
    await store.open()
    for number in range(29):
        await check_session(store, f"s{number:06}", TURNS)
    assert await store.listed(3, None, None, None) == ["running", "s000028", "s000027"]
    row = await store.row("running")
    assert row is not None
    assert row.running is not None
    assert (row.seq, row.queued, row.running.answer) == (6, 1, "a")
    assert await store.busy(0) == ["running"]
    assert [message.id for message in await store.queue("running")] == ["w"]
    kept = list(singly(await store.events("running", 0) or ()))
    assert [frame.seq for frame in kept] == list(range(1, 7))
    assert b'"text":"said"' in kept[3].data
    hits = await store.search(["answer", "s000007"], 10)
    assert {hit.session for hit in hits} == {"s000007"}
    await store.close()
    assert version(path) == (NEWEST, 29 * 4 + 2)
    assert run(tmp_path, "check").stdout.endswith("no faults in 30 sessions, 118 messages\n")


async def test_what_ran_and_what_waits_goes_on_after_an_upgrade(tmp_path: Path) -> None:
    older_store(tmp_path / "sessile.db", 2, TURNS)
    async with process(tmp_path) as (_, chat):
        while (await chat.value("running"))["status"] != "idle":
            pass
        found = await chat.messages("running")
        assert [(m["content"], m["status"]) for m in found] == [
            ("asked", "complete"),
            ("half said", "interrupted"),
            ("waits", "complete"),
            ("waits", "complete"),
        ]
        assert (await chat.send("s000000", "more"))[-2].data["content"] == "more"


def kill_in_the_middle(folder: Path, delay: float) -> None:
    """Kill a server so many seconds after it says that it brings the store up to date."""
    log = folder / "upgrade.log"
    with log.open("wb") as errors:
        command = [sys.executable, "-m", "sessile", "serve", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, env=clean_environment(), stderr=errors)
        while b"brought up to date" not in log.read_bytes() and server.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        server.kill()
        server.wait()


async def test_an_upgrade_that_is_killed_in_the_middle_starts_again(
    tmp_path: Path, thorough: int
) -> None:
    """With ``--thorough 10`` the store has a million messages, and it is measured."""
    sessions, turns = (1_000, 14) if thorough < 10 else (20_000, 27)
    path = tmp_path / "sessile.db"
    older_store(path, sessions, turns)
    before = version(path)
    killed = 0
    for delay in (0.0, 0.02, 0.1, random.uniform(0, 0.3)):
        kill_in_the_middle(tmp_path, delay)
        killed += version(path) == before
    assert killed, "it was killed before its end at least once"
    store = SQLiteStore(path)
    begin = time.monotonic()
    await store.open()
    took = time.monotonic() - begin
    print(f"{before[1]:,} messages were brought up to date in {took:.1f} s")
    for number in (0, sessions // 2, sessions - 2):
        await check_session(store, f"s{number:06}", turns)
    await store.close()
    schema, count = version(path)
    assert schema == NEWEST
    # A server that was killed later has settled what ran, and answered what waited.
    assert count - before[1] in (0, 1, 2)
    assert run(tmp_path, "check").returncode == 0


ON_A_FULL_DISK = """
mount -t tmpfs -o size=4m none "$1" && mv sessile.db "$1" && cd "$1" && shift && "$@"
code=$?
mv sessile.db* ..
exit $code
"""


async def test_an_upgrade_on_a_disk_that_is_full_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sessile.db"
    older_store(path, 100, 20)
    database = apsw.Connection(str(path))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    before = version(path)
    (tmp_path / "disk").mkdir()
    within = in_a_mount_namespace(ON_A_FULL_DISK, tmp_path / "disk")
    ended = run(tmp_path, "serve", "--port", "0", within=within)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "sessile: the disk has no room to bring the store sessile.db up to date; it is as it was"
    )
    assert version(path) == before
    assert run(tmp_path, "check").returncode == 0
    store = SQLiteStore(path)
    await store.open()
    await check_session(store, "s000042", 20)
    await store.close()


async def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sessile.db"
    older_store(path, 2, TURNS)
    database = apsw.Connection(str(path))
    database.execute(f"PRAGMA user_version = {NEWEST + 1}")
    database.close()
    with pytest.raises(SettingsError, match="newer Sessile"):
        await SQLiteStore(path).open()


async def test_approvals_of_an_older_store_become_questions(tmp_path: Path) -> None:
    path = tmp_path / "sessile.db"
    database = apsw.Connection(str(path))
    for script in sql.migrations("sessile.store.sqlite")[:7]:
        database.execute(script)
    database.execute("PRAGMA user_version = 7")
    row = (1, "s", "t", 4, 3, 0, 1, 1, 1, 0, b"{}", b"{}", 7, 0, 0)
    database.execute(f"INSERT INTO sessions VALUES ({', '.join('?' * len(row))})", row)
    mine = '{"approval":{"id":"mine","state":"asked"},"n":12345678901234567890.50,"e":1e400}'
    call = (
        '{"type":"tool-call","toolCallId":"1","toolName":"pay","toolInput":%s,"state":"error",'
        '"error":"no \\u00e9 \\"approval\\":{","approval":{"id":"a.1","state":"%s"}}'
    )
    text = '{"type":"text","content":"\\"approval\\":{ ü \\ud83d\\ude00"}'
    bodies = {
        "a": f"[{text},{call % (mine, 'denied')},{call % ('{}', 'asked')}]",
        "b": f"[{text}]",
        "broken": '[{"approval":{',
    }
    for seq, (id, parts) in enumerate(bodies.items(), 2):
        body = (
            f'{{"id":"{id}","role":"assistant","content":"x","parts":{parts},'
            f'"createdAt":1,"seq":{seq},"status":"complete","replyTo":"q"}}'
        )
        values = (seq, 1, seq, id, seq, "assistant", "complete", "q", body.encode(), None)
        database.execute(f"INSERT INTO messages VALUES ({', '.join('?' * len(values))})", values)
        database.execute("INSERT INTO places VALUES (1, ?, ?, 1, 1)", (seq, seq))
        bodies[id] = body
    database.close()
    store = SQLiteStore(path)
    await store.open()
    found = {body.seq: body.body.decode() for body in await store.newest("s", 10, None)}
    asked = '"approval":{"id":"a.1","state":"%s"}'
    question = '"question":{"id":"a.1","kind":"approval","state":"%s"}'
    expected = bodies["a"]
    for former, state in (("denied", "denied"), ("asked", "expired")):
        expected = expected.replace(asked % former, question % state)
    assert found == {2: expected, 3: bodies["b"], 4: bodies["broken"]}, "all else stays as it is"
    message = decode_message(found[2].replace("1e400", "1").encode())
    assert message.parts[1].question.state == "denied"  # type: ignore[union-attr]
    await store.close()
