"""Agents in a server's process that stop at a point until their test lets them go on.

What their tools do is in the file ``ran``, line by line, outside of the session's store. This text is
the beginning of an agent's module.
"""

import asyncio
from pathlib import Path

import apsw

from tests.serving import Process

HOLDING = """
import asyncio
from pathlib import Path


def note(file, line):
    with Path(file).open("a") as lines:
        lines.write(line + "\\n")


async def reach(point):
    note("reached", point)
    while Path("hold-" + point).exists():
        await asyncio.sleep(0.005)
"""


class Points:
    """The points that an agent in a folder reaches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = 0

    def hold(self, *points: str) -> None:
        for point in points:
            (self._folder / f"hold-{point}").touch()

    def release(self, point: str) -> None:
        (self._folder / f"hold-{point}").unlink()

    async def reached(self, point: str) -> None:
        """Wait until it is reached again."""
        async with asyncio.timeout(20):
            while point not in self.lines("reached")[self._seen :]:
                await asyncio.sleep(0.01)
        self._seen = len(self.lines("reached"))

    def lines(self, file: str) -> list[str]:
        path = self._folder / file
        return path.read_text().splitlines() if path.exists() else []


async def end(server: Process, by: str) -> None:
    """End a server in the middle of a turn: ``kill`` or ``terminate``."""
    if by == "kill":
        server.kill()
    else:
        await asyncio.to_thread(server.terminate)


async def until_parked(folder: Path) -> None:
    """Wait until the turn of a server's only session has let go of its agent."""
    store = apsw.Connection(str(folder / "sessile.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        async with asyncio.timeout(20):
            while '"parked":true' not in str(store.execute("SELECT turn FROM running").fetchall()):
                await asyncio.sleep(0.01)
    finally:
        store.close()
