"""Compares Sessile with the original design and with its ceiling.

    uv run just bench [--quick] [--only WORK …] [--peers] [--rounds N] [--output FOLDER]

Starts its own servers with temporary files; each round measures every server in turn, with the others
stopped. Writes the figures (``performance.json``), the tables (into ``performance.md``) and the chart
(``performance.svg``) into a folder, ``docs`` by default.
"""

import argparse
import resource
import tempfile
from pathlib import Path

from bench.load import sync_time
from bench.report import report, write
from bench.works import QUICK, WORKS, Bench, Sizes

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a small part of each work, to check that it runs"
    )
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS), metavar="WORK")
    parser.add_argument("--peers", action="store_true", help="other Python servers too")
    parser.add_argument("--rounds", type=int, help="number of measurements of each work")
    parser.add_argument("--output", type=Path, default=DOCS, metavar="FOLDER")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sizes = QUICK if given.quick else Sizes()
    if given.rounds:
        sizes = sizes._replace(rounds=given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        sync_ms = sync_time(folder)
        bench = Bench(Path(folder), sizes)
        for work in given.only:
            WORKS[work](bench)
        if given.peers:
            bench.peers()
    write(report(bench.figures, sizes.rounds, sync_ms), given.output)


if __name__ == "__main__":
    main()
