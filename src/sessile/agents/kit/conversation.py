"""For agents that keep their own conversation: whether it still matches the session, and how to
send the agents what they do not know.

An agent's conversation no longer matches the session's history after a message was edited, deleted,
answered again or stored without the agent, in a fork or an import, and when the agent lost its
memory. The agent then starts a new conversation and receives the history before the question.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Struct

from sessile.agents.base import Turn
from sessile.wire.codec import encode
from sessile.wire.errors import AgentError
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, Part, TextPart, ToolCallPart

DIRECTORY = "directory"  # the key in a session's metadata for the folder in which its agent works
VALUE = 1_000  # maximum characters of a tool's input or output in the history


class HistoryLimits(NamedTuple):
    """How much of a session's history an agent receives."""

    messages: int = 50
    characters: int = 100_000


class Conversation(Struct, rename="camel"):
    """What the session stores about an agent's own conversation.

    ``id`` is the agent's id for it, ``session`` the session it belongs to, ``question`` the last
    message that the agent received, ``before`` a digest of the history before that message,
    ``directory`` the folder in which the agent works.
    """

    id: str
    session: str
    question: str
    before: str
    directory: str


class Context:
    """What a turn's agent already knows; created by :meth:`of`.

    ``conversation`` is the conversation to continue, with ``question`` as its last question; None
    if no conversation contains the history.
    """

    def __init__(
        self,
        turn: Turn,
        name: str,
        directory: Path,
        history: Sequence[Message],
        limits: HistoryLimits,
    ) -> None:
        self.directory = directory
        self.conversation: Conversation | None = None
        self.question: Message | None = None
        self._turn = turn
        self._name = name
        self._limits = limits
        self._digest = _digest(history, limits)
        try:
            known = msgspec.convert(turn.private.get(name), Conversation)
        except msgspec.ValidationError:
            return
        if len(history) < 2:
            return
        *before, question, answer = history
        if (
            known.session == turn.session_id
            and known.directory == str(directory)
            and question.id == answer.reply_to == known.question
            and _digest(before, limits) == known.before
        ):
            self.conversation, self.question = known, question

    @classmethod
    async def of(cls, turn: Turn, name: str, root: Path, limits: HistoryLimits) -> "Context":
        """``name`` is the key under which the agent stores its conversation, ``root`` the folder in
        which agents work.

        Raises :class:`~sessile.wire.errors.AgentError` for a folder that is not under ``root``.
        """
        directory = _directory(turn, root)
        history = await turn.newest(limits.messages + 2)
        return cls(turn, name, directory, history, limits)

    async def keep(self, id: str) -> None:
        """Store that this conversation contains the question."""
        kept = Conversation(
            id,
            self._turn.session_id,
            self._turn.message.id,
            self._digest,
            str(self.directory),
        )
        await self._turn.remember({self._name: msgspec.to_builtins(kept)}, private=True)

    async def briefing(self) -> str:
        """The history for an agent that does not know it; "" if there is none."""
        history = await self._turn.history(self._limits.messages, self._limits.characters)
        return transcript(history)


def _directory(turn: Turn, root: Path) -> Path:
    wanted = turn.session_metadata.get(DIRECTORY)
    if wanted is None:
        return root
    if not isinstance(wanted, str):
        raise AgentError(f"`{DIRECTORY}` in the session's metadata is not a string.")
    found = (root / wanted).resolve()
    if not found.is_relative_to(root):
        raise AgentError(
            f"The session's folder {wanted} is not inside the agent's folder.", details=str(root)
        )
    if not found.is_dir():
        raise AgentError(
            f"The session's folder {wanted} does not exist in the agent's folder.",
            details=str(root),
        )
    return found


def _digest(messages: Sequence[Message], limits: HistoryLimits) -> str:
    found = hashlib.sha256()
    for message in messages[max(0, len(messages) - limits.messages) :]:
        found.update(encode([message.id, message.parts]))
    return found.hexdigest()[:32]


def transcript(history: Sequence[Message]) -> str:
    """Messages as text, for an agent that accepts the history only as part of a question."""
    if not history:
        return ""
    said = "\n\n".join(f"{message.role.title()}: {_line(message)}" for message in history)
    return (
        "This conversation began elsewhere. What was said and done so far:\n\n"
        f"<conversation>\n{said}\n</conversation>\n\nGo on with what is asked next."
    )


def _line(message: Message) -> str:
    said = transcribed(message.parts)
    if message.status in ("stopped", "interrupted"):
        return f"{said}\n[{message.status}]".lstrip()
    return said


def transcribed(parts: Sequence[Part]) -> str:
    """The parts of a message as text."""
    lines: list[str] = []
    for part in parts:
        if isinstance(part, TextPart):
            lines.append(part.content)
        elif isinstance(part, ToolCallPart):
            lines.append(f"[used {part.tool_name} {_short(part.tool_input)}: {_outcome(part)}]")
        elif isinstance(part, FilePart):
            lines.append(f"[a file: {part.filename or part.media_type}]")
    return "\n".join(text for text in lines if text)


def _outcome(call: ToolCallPart) -> str:
    if call.is_open:
        return "it is not known whether it ran"
    if call.state == "error":
        return f"failed, {_short('' if call.error is UNSET else call.error)}"
    return _short("" if call.tool_output is UNSET else call.tool_output)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else encode(value).decode()
    return text if len(text) <= VALUE else text[:VALUE] + "…"
