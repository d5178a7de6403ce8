"""Three nodes of the real code, each of which can fail at any moment: ``tests/simulation``.

Each run plays new stories. A story that goes wrong prints its seed. To play it again, run
``python -m tests.simulation SEED``; then add the seed to ``FOUND``.
"""

import subprocess
import sys
import zlib

import pytest

from tests.simulation.mutations import MUTATIONS

CHUNKS = 12  # number of tests, so that they run in parallel
STORIES = 3  # stories in each of them
FOUND = (
    2022,  # a sender got "the store is unavailable" when another node had the session
    2462575776000024,  # the agent of a turn that was interrupted before it began ran nevertheless
)
LONGEST = 400  # number of stories in which a mutation must be found


def run_stories(seed: int, count: int, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.simulation", str(seed), str(count), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_stories_with_new_seeds(chunk: int, testrun_uid: str, thorough: int) -> None:
    count = STORIES * thorough
    first = zlib.crc32(testrun_uid.encode()) * 1_000_000 + chunk * count
    ended = run_stories(first, count)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("seed", FOUND)
def test_a_story_that_went_wrong(seed: int) -> None:
    ended = run_stories(seed, 1)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_an_injected_fault_is_found(thorough: int) -> None:
    """CI tests the two that every story finds; the others need up to hundreds of stories."""
    for mutation in MUTATIONS if thorough > 1 else ("no-compare", "no-sweep"):
        ended = run_stories(1, LONGEST, "--mutation", mutation)
        assert ended.returncode == 1, f"{mutation} is not found: {ended.stdout}"
        assert "AssertionError" in ended.stderr


def test_a_seed_plays_the_same_story_again() -> None:
    first, second = (run_stories(7, 1).stdout for _ in range(2))
    assert "digest" in first
    assert first.partition("digest")[2] == second.partition("digest")[2]
