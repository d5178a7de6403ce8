"""Everything at once for a minute: turns, watchers, floods, bad imports, searches, deletions, and
`kill -9` at the end."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import httpx2
import pytest

from tests.serving import Client, Process, client_of, events, kinds, text
from tests.test_guard import FLOODS, connected, memory, read_all
from tests.test_imports import BOMBS, HARMFUL, database

SECONDS = 60
PAUSE = 0.1  # seconds: other tests run on the same two cores
GROWTH = 64 * 1024 * 1024  # bytes, from a third of the time on
FLAGS = ("--head-timeout", "2", "--body-timeout", "2", "--send-timeout", "3")


class Everything:
    """What clients do, and what they were promised while they did it."""

    def __init__(self, server: Process, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.over = asyncio.Event()
        self.shown: dict[tuple[str, str], str] = {}  # (session, message): its text
        self.counts: dict[str, int] = {}

    async def forever(self, work: Callable[[Client], Awaitable[None]]) -> None:
        """Do it again and again, until the server is killed."""
        async with client_of(self.server) as client:
            while not self.over.is_set():
                try:
                    await work(client)
                except (httpx2.HTTPError, OSError, asyncio.IncompleteReadError):
                    if not self.over.is_set():
                        raise
                await asyncio.sleep(PAUSE)
                name = work.__name__
                self.counts[name] = self.counts.get(name, 0) + 1

    async def turns(self, client: Client) -> None:
        session = f"s{random.randrange(8)}"
        said = " ".join(f"word{random.randrange(1000)}" for _ in range(30))
        async with client.http.stream("POST", f"/chat/{session}", json={"content": said}) as turn:
            assert turn.status_code in (200, 429)
            seen = []
            async for event in events(turn):
                seen.append(event)
                if event.data["type"] == "ack":
                    self.shown[session, event.data["message"]["id"]] = said
                elif event.data["type"] == "delta":
                    place = (session, event.data["messageId"])
                    self.shown[place] = self.shown.get(place, "") + event.data["text"]
        if turn.status_code == 200:
            assert kinds(seen)[-1] == "done"
            assert text(seen) == said

    async def watchers(self, client: Client) -> None:
        session = f"s{random.randrange(8)}"
        async with client.http.stream("GET", f"/chat/{session}/events?after=0") as stream:
            last = 0
            async for event in events(stream):
                if event.id is not None:
                    assert event.id > last
                    last = event.id
                if random.random() < 0.002:
                    return

    async def pages(self, client: Client) -> None:
        session = f"s{random.randrange(8)}"
        await client.messages(session, limit=50)
        format = random.choice(["json", "markdown", "sqlite"])
        await client.http.get(f"/sessions/{session}/export?format={format}")
        assert (await client.http.get("/sessions")).status_code == 200

    async def searches(self, client: Client) -> None:
        words = " ".join(
            f"word{random.randrange(1000)}"[: random.randrange(1, 8)] for _ in range(3)
        )
        response = await client.http.get("/search", params={"q": words})
        assert response.status_code in (200, 503)
        await asyncio.sleep(0.1)

    async def deletions(self, client: Client) -> None:
        session = f"gone{random.randrange(4)}"
        await client.http.post(f"/sessions/{session}/messages", json={"content": "x" * 10_000})
        await client.http.delete(f"/sessions/{session}")
        await asyncio.sleep(0.05)

    async def floods(self, client: Client) -> None:
        start, pieces, _ = FLOODS[random.choice(list(FLOODS))]
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(5), connected(self.server) as (reader, writer):
                reading = asyncio.create_task(read_all(reader))
                for piece in [start, *pieces[:16]]:
                    writer.write(piece)
                    await writer.drain()
                await reading

    async def idlers(self, client: Client) -> None:
        async with connected(self.server) as (reader, writer):
            writer.write(random.choice([b"", b"GET /", b"POST /chat/s HTTP/1.1\r\nHost: loc"]))
            await read_all(reader)

    async def imports(self, client: Client) -> None:
        if random.random() < 0.5:
            path = self.folder / f"bomb{random.randrange(10**9)}.db"
            content = database(path, *BOMBS[random.choice(list(BOMBS))])
            path.unlink()
        else:
            content = HARMFUL[random.choice(list(HARMFUL))]
        response = await client.http.post("/sessions/import", content=content, timeout=60)
        assert response.status_code in (400, 413)
        await asyncio.sleep(0.5)

    def everybody(self) -> list[Awaitable[None]]:
        kinds = [
            *[self.turns] * 6,
            *[self.watchers] * 6,
            *[self.pages, self.searches, self.deletions, self.floods, self.idlers] * 2,
            self.imports,
        ]
        return [self.forever(kind) for kind in kinds]


@pytest.mark.timeout(900)
async def test_everything_at_once_loses_nothing(tmp_path: Path, thorough: int) -> None:
    """A minute; ``--thorough 10`` for ten."""
    with Process(tmp_path, *FLAGS) as server:
        everything = Everything(server, tmp_path)
        running = [asyncio.ensure_future(work) for work in everything.everybody()]
        usual = 0
        for second in range(SECONDS * thorough):
            await asyncio.sleep(1)
            failed = next((task for task in running if task.done()), None)
            if failed is not None:
                failed.result()
            if second == SECONDS * thorough // 3:
                usual = memory(server)
        grown = memory(server) - usual
        everything.over.set()
        server.kill()
        await asyncio.gather(*running)
    assert grown < GROWTH, everything.counts
    assert min(everything.counts.values()) > 3, everything.counts
    await _kept(tmp_path, everything.shown)
    log = (tmp_path / "stderr.log").read_text()
    assert "Traceback" not in log


async def _kept(folder: Path, shown: dict[tuple[str, str], str]) -> None:
    """What was acknowledged or shown is there after a restart, and nothing is stuck."""
    with Process(folder) as server:
        async with client_of(server) as client:
            kept: dict[tuple[str, str], Any] = {}
            for session in (await client.http.get("/sessions?limit=200")).json():
                assert session["status"] == "idle" or session["status"] == "queued"
                exported = await client.http.get(f"/sessions/{session['id']}/export")
                for message in exported.json()["messages"]:
                    kept[session["id"], message["id"]] = message
    assert shown
    for place, said in shown.items():
        assert kept[place]["content"].startswith(said), place
    database = apsw.Connection(str(folder / "sessile.db"))
    assert database.execute("PRAGMA integrity_check").get == "ok"
    database.close()
