"""Any agent that speaks the Agent Client Protocol over its standard input and output.

One process serves many sessions. Source of the rules: https://agentclientprotocol.com, version 1.
What an agent sends is read as plain JSON, so that what is newer than this version of the protocol
is passed over and not an error.
"""

import asyncio
import logging
import shlex
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import acp
from acp.connection import Connection

from sessile.agents.acp.failures import failures, said_by
from sessile.agents.acp.parts import Parts, of
from sessile.agents.acp.prompts import prompt
from sessile.agents.base import Decision, Output, Turn, Usage
from sessile.agents.kit.child import Child
from sessile.agents.kit.conversation import Context, HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.pace import Pace
from sessile.wire.errors import AgentError, SettingsError
from sessile.wire.loose import items, record

log = logging.getLogger(__name__)

NAME = "acp"  # its key in a session's private metadata
START = 30.0  # seconds for an agent to start, and to create or load a session
QUIET = 0.2  # seconds without an update after which a replayed history, or an answer, is over
LATEST = 2.0  # seconds after the end of a prompt in which updates still belong to its answer
LET_GO = 1.5  # seconds for it to end a stopped prompt

# The kinds of options for a decision, in the order of preference.
_OPTIONS = {
    ("approved", True): ("allow_always", "allow_once", "allow"),
    ("approved", False): ("allow_once", "allow_always", "allow"),
    ("denied", True): ("reject_always", "reject_once", "reject"),
    ("denied", False): ("reject_once", "reject_always", "reject"),
}


class ACPAgent:
    """An agent that a command starts, such as ``gemini --acp`` or ``opencode acp``.

    It works in ``directory``, or in the folder that the session's metadata names. Its process gets
    the environment variables ``passed``, in addition to those that every agent gets.
    """

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
        self._process: _Process | None = None
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
            session, briefing = await self._taken_up(process, context)
        answer = _Answer(process, turn, session)
        try:
            message = self._files.shown(turn.message)
            async for output in answer.outputs(prompt(briefing, message, process.capabilities)):
                yield output
        finally:
            await answer.end()
            if answer.heard:
                await context.keep(session)

    async def _ready(self) -> "_Process":
        """The process, started again if it has ended."""
        async with self._starting:
            if self._process is None or not self._process.running:
                await self.close()
                self._process = await _Process.start(self._command, self._directory, self._passed)
            return self._process

    async def _taken_up(self, process: "_Process", context: Context) -> tuple[str, str]:
        """The agent's session, and the history to send it if it is new."""
        folder = str(context.directory)
        if context.conversation is not None:
            session = context.conversation.id
            if session in process.sessions or await process.load(session, folder):
                return session, ""
        return await process.begin(folder), await context.briefing()


class _Process:
    """The agent's process, and our side of the connection to it."""

    def __init__(self, child: Child) -> None:
        self.capabilities: dict[str, Any] = {}
        self.sessions: dict[str, float | None] = {}  # loaded in the agent, with their cost so far
        self.answers: dict[str, _Answer] = {}
        self._unclaimed = 0
        self._child = child
        self.connection = Connection(self._handle, child.stdin, child.stdout)

    @classmethod
    async def start(
        cls, command: list[str], folder: Path, passed: Iterable[str] = ()
    ) -> "_Process":
        """Start the agent; raises :class:`~sessile.wire.errors.AgentError`."""
        process = cls(await Child.start(command, folder, passed))
        try:
            with failures():
                async with asyncio.timeout(START):
                    initialized = await process.connection.send_request(
                        "initialize",
                        {
                            "protocolVersion": acp.PROTOCOL_VERSION,
                            "clientCapabilities": {},
                            "clientInfo": {"name": "sessile", "version": "1"},
                        },
                    )
        except AgentError as error:
            await process.end()
            if isinstance(error.__cause__, ConnectionError):
                raise AgentError(
                    "The agent did not start; the server's log says why.",
                    details=f"it did not start: {await process._child.reason()}",
                ) from error
            raise
        process.capabilities = of(initialized, "agentCapabilities")
        return process

    @property
    def running(self) -> bool:
        return self._child.running

    async def end(self) -> None:
        with suppress(OSError):
            await self.connection.close()
        await self._child.end()

    async def begin(self, folder: str) -> str:
        async with asyncio.timeout(START):
            given = {"cwd": folder, "mcpServers": []}
            made = await self.connection.send_request("session/new", given)
        session = record(made).get("sessionId")
        if not isinstance(session, str):
            raise AgentError("The agent gave no session.", details=str(made))
        self.sessions[session] = 0.0
        return session

    async def load(self, session: str, folder: str) -> bool:
        """Resume or load a session of an earlier process, if the agent can."""
        given = {"sessionId": session, "cwd": folder, "mcpServers": []}
        try:
            async with asyncio.timeout(START):
                if of(self.capabilities, "sessionCapabilities").get("resume") is not None:
                    await self.connection.send_request("session/resume", given)
                elif self.capabilities.get("loadSession"):
                    await self.connection.send_request("session/load", given)
                    await self._replayed()
                else:
                    return False
        except (acp.RequestError, TimeoutError) as error:
            said = said_by(error) if isinstance(error, acp.RequestError) else "it does not answer"
            log.info("the agent's session %s is started from scratch", session)
            log.debug("the agent said of its session %s: %s", session, said)
            return False
        self.sessions[session] = None
        return True

    async def _replayed(self) -> None:
        """Wait until the agent has replayed the history of a loaded session: some agents continue
        with it after their response."""
        seen = -1
        while seen != self._unclaimed:
            seen = self._unclaimed
            await asyncio.sleep(QUIET)

    # Calls from the agent -----------------------------------------------------------------------

    async def _handle(self, method: str, params: Any, is_notification: bool) -> Any:
        # Do not await before an update is queued: every message has its own task.
        answer = (
            self.answers.get(str(params.get("sessionId"))) if isinstance(params, dict) else None
        )
        if method == "session/update":
            if answer is None:
                self._unclaimed += 1
            else:
                answer.updates.put_nowait(of(params, "update"))
            return None
        if method == "session/request_permission":
            return {"outcome": await self._chosen(answer, params)}
        if not is_notification:
            raise acp.RequestError.method_not_found(method)
        return None

    async def _chosen(self, answer: "_Answer | None", params: Any) -> dict[str, Any]:
        """The outcome of a permission request."""
        option = None
        if answer is not None:
            question = _Question(of(params, "toolCall"), params.get("options"))
            answer.updates.put_nowait(question)
            option = await question.chosen
        if option is None:
            return {"outcome": "cancelled"}
        return {"outcome": "selected", "optionId": option}


class _Question:
    """A permission request, in order among the updates."""

    def __init__(self, call: dict[str, Any], options: Any) -> None:
        self.call = call
        self.options = [option for option in items(options) if isinstance(option, dict)]
        # The id of the option that the user chose; None if no option matches the decision.
        self.chosen: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def choose(self, decision: Decision | None) -> None:
        if self.chosen.done():
            return
        state = ("", False) if decision is None else (decision.state, decision.always)
        kinds = _OPTIONS.get(state, ())
        found = [
            option.get("optionId")
            for kind in kinds
            for option in self.options
            if str(option.get("kind")).startswith(kind)
        ]
        self.chosen.set_result(found[0] if found else None)


class _Answer:
    """One prompt, from sending it to its end."""

    def __init__(self, process: _Process, turn: Turn, session: str) -> None:
        self.updates: asyncio.Queue[Any] = asyncio.Queue()  # ends with None
        self._process = process
        self._turn = turn
        self._session = session
        self._parts = Parts()
        self._pace = Pace(asyncio.get_running_loop().time)
        self._asking: set[asyncio.Task[None]] = set()
        self._prompt: asyncio.Task[Any] | None = None
        self._ended_at: float | None = None

    @property
    def heard(self) -> bool:
        """Whether the agent has finished the prompt, and so remembers it."""
        if self._prompt is None or not self._prompt.done() or self._prompt.cancelled():
            return False
        error = self._prompt.exception()
        return error is None or isinstance(error, acp.RequestError)

    async def outputs(self, blocks: list[Any]) -> AsyncGenerator[Output, None]:
        """The answer as it arrives; raises :class:`~sessile.wire.errors.AgentError` on failure."""
        self._process.answers[self._session] = self
        self._prompt = asyncio.create_task(
            self._process.connection.send_request(
                "session/prompt", {"sessionId": self._session, "prompt": blocks}
            ),
            name=f"acp prompt {self._session}",
        )
        self._prompt.add_done_callback(lambda _: self.updates.put_nowait(None))
        while (found := await self._next()) is not None:
            for output in self._pace.due(found):
                yield output
        for output in self._pace.rest():
            yield output
        with failures():
            response = await self._prompt
        self._ended(record(response))

    async def _next(self) -> list[Output] | None:
        """What comes next, nothing if it is time to show what came; None at the end."""
        quiet = None if self._ended_at is None else min(QUIET, self._left())
        seconds = [s for s in (self._pace.seconds(), quiet) if s is not None]
        try:
            async with asyncio.timeout(min(seconds, default=None)):
                update = await self.updates.get()
        except TimeoutError:
            return [] if quiet is None or quiet > seconds[0] else None
        if update is None:
            # Some agents send the rest of an answer after they have ended it.
            self._ended_at = asyncio.get_running_loop().time()
            return [] if self._succeeded() else None
        if isinstance(update, _Question):
            self._ask(update)
            return []
        return self._parts.take(update)

    def _left(self) -> float:
        """Seconds in which updates still belong to this answer."""
        assert self._ended_at is not None
        return max(0.0, self._ended_at + LATEST - asyncio.get_running_loop().time())

    def _succeeded(self) -> bool:
        ended = self._prompt is not None and self._prompt.done() and not self._prompt.cancelled()
        return ended and self._prompt is not None and self._prompt.exception() is None

    def _ended(self, response: dict[str, Any]) -> None:
        if (used := of(response, "usage")) and (usage := Parts.usage(used)) != Usage():
            self._turn.metadata["usage"] = usage
        before = self._process.sessions.get(self._session)
        if self._parts.cost is not None:
            if before is not None:
                self._turn.metadata["cost"] = round(self._parts.cost - before, 10)
            self._process.sessions[self._session] = self._parts.cost
        reason = str(response.get("stopReason") or "end_turn")
        if reason == "refusal":
            raise AgentError("The agent refuses to continue this conversation.")
        if reason == "cancelled":
            raise AgentError("The agent cancelled the answer.")
        if self._parts.empty:
            raise AgentError(f"The agent's answer is empty. It ended with: {reason}.")
        if reason != "end_turn":
            self._turn.metadata["finishReason"] = "length" if reason == "max_tokens" else reason

    def _ask(self, question: _Question) -> None:
        asking = asyncio.create_task(self._put(question), name=f"acp asks {self._session}")
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        asking.add_done_callback(lambda _: question.choose(None))

    async def _put(self, question: _Question) -> None:
        question.choose(await self._turn.ask(self._parts.asked(question.call), key=""))

    async def end(self) -> None:
        """Stop everything that the agent still does for this prompt."""
        # From here on, nothing handles the agent's updates and requests.
        if self._process.answers.get(self._session) is self:
            del self._process.answers[self._session]
        while not self.updates.empty():
            if isinstance(update := self.updates.get_nowait(), _Question):
                update.choose(None)
        for asking in self._asking:
            asking.cancel()
        if self._prompt is not None and not self._prompt.done():
            with suppress(OSError, acp.RequestError):
                await self._process.connection.send_notification(
                    "session/cancel", {"sessionId": self._session}
                )
            await asyncio.wait({self._prompt}, timeout=LET_GO)
            if not self._prompt.done():
                # The session is still busy with this prompt: do not use it again.
                self._process.sessions.pop(self._session, None)
                self._prompt.cancel()
                await asyncio.wait({self._prompt})
