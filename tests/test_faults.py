"""Injected faults: a full disk, a disk that cannot be written, a paused process."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from bench.slow_disk import shim as build_shim
from tests.serving import (
    Client,
    Process,
    clean_environment,
    events,
    frames,
    kinds,
    process,
    text,
)

# A file system that only the server sees and that ends with it: nothing is left behind.
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=3m none "$1" && cd "$1" && shift && exec "$@"'
READ_ONLY = (
    'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$1" && shift && exec "$@"'
)


def in_a_mount_namespace(script: str, folder: Path) -> list[str | Path]:
    """A command that runs another one with a mount that only that one sees."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--mount", "bash", "-c", script, "-", folder]


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Process, None, None]:
    """A server with a disk of three megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with Process(tmp_path, within=in_a_mount_namespace(ON_A_SMALL_DISK, disk)) as server:
        yield server


async def test_a_failed_sync_acknowledges_nothing_and_the_server_recovers(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shim = {"LD_PRELOAD": str(build_shim(tmp_path)), "FAIL_SYNC": str(broken)}
    async with process(tmp_path, **shim) as (server, chat):
        await chat.send("s", "before")
        broken.touch()
        for _ in range(3):
            response = await chat.http.post("/chat/s", json={"content": "lost", "id": "lost"})
            assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        assert (await chat.http.get("/healthz")).status_code == 200
        assert (await chat.http.get("/readyz")).status_code == 503
        broken.unlink()
        assert (await chat.http.get("/readyz")).status_code == 200
        assert kinds(await chat.send("s", "again"))[0] == "ack"
        assert kinds(await chat.send("s", "lost", id="lost"))[0] == "ack"
        known = [message["content"] for message in await chat.messages("s")]
        server.kill()
    async with process(tmp_path) as (_, chat):
        assert [message["content"] for message in await chat.messages("s")] == known
        # The message without an acknowledgement was stored, and its turn goes on as after a crash.
        assert [known.count(text) for text in ("before", "again", "lost")] == [2, 2, 2]


async def test_a_slow_disk_gives_the_same_results_as_a_fast_disk(tmp_path: Path) -> None:
    shim = {"LD_PRELOAD": str(build_shim(tmp_path)), "SLOW_SYNC_MS": "5"}
    async with process(tmp_path, **shim) as (server, chat):
        await asyncio.gather(*(chat.send(f"s{n % 4}", f"{n}", id=f"m{n}") for n in range(40)))
        before = {n: await chat.messages(f"s{n}") for n in range(4)}
        assert [len(messages) for messages in before.values()] == [20] * 4
        server.kill()
    async with process(tmp_path) as (_, chat):
        assert {n: await chat.messages(f"s{n}") for n in range(4)} == before


def put_ballast(server: Process, folder: Path, size: int) -> Path:
    """Write a file of this size to the server's disk, from outside its mount namespace."""
    ballast = Path(f"/proc/{server.pid}/root{folder}/disk/ballast")
    ballast.write_bytes(b"x" * size)
    return ballast


async def test_a_full_disk_loses_nothing_and_the_server_recovers(
    small_disk: Process, tmp_path: Path
) -> None:
    chat = Client(small_disk.url)
    async with chat.http:
        ballast = put_ballast(small_disk, tmp_path, 1_000_000)
        stored: list[str] = []
        while True:
            id = f"m{len(stored)}"
            body = {"content": "x" * 20_000, "id": id}
            response = await chat.http.post("/sessions/s/messages", json=body)
            if response.status_code != 201:
                break
            stored.append(id)
            assert len(stored) < 1_000
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        response = await chat.http.post("/chat/other", json={"content": "x" * 20_000})
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")

        assert [m["id"] for m in await chat.messages("s", limit=200)] == stored
        assert await chat.messages("other") == []
        assert (await chat.http.get("/readyz")).status_code == 503

        ballast.unlink()
        assert (await chat.http.get("/readyz")).status_code == 200
        events = await chat.send("s", "again", id="again")
        assert events[-2].data["content"] == "again"
        response = await chat.http.post("/sessions/s/messages", json=body)
        assert response.status_code == 201
        assert [m["id"] for m in await chat.messages("s", limit=200)][: len(stored)] == stored
        head = (await chat.value("s"))["seq"]
        assert [e.id for e in await chat.follow("s", after=0, count=head)] == list(
            range(1, head + 1)
        )


async def test_sessions_can_be_deleted_when_the_disk_is_full(
    small_disk: Process, tmp_path: Path
) -> None:
    chat = Client(small_disk.url)
    async with chat.http:

        async def store(session: str) -> int:
            body = {"content": "some words " * 2_000}
            response = await chat.http.post(f"/sessions/{session}/messages", json=body)
            return response.status_code

        ballast = put_ballast(small_disk, tmp_path, 1_000_000)
        count = 0
        while await store(f"s{count % 10}") == 201:
            count += 1
            assert count < 1_000
        assert await store("s0") == 503
        (first, *_) = await chat.messages("s1", limit=1)
        deleted = await chat.http.delete(f"/sessions/s1/messages/{first['id']}")
        assert deleted.status_code == 204
        for index in range(2):
            assert (await chat.http.delete(f"/sessions/s{index}")).status_code == 204
        left = {session["id"] for session in (await chat.http.get("/sessions")).json()}
        assert left == {f"s{index}" for index in range(2, 10)}
        ballast.unlink()
        async with asyncio.timeout(30):
            while (await chat.http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.1)
        assert await store("again") == 201


async def test_a_disk_that_fills_up_during_an_answer_leaves_nothing_stuck(
    small_disk: Process, tmp_path: Path
) -> None:
    chat = Client(small_disk.url)
    async with chat.http:
        ballast = put_ballast(small_disk, tmp_path, 2_600_000)
        said = "word " * 8_000
        shown = await chat.stream("POST", "/chat/s", json={"content": said})
        assert kinds(shown)[-2:] == ["error", "done"]
        assert shown[-2].data["code"] == "store_unavailable"
        ballast.unlink()
        async with asyncio.timeout(20):
            while (await chat.value("s"))["status"] != "idle":
                await asyncio.sleep(0.1)
        question, answer = await chat.messages("s")
        assert question["content"] == said
        assert (answer["status"], answer["content"]) == ("complete", said)
        assert said.startswith(text(shown))
        assert (await chat.send("s", "again"))[-2].data["content"] == "again"


def test_a_disk_that_cannot_be_written_is_reported_at_startup(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command: list[str | Path] = [
        *in_a_mount_namespace(READ_ONLY, disk),
        sys.executable, "-m", "sessile", "serve", "--port", "0",
    ]  # fmt: skip
    ended = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == "sessile: cannot write the store sessile.db: Read-only file system\n"


async def test_a_server_that_is_paused_for_ten_seconds_continues(tmp_path: Path) -> None:
    with Process(tmp_path, "--echo-delay", "0.02") as server:
        chat = Client(server.url)
        said = " ".join(f"word{index}" for index in range(100))
        async with chat.http, chat.socket("s", ping_timeout=None) as socket:
            seen = []
            async with chat.http.stream("POST", "/chat/s", json={"content": said}) as response:
                async for event in events(response):
                    seen.append(event)
                    if len(seen) == 10:
                        server.signal(signal.SIGSTOP)
                        late = asyncio.create_task(
                            chat.http.post("/sessions/s/messages", json={"content": "meanwhile"})
                        )
                        await asyncio.sleep(10)
                        assert not late.done()
                        server.signal(signal.SIGCONT)
            assert text(seen) == said
            assert kinds(seen)[-2:] == ["assistant", "done"]
            assert (await late).status_code == 201
            numbers = [frame["seq"] for frame in await frames(socket)]
            assert numbers == list(range(len(numbers)))
