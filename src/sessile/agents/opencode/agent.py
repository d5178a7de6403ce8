"""OpenCode, over its HTTP API: one OpenCode session for each session."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import UNSET

from sessile.agents.base import Output, Turn
from sessile.agents.kit.conversation import Context, HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.opencode.answer import LET_GO, NEWEST, Answer
from sessile.agents.opencode.continuing import Record, messages_after, record_of, standing
from sessile.agents.opencode.server import OpenCodeServer, is_local
from sessile.wire.errors import AgentError, SettingsError
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, TextPart

log = logging.getLogger(__name__)

NAME = "opencode"  # of the agent, and its key in a session's private metadata


class OpenCodeAgent:
    """OpenCode at a URL, or our own OpenCode server, which ``command`` starts.

    It works in ``directory``, or in the folder that the session's metadata names. ``patience`` is
    how many seconds it may retry when a model's provider fails. OpenCode's configuration decides
    what needs permission; Sessile's settings decide who answers. Our own server gets the
    environment variables ``passed``, in addition to those that every agent gets.

    After a restart it finds its prompt again. Where OpenCode still works on it, or has ended it
    meanwhile, that is shown. Otherwise, as with our own server, which ends with Sessile, OpenCode is
    asked to go on: it has the tool calls that ended in its own memory.
    """

    continues = True

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
        folder = str(context.directory)
        record = record_of(turn.unfinished)
        messages = None if record is None else await self._messages(record.session, folder)
        if record is None or messages is None:
            record, messages, briefing = await self._taken_up(context)
        else:
            briefing = []
        mine = messages_after(messages, record.after)
        runs = record.session in await self._server.call("GET", "/session/status", folder)
        async with self._server.listening(record.session) as listener:
            known = {m["info"]["id"] for m in messages if m not in mine}
            answer = Answer(self._server, listener, turn, record, folder, known, self._patience)
            try:
                match standing(mine, runs):
                    case "new":
                        parts = [*briefing, *_prompt(self._files.shown(turn.message))]
                        await turn.keep(record)
                        await answer.begin(parts)
                    case "cut":
                        async for output in answer.go_on(mine):
                            yield output
                    case _:
                        for output in await answer.find(mine):
                            yield output
                await context.keep(record.session)
                async for output in answer.outputs():
                    yield output
            finally:
                await answer.end()

    async def _messages(self, session: str, folder: str) -> list[dict[str, Any]] | None:
        """The newest messages of a session, oldest first; None if OpenCode has lost it."""
        path = f"/session/{session}/message"
        found: list[dict[str, Any]] | None
        found = await self._server.call("GET", path, folder, limit=NEWEST)
        return found

    async def _taken_up(
        self, context: Context
    ) -> tuple[Record, list[dict[str, Any]], list[dict[str, Any]]]:
        """OpenCode's session, its messages, and the history to send it if it is new."""
        folder = str(context.directory)
        if context.conversation is not None:
            session = context.conversation.id
            messages = await self._messages(session, folder)
            asked = bool(messages) and _was_asked(messages or [], context.question)
            if messages and asked and await self._idle(session, folder):
                return Record(session, messages[-1]["info"]["id"]), messages, []
        made = await self._server.call("POST", "/session", folder, {})
        briefing = await context.briefing()
        return (
            Record(made["id"], ""),
            [],
            [_text(briefing) | {"synthetic": True}] if briefing else [],
        )

    async def _idle(self, session: str, folder: str) -> bool:
        """Stop what an earlier turn left running in it; whether it is idle then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LET_GO):
                while session in await self._server.call("GET", "/session/status", folder):
                    await self._server.call("POST", f"/session/{session}/abort", folder)
                    await asyncio.sleep(0.05)
                return True
        return False


def _was_asked(messages: list[dict[str, Any]], question: Message | None) -> bool:
    """Whether OpenCode received the question last; it may have ended before that."""
    asked = [message for message in messages if message["info"]["role"] == "user"]
    text = "".join(part.get("text", "") for part in asked[-1]["parts"]) if asked else ""
    return question is not None and bool(asked) and question.content in text


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
