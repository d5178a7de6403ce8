"""A store without a server, and the commands of the operator on it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw

from tests.serving import clean_environment

Ended = subprocess.CompletedProcess[str]


def run(
    folder: Path,
    *arguments: str,
    within: Sequence[str | Path] = (),
    more: dict[str, str] | None = None,
) -> Ended:
    """Run ``sessile`` in a folder; ``more`` is added to its environment."""
    return subprocess.run(
        [*within, sys.executable, "-m", "sessile", *arguments],
        cwd=folder,
        env=clean_environment() | (more or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The files of a folder: their contents, and when they were written."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file() and path.name != "stderr.log"
    }


def damage(folder: Path, *statements: str) -> None:
    database = apsw.Connection(str(folder / "sessile.db"))
    for statement in statements:
        database.execute(statement)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
