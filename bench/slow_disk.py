"""Measures whether streams stutter on a slow disk, on which every sync takes 10 ms longer.

    uv run just slow-disk [--quick]

One session streams an event every 5 ms, and a WebSocket client measures the time from the agent's
``yield`` to the frame, while 64 clients write to other sessions as fast as they receive answers.
"""

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from websockets.sync.client import connect

from bench.load import Connection, closed_loop, post
from bench.servers import Sessile
from bench.works import ONE_WORD, requests

SHIM = Path(__file__).parent / "slow_sync.c"
WRITERS = 64
AGENT = """
import asyncio, time
async def reply(turn):
    if turn.content != "stream":
        yield turn.content
        return
    while True:
        yield f"@{time.monotonic_ns()}@"
        await asyncio.sleep(0.005)
"""


def shim(folder: Path) -> Path:
    """Build the library that makes syncs slow, for ``LD_PRELOAD``."""
    library = folder / "slow_sync.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SHIM, "-ldl"], check=True)
    return library


def delays(port: int, seconds: float) -> list[float]:
    """Milliseconds from a ``yield`` to its frame, sorted."""
    asking = threading.Thread(target=_ask, args=(port,))
    found: list[float] = []
    with connect(f"ws://127.0.0.1:{port}/sessions/stream/websocket", compression=None) as socket:
        asking.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            event = json.loads(socket.recv())
            if event["type"] == "delta":
                said = int(event["text"].split("@")[1])
                found.append((time.monotonic_ns() - said) / 1e6)
        socket.send('{"type":"stop"}')
        asking.join()
    return sorted(found)


def _ask(port: int) -> None:
    with Connection(port) as connection:
        connection.ask(post("/chat/stream", {"content": "stream"}))


def _write(port: int, seconds: float, rates: "multiprocessing.Queue[float]") -> None:
    rates.put(closed_loop(port, requests("slow", 200, ONE_WORD), WRITERS, seconds).rate)


def measure(folder: Path, sync_ms: int, writers: bool, seconds: float) -> tuple[list[float], float]:
    """The delays of one run, and the turns a second of its writers."""
    folder.mkdir(parents=True)
    (folder / "agent.py").write_text(AGENT)
    slow = {"LD_PRELOAD": str(shim(folder)), "SLOW_SYNC_MS": str(sync_ms)}
    with Sessile(folder, "agent:reply", **slow) as server:
        rates: multiprocessing.Queue[float] = multiprocessing.Queue()
        writing = multiprocessing.Process(target=_write, args=(server.port, seconds + 1, rates))
        if writers:
            writing.start()
            time.sleep(0.5)
        found = delays(server.port, seconds)
        rate = rates.get() if writers else 0.0
        if writers:
            writing.join()
    return found, rate


def row(folder: Path, sync_ms: int, writers: bool, rounds: int, seconds: float) -> str:
    """Several runs as a row of the table: medians, and the lowest and highest p99."""
    runs = [measure(folder / str(r), sync_ms, writers, seconds) for r in range(rounds)]
    p50, p99 = ([found[int(len(found) * part)] for found, _ in runs] for part in (0.5, 0.99))
    return " | ".join(
        (
            f"{sync_ms} ms longer" if sync_ms else "as it does",
            str(WRITERS) if writers else "none",
            f"{median(p50):.1f} ms",
            f"{median(p99):.1f} ms ({min(p99):.1f}–{max(p99):.1f})",
            f"{max(found[-1] for found, _ in runs):.0f} ms",
            f"{median(rate for _, rate in runs):,.0f}" if writers else "–",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a second of each, once")
    rounds, seconds = (1, 1.0) if parser.parse_args().quick else (5, 6.0)
    print("| a sync takes | writers | p50 | p99 | longest | turns/s of the writers |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for sync_ms in (0, 10):
            for writers in (False, True):
                place = Path(name) / f"{sync_ms}-{writers}"
                print(f"| {row(place, sync_ms, writers, rounds, seconds)} |", flush=True)


if __name__ == "__main__":
    main()
