"""Compares this checkout with another one, alternating round by round.

    uv run just compare ../other [--rounds N] [--seconds S]

The other checkout needs its environment (`uv sync` in it). The ratio is this checkout divided by
the other: the median over the rounds, with the quartiles.
"""

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx2

from bench.load import closed_loop, fan_out, get, post
from bench.seed import seed
from bench.servers import Sessile
from bench.works import ONE_WORD, TWENTY_WORDS, USER, requests

SESSIONS = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        this, other = Path(folder, "this"), Path(folder, "other")
        for place in (this, other):
            place.mkdir()
        seed(this / "sessile.db", [10_000])
        python = given.other.resolve() / ".venv" / "bin" / "python"
        with Sessile(this) as ours, Sessile(other, python=python) as theirs:
            # Both get it in the same way: rows that were written otherwise are read faster or slower.
            exported = httpx2.get(f"http://127.0.0.1:{ours.port}/sessions/s10000/export").content
            for server in (ours, theirs):
                path = f"http://127.0.0.1:{server.port}/sessions/import?id=long"
                httpx2.post(path, content=exported, timeout=60).raise_for_status()
            for name, measure in works(given.seconds).items():
                compare(name, measure, ours, theirs, given.rounds)


def works(seconds: float) -> dict[str, Callable[[Sessile], float]]:
    """The measurements by name; each returns a rate."""

    def turns(sessions: int, clients: int, content: str) -> Callable[[Sessile], float]:
        def measure(server: Sessile) -> float:
            asked = requests(f"warm{sessions}", sessions, content)
            return closed_loop(server.port, asked, clients, seconds).rate

        return measure

    def page(server: Sessile) -> float:
        asked = itertools.repeat(get("/chat/long/messages"))
        return closed_loop(server.port, asked, 16, seconds).rate

    fresh = itertools.count()

    def first(server: Sessile) -> float:
        asked = (post(f"/chat/new{number}", {"content": ONE_WORD}) for number in fresh)
        return closed_loop(server.port, asked, 16, seconds).rate

    def sockets(server: Sessile) -> float:
        found = fan_out(server.port, f"fan{next(fresh)}", 100, 150, USER, ONE_WORD)
        return found.posts / found.seconds

    return {
        "turns of one word, 64 at once": turns(SESSIONS, 64, ONE_WORD),
        "turns of twenty words, 64 at once": turns(SESSIONS, 64, TWENTY_WORDS),
        "turns of twenty words, alone": turns(SESSIONS, 1, TWENTY_WORDS),
        "turns of one word, 256 in one session": turns(1, 256, ONE_WORD),
        "turns of twenty words, 256 in one session": turns(1, 256, TWENTY_WORDS),
        "first message of new sessions, 16 at once": first,
        "newest page of 10,000 messages, 16 at once": page,
        "POSTs that reached 100 WebSockets": sockets,
    }


def compare(
    name: str,
    measure: Callable[[Sessile], float],
    ours: Sessile,
    theirs: Sessile,
    rounds: int,
) -> None:
    ratios: list[float] = []
    rates: dict[Sessile, list[float]] = {ours: [], theirs: []}
    for round in range(rounds + 1):
        order = [ours, theirs] if round % 2 else [theirs, ours]
        found: dict[Sessile, float] = {}
        for server in order:
            rest = theirs if server is ours else ours
            rest.pause()
            found[server] = measure(server)
            rest.resume()
        if round:  # the first one warms both up
            ratios.append(found[ours] / found[theirs])
            for server, rate in found.items():
                rates[server].append(rate)
    low, middle, high = statistics.quantiles(ratios, n=4)
    this, other = (statistics.median(rates[server]) for server in (ours, theirs))
    print(f"| {name} | {other:,.0f} | {this:,.0f} | **{middle:.2f}** ({low:.2f}–{high:.2f}) |")


if __name__ == "__main__":
    main()
