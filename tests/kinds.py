"""The kinds of real agents, a server in front of each, and what they leave: processes, requests."""

import asyncio
import json
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests import real
from tests.fake_models import FakeModels
from tests.serving import Process


class Kind(NamedTuple):
    """A kind of agent: its flags, its environment, and the names of its tools."""

    flags: tuple[str, ...]
    environment: Callable[[Path, str], dict[str, str]]
    shell: str = "bash"
    read: str = "read"
    path: str = "filePath"

    def run(self, command: str) -> str:
        """The directive for a tool call that runs a command."""
        given = {"command": command, "description": "d"}
        return f"[[tool:{self.shell}:{json.dumps(given)}]]"


KINDS = {
    "opencode": Kind(
        ("--agent", "opencode", "--opencode-command", str(real.OPENCODE)),
        real.opencode_environment,
    ),
    "acp-opencode": Kind(("--agent", f"acp:{real.OPENCODE} acp"), real.opencode_environment),
    "acp-gemini": Kind(
        ("--agent", f"acp:{real.GEMINI}"),
        real.gemini_environment,
        "run_shell_command",
        "read_file",
        "file_path",
    ),
}


@contextmanager
def start_server(
    kind: Kind, folder: Path, models: FakeModels, *flags: str, **more: str
) -> Iterator[Process]:
    home, work = folder / "home", folder / "work"
    home.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    environment = kind.environment(home, models.state.url) | more
    flags = (*kind.flags, "--directory", str(work), *flags)
    with Process(folder, *flags, **environment) as process:
        yield process


def find_processes(pattern: str) -> list[int]:
    """The processes with this pattern in their command line."""
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def unique_seconds() -> int:
    """A time for ``sleep`` that identifies the command among the processes of this machine."""
    return random.randrange(100_000, 10**9)


async def is_gone(pattern: str) -> bool:
    async with asyncio.timeout(10):
        while find_processes(pattern):
            await asyncio.sleep(0.02)
    return True


def tool_calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in message["parts"] if part["type"] == "tool-call"]


def last_request(models: FakeModels, said: str) -> dict[str, Any]:
    """The newest request whose last message contains this text."""
    body: dict[str, Any]
    for body in reversed(models.requests):
        last = (body.get("messages") or body.get("contents") or [{}])[-1]
        if said in json.dumps(last):
            return body
    raise AssertionError(f"the model was never shown {said}")
