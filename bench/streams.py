"""Measures how many answers stream at once: 50 tokens a second each, with two watchers each.

    uv run just streams [--quick] [--other ../other] [--watchers N] [TURNS …]

Every session has a client that asked, which reads the answer as server-sent events, and clients
that watch it over WebSocket. The time is taken from the agent's ``yield`` to the client.
"""

import argparse
import os
import re
import select
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.load import open_socket, post
from bench.servers import Sessile

PACE = 0.02  # seconds between two tokens of an answer
TURNS = (100, 200, 250, 300, 350, 400)
READ = 256 * 1024
AGENT = f"""
import asyncio, time
async def reply(turn):
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        yield f"@{{time.monotonic_ns()}}@"
        due = max(due + {PACE}, loop.time() - 1)
        await asyncio.sleep(due - loop.time())
"""
_said = re.compile(rb"@(\d+)@").findall


class Seen(NamedTuple):
    """Milliseconds from a ``yield`` to a client, sorted; events a second that reached clients; the
    share of a core that the server and the clients took."""

    delays: list[float]
    rate: float
    server: float
    clients: float

    def quantile(self, part: float) -> float:
        return self.delays[min(len(self.delays) - 1, int(len(self.delays) * part))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("turns", nargs="*", type=int, default=TURNS)
    parser.add_argument("--watchers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--other", type=Path, help="another checkout, measured alternately")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    given = parser.parse_args()
    turns, seconds = ((2,), 0.5) if given.quick else (given.turns, given.seconds)
    checkouts = [Path(__file__).parents[1], *([given.other.resolve()] if given.other else [])]
    print("| answers | checkout | p50 | p99 | most | events/s, of | server | clients |")
    print("|---|---|---|---|---|---|---|---|")
    for count in turns:
        for checkout in checkouts:
            seen = measure(checkout, count, given.watchers, seconds)
            due = count / PACE * (1 + given.watchers)
            print(
                f"| {count} | {checkout.name} | {seen.quantile(0.5):.1f} ms "
                f"| {seen.quantile(0.99):.1f} ms | {seen.delays[-1]:.0f} ms "
                f"| {seen.rate:,.0f}, {due:,.0f} | {seen.server:.0%} | {seen.clients:.0%} |",
                flush=True,
            )


def measure(checkout: Path, turns: int, watchers: int, seconds: float) -> Seen:
    """Stream so many answers for so long, from a server of its own."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "speaker.py").write_text(AGENT)
        python = checkout / ".venv" / "bin" / "python"
        agent = ("--agent", "speaker:reply")
        server = stack.enter_context(Sessile(folder, *agent, python=python, PYTHONPATH=name))
        sockets = list(_connected(server.port, turns, watchers))
        for opened in sockets:
            stack.callback(opened.close)
        waiting = select.epoll()
        stack.callback(waiting.close)
        files = {opened.fileno(): opened for opened in sockets}
        for file, opened in files.items():
            opened.setblocking(False)
            waiting.register(file, select.EPOLLIN)
        _read(files, waiting, 1.0)  # until all run
        before, began = _processor(server.pid), os.times()
        delays, took = _read(files, waiting, seconds)
        after, ended = _processor(server.pid), os.times()
        own = (ended.user + ended.system - began.user - began.system) / took
        rate = len(delays) / took
        return Seen(sorted(delays), rate, (after - before) / took, own)


def _connected(port: int, turns: int, watchers: int) -> Iterator[socket.socket]:
    for turn in range(turns):
        for _ in range(watchers):
            yield open_socket(port, f"s{turn}")[0]
        asking = socket.create_connection(("127.0.0.1", port))
        asking.sendall(post(f"/chat/s{turn}", {"content": "go"}))
        yield asking


def _read(
    files: dict[int, socket.socket], waiting: select.epoll, seconds: float
) -> tuple[list[float], float]:
    """Milliseconds of every token that arrives, and the seconds that it took."""
    found: list[float] = []
    begin = now = time.monotonic()
    while now - begin < seconds:
        for file, _ in waiting.poll(0.1):
            data = files[file].recv(READ)
            came = time.monotonic_ns()
            found += [(came - int(said)) / 1e6 for said in _said(data)]
        now = time.monotonic()
    return found, now - begin


def _processor(pid: int) -> float:
    """Seconds of processor that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
