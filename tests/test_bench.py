"""The benchmarks run, each with a small workload. People judge the figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.timeout(300)  # the first run downloads the runtime of the reference


def run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_benchmark_measures_every_workload_and_writes_the_results(tmp_path: Path) -> None:
    run("bench", "--quick", "--output", str(tmp_path))
    found = json.loads((tmp_path / "performance.json").read_text())
    seen = {(figure["work"], figure["server"]) for figure in found["figures"]}
    for work in (
        "turns, 2 events",
        "first message of new sessions",
        "newest page",
        "deep page",
        "fan-out, frames delivered",
        "fan-out, POSTs that reached all",
    ):
        assert {(work, "reference"), (work, "Sessile"), (work, "ceiling")} <= seen
    assert {("turns, 20 events", "Sessile"), ("answers of 5,000 tokens", "Sessile")} <= seen
    assert all(value > 0 for figure in found["figures"] for value in figure["values"])
    page = (tmp_path / "performance.md").read_text()
    assert all(f"| {work} (" in page for work, _ in seen)
    assert (tmp_path / "performance.svg").read_text().startswith("<svg")


def test_costs_that_must_not_grow_are_measured() -> None:
    printed = run("bench.scale", "--quick")
    assert "| newest page |" in printed
    assert "sessions answered" in printed


def test_a_slow_disk_is_measured() -> None:
    rows = [line for line in run("bench.slow_disk", "--quick").splitlines() if " ms |" in line]
    assert len(rows) == 4


def test_sessions_that_wait_are_measured() -> None:
    printed = run("bench.waiting", "--quick")
    assert "| the turn is parked | " in printed
    assert "20 asked" in printed


def test_the_web_interface_is_measured() -> None:
    printed = run("bench.web", "--quick")
    assert "| this machine | " in printed
    assert "| 300 messages, to their start | " in printed
    assert "assets/index-" in printed
