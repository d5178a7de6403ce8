"""An answer of OpenCode while it works on it."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import msgspec

from sessile.agents.base import Decision, Output, Turn, Usage
from sessile.agents.kit.continuing import Former
from sessile.agents.kit.pace import Pace
from sessile.agents.kit.providers import reason_in
from sessile.agents.opencode.continuing import Record
from sessile.agents.opencode.parts import Parts
from sessile.agents.opencode.server import Listener, Lost, OpenCodeServer
from sessile.wire.errors import AgentError
from sessile.wire.parts import DataPart, ToolCallPart

log = logging.getLogger(__name__)

NEWEST = 100  # maximum number of OpenCode messages to read
LET_GO = 1.5  # seconds for OpenCode to end a stopped prompt
SETTLE = 2.0  # seconds for its last output to arrive after its end
RETRIES = "The model's provider failed, and OpenCode tries again."
ERROR_GRACE = 1.0  # seconds after an error in which a continuing turn sends an event


class Answer:
    """One answer, from its prompt to its end, or from a restart on.

    ``patience`` is how many seconds OpenCode may retry when a model's provider fails.
    """

    def __init__(
        self,
        server: OpenCodeServer,
        listener: Listener,
        turn: Turn,
        record: Record,
        folder: str,
        known: set[str],
        patience: float,
    ) -> None:
        self._server = server
        self._listener = listener
        self._turn = turn
        self._record = record
        self._session = record.session
        self._folder = folder
        self._patience = patience
        self._parts = Parts(record.session, known)
        self._former = Former(turn.unfinished)
        self._clock = asyncio.get_running_loop().time
        self._busy = False
        self._over = False
        self._retry: tuple[float, str] | None = None  # when to give up, and the last reason
        self._error_at: float | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._pace = Pace(self._clock)

    async def begin(self, parts: list[dict[str, Any]]) -> None:
        path = f"/session/{self._session}/prompt_async"
        if await self._call("POST", path, {"parts": parts}) is None:
            raise AgentError("OpenCode has lost its session. Send the message again.")

    async def go_on(self, messages: list[dict[str, Any]]) -> AsyncGenerator[Output, None]:
        """Show what OpenCode has beyond the answer, and ask it to go on from there."""
        self._parts.expect(messages)
        for output in await self._messages():
            yield output
        for output in await self._former.close_calls(self._turn, self._record.passed_on):
            yield output
        self._turn.begin_part()
        self._parts.go_on()
        go_on = {"type": "text", "text": self._former.reminder(), "synthetic": True}
        await self.begin([go_on])

    async def find(self, messages: list[dict[str, Any]]) -> list[Output]:
        """What OpenCode has done for the answer meanwhile."""
        self._parts.expect(messages)
        self._busy = True
        return await self._catch_up()

    async def outputs(self) -> AsyncGenerator[Output, None]:
        """The answer as it arrives; raises :class:`~sessile.wire.errors.AgentError` on failure."""
        while not self._over:
            try:
                event = await self._listener.next(self._until_due())
            except Lost:
                found = await self._catch_up()
            else:
                found = [] if event is None else self._take(event)
            for output in self._pace.due(found):
                yield output
            if self._retry is not None and self._clock() > self._retry[0]:
                raise AgentError(
                    "The model's provider failed for too long.",
                    details=self._retry[1],
                    reason=reason_in(self._retry[1]),
                )
            if self._error_at is not None and self._clock() > self._error_at:
                self._over = True
        for output in [*self._pace.rest(), *self._pace.due(await self._settled())]:
            yield output
        if self._parts.aborted:
            raise AgentError("The answer was stopped in OpenCode.")
        if self._parts.error is not None:
            raise self._parts.failure()
        if self._parts.too_long:
            self._turn.metadata["finishReason"] = "length"

    async def end(self) -> None:
        """Stop everything that OpenCode still does for this prompt."""
        asking = list(self._asking.values())
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        if not (self._over or self._turn.is_left):
            with suppress(AgentError, TimeoutError):
                async with asyncio.timeout(LET_GO):
                    await self._call("POST", f"/session/{self._session}/abort")
        if self._parts.model is not None:
            self._turn.metadata["model"] = self._parts.model
            usage, cost = self._parts.usage()
            if usage != Usage():
                self._turn.metadata |= {"usage": usage, "cost": cost}

    async def _call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        return await self._server.call(method, path, self._folder, body, **query)

    # Events -------------------------------------------------------------------------------------

    def _take(self, event: dict[str, Any]) -> list[Output]:
        kind, about = event["type"], event["properties"]
        if kind in ("permission.asked", "question.asked"):
            self._ask(about, kind == "question.asked")
        elif kind in ("permission.replied", "question.replied", "question.rejected"):
            # Another client answered, or OpenCode confirms our own answer.
            if asking := self._asking.pop(about["requestID"], None):
                asking.cancel()
        elif kind == "session.status" and about["sessionID"] == self._session:
            return self._status(about["status"])
        found = self._former.new(self._parts.take(event))
        if found:
            self._retry = None
        if self._parts.error is not None and not self._busy and self._error_at is None:
            self._error_at = self._clock() + ERROR_GRACE
        return found

    def _status(self, status: dict[str, Any]) -> list[Output]:
        if status["type"] == "idle":
            self._over = self._busy or self._parts.error is not None
            return []
        self._busy = True
        if status["type"] != "retry":
            return []
        give_up_at = self._clock() + self._patience if self._retry is None else self._retry[0]
        self._retry = give_up_at, status["message"]
        # What the provider said may have a part of a key in it: it is logged when OpenCode gives up.
        return [DataPart("retry", {"attempt": status["attempt"], "reason": RETRIES})]

    async def _catch_up(self) -> list[Output]:
        """What was missed while the stream of events was lost."""
        found = await self._messages()
        self._parts.miss()
        for path in ("/permission", "/question"):
            for about in await self._call("GET", path):
                if about["sessionID"] == self._session and about["id"] not in self._asking:
                    self._ask(about, path == "/question")
        if self._session not in await self._call("GET", "/session/status"):
            self._over = True
        return found

    async def _settled(self) -> list[Output]:
        """The rest of the answer after its end: the last events may arrive late."""
        give_up_at = self._clock() + SETTLE
        found: list[Output] = []
        while True:
            found += await self._messages()
            if self._parts.completed or self._clock() > give_up_at:
                return found
            await asyncio.sleep(0.05)

    async def _messages(self) -> list[Output]:
        """What the stored messages add to the output so far."""
        path = f"/session/{self._session}/message"
        messages = await self._call("GET", path, limit=NEWEST) or []
        found = [output for message in messages for output in self._parts.take_message(message)]
        return self._former.new(found)

    def _until_due(self) -> float | None:
        """Seconds until something is due without an event."""
        now = self._clock()
        times = [self._pace.seconds()]
        times += [self._retry[0] - now] if self._retry is not None else []
        times += [self._error_at - now] if self._error_at is not None else []
        return min((max(0.0, time) + 0.001 for time in times if time is not None), default=None)

    # Questions ----------------------------------------------------------------------------------

    def _ask(self, about: dict[str, Any], question: bool) -> None:
        put = self._put_question if question else self._put_permission
        task = asyncio.create_task(put(about), name=f"opencode asks {about['id']}")
        self._asking[about["id"]] = task

    async def _put_permission(self, about: dict[str, Any]) -> None:
        call = await self._whole(about)
        if self._former.is_granted(call):
            await self._reply(about["id"], f"/permission/{about['id']}/reply", {"reply": "once"})
            return
        decision = await self._turn.ask(call, key="", about=about["id"])
        reply: dict[str, Any] = {"reply": "reject"}
        if decision.approved:
            self._record.passed_on.append(call.tool_call_id)
            await self._turn.keep(self._record)
            reply = {"reply": "always" if decision.always else "once"}
        elif decision.message:
            reply["message"] = decision.message
        await self._reply(about["id"], f"/permission/{about['id']}/reply", reply)

    async def _put_question(self, about: dict[str, Any]) -> None:
        call = msgspec.structs.replace(self._parts.call(about), tool_name="question")
        decision = await self._turn.ask(call, key="", about=about["id"])
        path = f"/question/{about['id']}"
        if decision.approved:
            answers = _answers(about["questions"], decision)
            await self._reply(about["id"], f"{path}/reply", {"answers": answers})
        else:
            await self._reply(about["id"], f"{path}/reject", None)

    async def _whole(self, about: dict[str, Any]) -> ToolCallPart:
        """The tool call of a request, also where its event has not come yet."""
        tool = about.get("tool") or {}
        if self._former.dead and tool.get("messageID"):
            path = f"/session/{about['sessionID']}/message/{tool['messageID']}"
            message = await self._call("GET", path)
            for part in message["parts"] if message else ():
                self._parts.part(part)
        return self._parts.call(about)

    async def _reply(self, id: str, path: str, body: Any) -> None:
        self._asking.pop(id, None)
        try:
            await self._call("POST", path, body)
        except AgentError as error:
            log.warning("an answer did not reach OpenCode: %s", error)


def _answers(questions: list[dict[str, Any]], decision: Decision) -> list[list[str]]:
    """One line of the user's message for each question; the first option if there is no line."""
    lines = [line.strip() for line in decision.message.splitlines() if line.strip()]
    first = [[option["label"] for option in q.get("options", [])][:1] for q in questions]
    return [[lines[i]] if i < len(lines) else first[i] for i in range(len(questions))]
