"""Litestream beside a server, with the configuration of docs/operating.md."""

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from tests import real
from tests.operating import run
from tests.serving import Client, process
from tests.test_docs import ROOT, blocks

MESSAGES = "SELECT session, seq, body FROM messages ORDER BY session, seq"


def configuration(folder: Path) -> Path:
    (text,) = blocks(ROOT / "docs" / "operating.md", "yaml")
    text = text.replace("/srv/chat/", f"{folder}/").replace("/mnt/other/", f"{folder}/other/")
    path = folder / "litestream.yml"
    path.write_text(text)
    return path


def rows(path: Path) -> list[tuple[object, ...]]:
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = database.execute(MESSAGES).fetchall()
    database.close()
    return found


async def write(chat: Client, seconds: float) -> int:
    """Turns of eight clients, as fast as they can; how many were answered."""
    end = time.monotonic() + seconds

    async def client(number: int) -> int:
        turns = 0
        while time.monotonic() < end:
            await chat.send(f"s{number}", "word " * 200)
            turns += 1
        return turns

    return sum(await asyncio.gather(*(client(number) for number in range(8))))


@contextmanager
def replicating(program: Path, config: Path) -> Iterator[None]:
    """Litestream beside the server, killed at the end."""
    with (config.parent / "litestream.log").open("wb") as log:
        command = [str(program), "replicate", "-config", str(config)]
        running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            running.kill()
            running.wait(30)


def restore(program: Path, folder: Path) -> list[tuple[object, ...]]:
    """Run the command of the page; the messages that it restored."""
    page = (ROOT / "docs" / "operating.md").read_text()
    (arguments,) = re.findall(r"^litestream (restore .*)", page, re.MULTILINE)
    (folder / "restored.db").unlink(missing_ok=True)
    command = [program, *arguments.replace("/srv/chat", str(folder)).split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return rows(folder / "restored.db")


@pytest.mark.timeout(180)
async def test_litestream_restores_what_was_acknowledged(tmp_path: Path) -> None:
    """The server is killed under load and starts again; at the end both are killed."""
    program, config = await asyncio.to_thread(real.litestream), configuration(tmp_path)
    async with process(tmp_path) as (server, chat):
        with replicating(program, config):
            turns = await write(chat, 4)
            server.kill()
            async with process(tmp_path) as (_, again):
                turns += await write(again, 4)
                written = rows(tmp_path / "sessile.db")
                async with asyncio.timeout(30):
                    while await asyncio.to_thread(restore, program, tmp_path) != written:
                        await asyncio.sleep(0.5)
    assert await asyncio.to_thread(restore, program, tmp_path) == written
    assert len(written) >= 2 * turns > 0
    checked = await asyncio.to_thread(run, tmp_path, "check", "--store", "sqlite:///restored.db")
    assert checked.returncode == 0, checked.stdout
    async with process(tmp_path, "--store", "sqlite:///restored.db") as (_, chat):
        assert (await chat.send("s0", "again"))[-2].data["content"] == "again"
