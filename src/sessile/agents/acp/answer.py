"""One prompt to an ACP agent."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import acp

from sessile.agents.acp.failures import failures
from sessile.agents.acp.parts import Parts, of
from sessile.agents.acp.process import Process, Question
from sessile.agents.base import Decision, Output, Turn, Usage
from sessile.agents.kit.continuing import Former
from sessile.agents.kit.pace import Pace
from sessile.wire.errors import AgentError
from sessile.wire.ids import new_id
from sessile.wire.loose import items, record

PASSED_ON = "passedOn"  # the key of the calls for which permission was passed on to the agent
QUIET = 0.2  # seconds without an update after which an answer is over
LATEST = 2.0  # seconds after the end of a prompt in which updates still belong to its answer
LET_GO = 1.5  # seconds for it to end a stopped prompt


class Answer:
    """One prompt, from sending it to its end."""

    def __init__(self, process: Process, turn: Turn, session: str, former: Former) -> None:
        self.updates: asyncio.Queue[Any] = asyncio.Queue()  # ends with None
        self._process = process
        self._turn = turn
        self._session = session
        self._former = former
        self.kept: dict[str, Any] = {}  # with the answer
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
        self._process.updates[self._session] = self.updates
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
        if isinstance(update, Question):
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

    def _ask(self, question: Question) -> None:
        asking = asyncio.create_task(self._put(question), name=f"acp asks {self._session}")
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        asking.add_done_callback(lambda _: question.choose(None))

    async def _put(self, question: Question) -> None:
        call = self._parts.asked(question.call)
        if self._former.is_granted(call):
            question.choose(Decision("approved"))
            return
        # Each request is a question of its own, also about the same call.
        decision = await self._turn.ask(call, key="", about=new_id())
        if decision.approved:
            items(self.kept.get(PASSED_ON)).append(call.tool_call_id)
            await self._turn.keep(self.kept)
        question.choose(decision)

    async def end(self) -> None:
        """Stop everything that the agent still does for this prompt."""
        # From here on, nothing handles the agent's updates and requests.
        if self._process.updates.get(self._session) is self.updates:
            del self._process.updates[self._session]
        while not self.updates.empty():
            if isinstance(update := self.updates.get_nowait(), Question):
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
