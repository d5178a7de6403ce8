"""A process that an adapter starts and owns; it never outlives the server."""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sessile.agents.kit import keeper
from sessile.agents.kit.environment import agent_environment
from sessile.wire.errors import AgentError

LINE = 64 * 1024 * 1024  # maximum bytes of a line of its output
SAID = 5  # last lines of its standard error, kept to report why it ended


class Child:
    """A command with pipes to its standard input and output; made by :meth:`start`.

    It ends with :meth:`end`, and when the server's process ends for any reason: a keeper
    (``keeper.py``) runs between the two. Its standard error goes to the log at level debug.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, lifeline: int) -> None:
        assert process.stdin
        assert process.stdout
        self.stdin = process.stdin
        self.stdout = process.stdout
        self._name = name
        self._process = process
        self._lifeline: int | None = lifeline
        self._said: deque[str] = deque(maxlen=SAID)
        self._draining: asyncio.Task[None] | None = None
        self._listening = asyncio.create_task(self._listen(), name=f"stderr of {name}")

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        folder: Path | None = None,
        passed: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> "Child":
        """Start a command in a folder.

        Its environment is what every agent gets of the environment of this process, what has one
        of the names ``passed``, and ``environment``.

        Raises :class:`~sessile.wire.errors.AgentError` if the command does not exist.
        """
        if shutil.which(command[0]) is None:
            raise AgentError(
                "The agent's command was not found; the server's log says which.",
                details=f"The command {command[0]} is not on the PATH. Install it, or give its path.",
            )
        theirs, ours = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", keeper.__file__, str(theirs), *command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env=agent_environment(os.environ, passed) | dict(environment or {}),
                pass_fds=(theirs,),
                limit=LINE,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(Path(command[0]).name, process, ours)

    @property
    def running(self) -> bool:
        return self._process.returncode is None and not self.stdout.at_eof()

    def drain(self) -> None:
        """Read its standard output to the end and discard it."""
        self._draining = asyncio.create_task(self._drop(), name=f"stdout of {self._name}")

    async def gone(self, within: float) -> bool:
        """Whether it ends within so many seconds, as the end of its drained output shows."""
        assert self._draining
        await asyncio.wait({self._draining}, timeout=within)
        return self._draining.done()

    async def end(self) -> None:
        """End it and all processes that it started; return when none of them runs."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        self.stdin.close()
        await self._process.wait()
        await asyncio.wait({self._listening, self._draining or self._listening})
        with contextlib.suppress(OSError):
            await self.stdin.wait_closed()

    async def reason(self) -> str:
        """Wait for its end and return its status and its last lines of error output, for the log."""
        status = await self._process.wait()
        await self._listening
        said = f": {' / '.join(self._said)}" if self._said else ""
        return f"{self._name} ended with status {status}{said}"

    async def _drop(self) -> None:
        while await self.stdout.read(65536):
            pass

    async def _listen(self) -> None:
        assert self._process.stderr
        log = logging.getLogger(f"sessile.agents.{self._name}")
        async for line in self._process.stderr:
            text = line.decode(errors="replace").rstrip()
            if text:
                self._said.append(text[:500])
                log.debug("%s", text)
