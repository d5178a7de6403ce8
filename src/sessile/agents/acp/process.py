"""The process of an ACP agent, and what it asks."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import acp
from acp.connection import Connection

from sessile.agents.acp.failures import failures, said_by
from sessile.agents.acp.parts import of
from sessile.agents.base import Decision
from sessile.agents.kit.child import Child
from sessile.wire.errors import AgentError
from sessile.wire.loose import items, record

log = logging.getLogger(__name__)

START = 30.0  # seconds for an agent to start, and to create or load a session
QUIET = 0.2  # seconds without an update after which a replayed history is over

# The kinds of options for a decision, in the order of preference.
_OPTIONS = {
    ("approved", True): ("allow_always", "allow_once", "allow"),
    ("approved", False): ("allow_once", "allow_always", "allow"),
    ("denied", True): ("reject_always", "reject_once", "reject"),
    ("denied", False): ("reject_once", "reject_always", "reject"),
}


class Process:
    """The agent's process, and our side of the connection to it."""

    def __init__(self, child: Child) -> None:
        self.capabilities: dict[str, Any] = {}
        self.sessions: dict[str, float | None] = {}  # loaded in the agent, with their cost so far
        self.updates: dict[str, asyncio.Queue[Any]] = {}  # of the answers that are being written
        self._unclaimed = 0
        self._child = child
        self.connection = Connection(self._handle, child.stdin, child.stdout)

    @classmethod
    async def start(cls, command: list[str], folder: Path, passed: Iterable[str] = ()) -> "Process":
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
        updates = (
            self.updates.get(str(params.get("sessionId"))) if isinstance(params, dict) else None
        )
        if method == "session/update":
            if updates is None:
                self._unclaimed += 1
            else:
                updates.put_nowait(of(params, "update"))
            return None
        if method == "session/request_permission":
            return {"outcome": await self._chosen(updates, params)}
        if not is_notification:
            raise acp.RequestError.method_not_found(method)
        return None

    async def _chosen(self, updates: asyncio.Queue[Any] | None, params: Any) -> dict[str, Any]:
        """The outcome of a permission request."""
        option = None
        if updates is not None:
            question = Question(of(params, "toolCall"), params.get("options"))
            updates.put_nowait(question)
            option = await question.chosen
        if option is None:
            return {"outcome": "cancelled"}
        return {"outcome": "selected", "optionId": option}


class Question:
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
