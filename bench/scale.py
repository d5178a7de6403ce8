"""What does not grow: cost in long sessions, memory with many, and what a slow reader costs.

    uv run python -m bench.scale [--quick]

Starts its own servers with a temporary file, drives them over HTTP and WebSocket, and prints
tables in Markdown. Times in milliseconds, memory in MiB (resident set of the server's process).
"""

import argparse
import asyncio
import http.client
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_now

from bench.load import timed
from bench.seed import WORDS, seed
from bench.servers import resident
from tests.serving import Process

SIZES = (10, 10_000, 1_000_000)


def quantiles(times: list[float]) -> str:
    """Median and 99th percentile, from seconds, in milliseconds."""
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(ordered) * 1e3:.2f} / {p99 * 1e3:.2f}"


class Client:
    """One connection that sends a request and waits for the response."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data)
        response = self._connection.getresponse()
        content = response.read()
        assert response.status < 300, (response.status, content[:200])
        return content


# Cost in long sessions --------------------------------------------------------------------------


def reconnect(url: str, session: str, after: int) -> None:
    target = f"{url.replace('http', 'ws')}/sessions/{session}/websocket?after={after}"
    with connect_now(target, compression=None) as socket:
        for _ in range(4):
            socket.recv()


def cost_in_long_sessions(folder: Path, sizes: tuple[int, ...], rounds: int) -> None:
    seed(folder / "sessile.db", sizes)
    taken: dict[tuple[str, int], list[float]] = {}
    with Process(folder) as server:
        client = Client(server.url)
        for _ in range(rounds):
            for size in sizes:
                session = f"s{size}"
                middle = f"m{size // 2}"
                page = f"/chat/{session}/messages"
                work: dict[str, Callable[[], object]] = {
                    "a turn": partial(client.ask, "POST", f"/chat/{session}", {"content": WORDS}),
                    "newest page": partial(client.ask, "GET", page),
                    "page in the middle": partial(client.ask, "GET", f"{page}?before={middle}"),
                }
                for name, job in work.items():
                    taken.setdefault((name, size), []).extend(timed(job, 40))
                head = json.loads(client.ask("GET", f"/sessions/{session}"))["seq"]
                again = partial(reconnect, server.url, session, head - 3)
                taken.setdefault(("reconnect by number", size), []).extend(timed(again, 40))
    print(f"| median / p99 in ms | {' | '.join(f'{size:,} messages' for size in sizes)} |")
    print(f"|---|{'---|' * len(sizes)}")
    for name in dict.fromkeys(name for name, _ in taken):
        print(f"| {name} | {' | '.join(quantiles(taken[name, size]) for size in sizes)} |")


# Memory with many -------------------------------------------------------------------------------


def memory_of_touched_sessions(folder: Path, marks: tuple[int, ...]) -> None:
    with Process(folder) as server:
        client = Client(server.url)
        found = [("at the start", resident(server.pid))]
        done = 0
        for mark in marks:
            while done < mark:
                client.ask("POST", f"/chat/touched{done}", {"content": "Hello"})
                done += 1
            found.append((f"{mark:,} sessions answered", resident(server.pid)))
    print(f"| {' | '.join(name for name, _ in found)} |")
    print(f"|{'---|' * len(found)}")
    print(f"| {' | '.join(f'{size:.0f} MiB' for _, size in found)} |")


async def memory_of_sockets(folder: Path, count: int) -> None:
    with Process(folder) as server:
        before = resident(server.pid)
        url = server.url.replace("http", "ws")
        sockets = []
        for start in range(0, count, 100):
            sockets += await asyncio.gather(
                *(
                    connect(f"{url}/sessions/s{index}/websocket", compression=None, open_timeout=60)
                    for index in range(start, min(count, start + 100))
                )
            )
        await asyncio.sleep(3)
        after = resident(server.pid)
        await asyncio.gather(*(socket.close() for socket in sockets))
    print("| at the start | with the sockets | each |\n|---|---|---|")
    each = (after - before) * 1024 / count
    print(f"| {before:.0f} MiB | {after:.0f} MiB for {count:,} | {each:.1f} KiB |")


# A slow reader ----------------------------------------------------------------------------------


async def a_slow_reader(folder: Path, seconds: float) -> None:
    """An answer of 5 MB, ten clients that read it, and in the second run one that does not."""
    print("| | last byte at, of ten readers (s) | delay of a frame, p50 / p99 (ms) | memory |")
    print("|---|---|---|---|")
    for slow in (False, True):
        with Process(folder / "slow", "agent:reply") as server:
            url = server.url.replace("http", "ws") + "/sessions/s/websocket"
            options = {"compression": None, "max_size": None, "ping_timeout": None}
            lazy = await connect(url, max_queue=1, **options) if slow else None  # type: ignore[arg-type]
            readers = [asyncio.create_task(read_all(url)) for _ in range(10)]
            await asyncio.sleep(0.5)
            before = peak = resident(server.pid)
            begin = time.perf_counter()
            asking = asyncio.create_task(asyncio.to_thread(ask_for_it, server.url))
            while not all(reader.done() for reader in readers) or (
                slow and time.perf_counter() - begin < seconds
            ):
                await asyncio.sleep(0.05)
                peak = max(peak, resident(server.pid))
            await asking
            ends, delays = zip(*[await reader for reader in readers], strict=True)
            if lazy is not None:
                await lazy.close()
        name = f"with one that does not read for {seconds:.0f} s" if slow else "all read"
        flat = [delay for found in delays for delay in found]
        print(
            f"| {name} | {max(ends) - begin:.2f} | {quantiles(flat)} "
            f"| {before:.0f} → {peak:.0f} MiB |"
        )


AGENT = """
import asyncio, time
async def reply(turn):
    for _ in range(2000):
        yield f"@{time.monotonic_ns()}@ " + "x" * 2_500
        await asyncio.sleep(0.001)
"""


def ask_for_it(url: str) -> None:
    Client(url).ask("POST", "/chat/s", {"content": "Tell me"})


async def read_all(url: str) -> tuple[float, list[float]]:
    delays = []
    async with connect(url, compression=None, max_size=None) as socket:
        async for frame in socket:
            event = json.loads(frame)
            if event["type"] == "delta":
                said = int(event["text"].split("@")[1])
                delays.append((time.monotonic_ns() - said) / 1e9)
            elif event["type"] == "message" and event["message"]["role"] == "assistant":
                break
    return time.perf_counter(), delays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that it runs")
    quick = parser.parse_args().quick
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("cost", "touched", "sockets", "slow")]
        for folder in folders:
            folder.mkdir()
        (folders[3] / "slow").mkdir()
        (folders[3] / "slow" / "agent.py").write_text(AGENT)
        print("\n### Cost in long sessions\n")
        cost_in_long_sessions(folders[0], (10, 1_000) if quick else SIZES, 1 if quick else 5)
        print("\n### Memory after many sessions\n")
        memory_of_touched_sessions(folders[1], (100,) if quick else (1_000, 10_000, 100_000))
        print("\n### Memory of idle WebSockets, one a session\n")
        asyncio.run(memory_of_sockets(folders[2], 50 if quick else 5_000))
        print("\n### A reader that does not read, during an answer of 5 MB\n")
        asyncio.run(a_slow_reader(folders[3], 2 if quick else 30))


if __name__ == "__main__":
    main()
