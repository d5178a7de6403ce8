"""OpenCode, over its HTTP API: one OpenCode session for each session."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from sessile.agents.base import Decision, Output, Turn, Usage
from sessile.agents.kit.conversation import Context, HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.pace import Pace
from sessile.agents.kit.providers import reason_in
from sessile.agents.opencode.parts import Parts
from sessile.agents.opencode.server import Listener, Lost, OpenCodeServer, is_local
from sessile.wire.errors import AgentError, SettingsError
from sessile.wire.messages import Message
from sessile.wire.parts import DataPart, FilePart, TextPart

log = logging.getLogger(__name__)

NAME = "opencode"  # of the agent, and its key in a session's private metadata
NEWEST = 100  # maximum number of OpenCode messages to read
LET_GO = 1.5  # seconds for OpenCode to end a stopped prompt
SETTLE = 2.0  # seconds for its last output to arrive after its end
RETRIES = "The model's provider failed, and OpenCode tries again."
ERROR_GRACE = 1.0  # seconds after an error in which a continuing turn sends an event


class OpenCodeAgent:
    """OpenCode at a URL, or our own OpenCode server, which ``command`` starts.

    It works in ``directory``, or in the folder that the session's metadata names. ``patience`` is
    how many seconds it may retry when a model's provider fails. OpenCode's configuration decides
    what needs permission; Sessile's settings decide who answers. Our own server gets the
    environment variables ``passed``, in addition to those that every agent gets.
    """

    def __init__(
        self,
        url: str | None = None,
        command: str = "opencode",
        password: str = "",
        directory: Path | None = None,
        limits: HistoryLimits = HistoryLimits(),  # noqa: B008
        patience: float = 60.0,
        passed: Iterable[str] = (),
        files: FileHosts = FileHosts(),  # noqa: B008
    ) -> None:
        self.name = NAME
        self._directory = (directory or Path.cwd()).resolve()
        self.folder = self._directory if is_local(url) else None
        self._limits = limits
        self._patience = patience
        self._files = files
        self._server = OpenCodeServer(url, command, password, self._directory, passed)

    async def open(self) -> None:
        try:
            await self._server.ready()
        except AgentError as error:
            await self._server.close()
            raise SettingsError(f"the agent {NAME}: {error.details or error}") from error

    async def close(self) -> None:
        await self._server.close()

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        context = await Context.of(turn, NAME, self._directory, self._limits)
        await self._server.ready()
        session, known, parts = await self._taken_up(context)
        parts.extend(_prompt(self._files.shown(turn.message)))
        folder = str(context.directory)
        async with self._server.listening(session) as listener:
            answer = _Answer(self._server, listener, turn, session, folder, known, self._patience)
            try:
                await answer.begin(parts)
                await context.keep(session)
                async for output in answer.outputs():
                    yield output
            finally:
                await answer.end()

    async def _taken_up(self, context: Context) -> tuple[str, set[str], list[dict[str, Any]]]:
        """OpenCode's session, its known messages, and the history to send it if it is new."""
        folder = str(context.directory)
        if context.conversation is not None:
            session = context.conversation.id
            path = f"/session/{session}/message"
            messages = await self._server.call("GET", path, folder, limit=NEWEST)
            asked = bool(messages) and _was_asked(messages, context.question)
            if asked and await self._idle(session, folder):
                return session, {message["info"]["id"] for message in messages}, []
        made = await self._server.call("POST", "/session", folder, {})
        briefing = await context.briefing()
        return made["id"], set(), [_text(briefing) | {"synthetic": True}] if briefing else []

    async def _idle(self, session: str, folder: str) -> bool:
        """Stop what an earlier turn left running in it; whether it is idle then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LET_GO):
                while session in await self._server.call("GET", "/session/status", folder):
                    await self._server.call("POST", f"/session/{session}/abort", folder)
                    await asyncio.sleep(0.05)
                return True
        return False


class _Answer:
    """One prompt, from sending it to its end."""

    def __init__(
        self,
        server: OpenCodeServer,
        listener: Listener,
        turn: Turn,
        session: str,
        folder: str,
        known: set[str],
        patience: float,
    ) -> None:
        self._server = server
        self._listener = listener
        self._turn = turn
        self._session = session
        self._folder = folder
        self._patience = patience
        self._parts = Parts(session, known)
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
        for asking in self._asking.values():
            asking.cancel()
        if not self._over:
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
        found = self._parts.take(event)
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
        self._parts.miss()
        found = await self._messages()
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
        return [output for message in messages for output in self._parts.take_message(message)]

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
        decision = await self._turn.ask(self._parts.call(about), key="")
        reply: dict[str, Any] = {"reply": "reject"}
        if decision.approved:
            reply = {"reply": "always" if decision.always else "once"}
        elif decision.message:
            reply["message"] = decision.message
        await self._reply(about["id"], f"/permission/{about['id']}/reply", reply)

    async def _put_question(self, about: dict[str, Any]) -> None:
        call = msgspec.structs.replace(self._parts.call(about), tool_name="question")
        decision = await self._turn.ask(call, key="")
        path = f"/question/{about['id']}"
        if decision.approved:
            answers = _answers(about["questions"], decision)
            await self._reply(about["id"], f"{path}/reply", {"answers": answers})
        else:
            await self._reply(about["id"], f"{path}/reject", None)

    async def _reply(self, id: str, path: str, body: Any) -> None:
        self._asking.pop(id, None)
        try:
            await self._call("POST", path, body)
        except AgentError as error:
            log.warning("an answer did not reach OpenCode: %s", error)


def _was_asked(messages: list[dict[str, Any]], question: Message | None) -> bool:
    """Whether OpenCode received the question last; it may have ended before that."""
    asked = [message for message in messages if message["info"]["role"] == "user"]
    text = "".join(part.get("text", "") for part in asked[-1]["parts"]) if asked else ""
    return question is not None and bool(asked) and question.content in text


def _answers(questions: list[dict[str, Any]], decision: Decision) -> list[list[str]]:
    """One line of the user's message for each question; the first option if there is no line."""
    lines = [line.strip() for line in decision.message.splitlines() if line.strip()]
    first = [[option["label"] for option in q.get("options", [])][:1] for q in questions]
    return [[lines[i]] if i < len(lines) else first[i] for i in range(len(questions))]


def _prompt(message: Message) -> list[dict[str, Any]]:
    """A user's message as OpenCode's parts. It must not read files of OpenCode's machine."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            parts.append(_text(part.content))
        elif isinstance(part, FilePart) and part.url.startswith("data:"):
            name = {} if part.filename is UNSET else {"filename": part.filename}
            parts.append({"type": "file", "mime": part.media_type, "url": part.url, **name})
        elif isinstance(part, FilePart):
            parts.append(_text(f"[a file: {part.url}]"))
    return parts or [_text(message.content)]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
