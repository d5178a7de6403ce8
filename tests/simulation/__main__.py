"""Play stories from a seed on; at the first that goes wrong, print its seed and exit with 1."""

import argparse
import gc
import logging
import os
import sys
import time
import warnings
import zlib
from collections import Counter

from tests.simulation.mutations import MUTATIONS
from tests.simulation.story import play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--mutation", choices=MUTATIONS, default="")
    parser.add_argument("--log", action="store_true", help="show what the nodes log")
    arguments = parser.parse_args()
    # Dead nodes leave coroutines that are never awaited and tasks that never end.
    warnings.simplefilter("ignore", RuntimeWarning)
    sys.unraisablehook = lambda _: None
    # When garbage is found depends on what else was done, such as compiling a module, and generators
    # that are found end with a step of their own.
    gc.disable()
    if not arguments.log:
        logging.disable(logging.CRITICAL)
    if arguments.mutation:
        MUTATIONS[arguments.mutation]()
    began, virtual, steps, digest = time.monotonic(), 0.0, 0, 0
    counts: Counter[str] = Counter()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        gc.collect()
        try:
            world = play(seed, arguments.mutation)
        except BaseException:
            print(f"seed {seed} went wrong, the {seed - arguments.seed + 1}. story", flush=True)
            raise
        virtual += world.loop.time()
        steps += world.loop.steps
        counts += world.counts
        counts["events"] += sum(map(len, world.database.log.values()))
        for log in world.database.log.values():
            digest = zlib.crc32(b"".join(log), digest)
    taken = time.monotonic() - began
    print(f"{arguments.count} stories, {virtual:.0f} s of virtual time in {taken:.1f} s")
    print(
        f"digest {digest:08x}, {steps} steps:",
        ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())),
    )
    return 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must be the same each time
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
