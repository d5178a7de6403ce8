"""Any agent that speaks the Agent Client Protocol over its standard input and output.

One process serves many sessions. Source of the rules: https://agentclientprotocol.com, version 1.
What an agent sends is read as plain JSON, so that what is newer than this version of the protocol
is passed over and not an error.
"""

import asyncio
import logging
import shlex
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from sessile.agents.acp.answer import PASSED_ON, Answer
from sessile.agents.acp.failures import failures
from sessile.agents.acp.process import Process
from sessile.agents.acp.prompts import prompt
from sessile.agents.base import Output, Turn, Unfinished
from sessile.agents.kit.continuing import Former
from sessile.agents.kit.conversation import Context, HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.wire.errors import AgentError, SettingsError
from sessile.wire.loose import items, record

log = logging.getLogger(__name__)

NAME = "acp"  # its key in a session's private metadata
SESSION = "acpSession"  # the key of the agent's session in what is kept with an answer


class ACPAgent:
    """An agent that a command starts, such as ``gemini --acp`` or ``opencode acp``.

    It works in ``directory``, or in the folder that the session's metadata names. Its process gets
    the environment variables ``passed``, in addition to those that every agent gets.

    A turn ends with the agent's process. After a restart the agent loads its session again, as far
    as it can do that, and is asked to go on, with what was shown of the answer.
    """

    continues = True
    parks = False  # what it asks would be lost

    def __init__(
        self,
        command: str,
        directory: Path | None = None,
        limits: HistoryLimits = HistoryLimits(),  # noqa: B008
        passed: Iterable[str] = (),
        files: FileHosts = FileHosts(),  # noqa: B008
    ) -> None:
        self.name = f"acp:{command}"
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise SettingsError(f"the agent {self.name}: {error}") from error
        if not self._command:
            raise SettingsError("the agent acp needs a command: acp:COMMAND")
        self.folder = self._directory = (directory or Path.cwd()).resolve()
        self._limits = limits
        self._passed = tuple(passed)
        self._files = files
        self._process: Process | None = None
        self._starting = asyncio.Lock()

    async def open(self) -> None:
        try:
            await self._ready()
        except AgentError as error:
            raise SettingsError(f"the agent {self.name}: {error.details or error}") from error

    async def close(self) -> None:
        if self._process is not None:
            await self._process.end()
            self._process = None

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        context = await Context.of(turn, NAME, self._directory, self._limits)
        process = await self._ready()
        with failures():
            session, briefing = await self._taken_up(process, context, turn.unfinished)
        former = Former(turn.unfinished)
        kept = record(turn.unfinished.record) if turn.unfinished else {}
        for output in await former.close_calls(turn, items(kept.get(PASSED_ON))):
            yield output
        answer = Answer(process, turn, session, former)
        try:
            message = self._files.shown(turn.message)
            blocks = prompt(briefing, message, process.capabilities)
            answer.kept = {SESSION: session, PASSED_ON: []}
            await turn.keep(answer.kept)
            if turn.unfinished is not None:
                turn.begin_part()
                blocks.append({"type": "text", "text": former.reminder()})
            async for output in answer.outputs(blocks):
                yield output
        finally:
            await answer.end()
            if answer.heard:
                await context.keep(session)

    async def _ready(self) -> Process:
        """The process, started again if it has ended."""
        async with self._starting:
            if self._process is None or not self._process.running:
                await self.close()
                self._process = await Process.start(self._command, self._directory, self._passed)
            return self._process

    async def _taken_up(
        self, process: Process, context: Context, unfinished: Unfinished | None
    ) -> tuple[str, str]:
        """The agent's session, and the history to send it if it is new."""
        folder = str(context.directory)
        began = record(unfinished.record).get(SESSION) if unfinished else None
        if isinstance(began, str) and await process.load(began, folder):
            return began, ""
        if context.conversation is not None:
            session = context.conversation.id
            if session in process.sessions or await process.load(session, folder):
                return session, ""
        return await process.begin(folder), await context.briefing()
