"""A process that an agent's adapter starts and owns: it never outlives this one."""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from sessile.agents.kit import keeper
from sessile.wire.errors import AgentError

LINE = 64 * 1024 * 1024  # bytes that a line of its output may have
SAID = 5  # lines of its standard error that are kept to say why it ended


class Child:
    """A command with pipes to its standard input and output; made by :meth:`start`.

    It is ended by :meth:`end`, and by the end of this process, however that comes: a keeper
    (``keeper.py``) stands between the two. What it writes to its standard error goes into the log
    at level debug.
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
        environment: Mapping[str, str] | None = None,
    ) -> "Child":
        """Start a command; ``environment`` is added to that of this process.

        Raises :class:`~sessile.wire.errors.AgentError` if there is no such command.
        """
        if shutil.which(command[0]) is None:
            raise AgentError(f"There is no command {command[0]} on this machine's PATH.")
        theirs, ours = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", keeper.__file__, str(theirs), *command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env=os.environ | (environment or {}),
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
        """Read its standard output to the end and drop it."""
        self._draining = asyncio.create_task(self._drop(), name=f"stdout of {self._name}")

    async def gone(self, within: float) -> bool:
        """Whether its drained output ends within so many seconds, as it does when it has ended."""
        assert self._draining
        await asyncio.wait({self._draining}, timeout=within)
        return self._draining.done()

    async def end(self) -> None:
        """End it with all that it has begun; returns when nothing of it runs."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        self.stdin.close()
        await self._process.wait()
        await asyncio.wait({self._listening, self._draining or self._listening})
        with contextlib.suppress(OSError):
            await self.stdin.wait_closed()

    async def reason(self) -> str:
        """Why it ended, for a person: its status and the last it said. Waits for its end."""
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
