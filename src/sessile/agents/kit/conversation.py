"""For agents that keep a conversation of their own: whether it is still the session's, and how to
tell them what they do not know.

An agent's own memory and the session's history part when a message is edited, deleted, stored
without the agent or answered again, when the session is a fork or an import, and when the agent has
lost its memory. Then a new conversation is begun, and the history told before the question.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Struct

from sessile.agents.base import Turn
from sessile.wire.codec import encode
from sessile.wire.errors import AgentError
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, TextPart, ToolCallPart

DIRECTORY = "directory"  # the name in a session's metadata of the folder its agent works in
VALUE = 1_000  # characters of a tool's input or output that are told


class Told(NamedTuple):
    """How much of a session's history an agent is told."""

    messages: int = 50
    characters: int = 100_000


class Conversation(Struct, rename="camel"):
    """What is remembered of an agent's own conversation.

    ``id`` is the agent's name for it, ``session`` the session it belongs to, ``question`` the last message the agent was given, ``before`` a digest of the
    history before that, ``directory`` the folder it works in.
    """

    id: str
    session: str
    question: str
    before: str
    directory: str


class Context:
    """What a turn's agent must know: made by :meth:`of`.

    ``conversation`` is the one to go on with, in which ``question`` was asked last; None if there
    is none that knows the history.
    """

    def __init__(
        self, turn: Turn, name: str, directory: Path, history: list[Message], limits: Told
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
    async def of(cls, turn: Turn, name: str, root: Path, limits: Told) -> "Context":
        """``name`` is the agent's, under which it remembers its conversation, ``root`` the folder agents work in.

        Raises :class:`~sessile.wire.errors.AgentError` for a folder that is not under ``root``.
        """
        directory = _directory(turn, root)
        history = await turn.history(limits.messages + 2)
        return cls(turn, name, directory, history, limits)

    async def keep(self, id: str) -> None:
        """Remember that this conversation has the question."""
        kept = Conversation(
            id,
            self._turn.session_id,
            self._turn.message.id,
            self._digest,
            str(self.directory),
        )
        await self._turn.remember({self._name: msgspec.to_builtins(kept)}, private=True)

    async def told(self) -> str:
        """The history for an agent that knows nothing of it; "" if there is none."""
        history = await self._turn.history(self._limits.messages, self._limits.characters)
        return transcript(history)


def _directory(turn: Turn, root: Path) -> Path:
    wanted = turn.session_metadata.get(DIRECTORY)
    if wanted is None:
        return root
    if not isinstance(wanted, str):
        raise AgentError(f"`{DIRECTORY}` in the session's metadata is not a text.")
    found = (root / wanted).resolve()
    if not found.is_relative_to(root):
        raise AgentError(f"The session's folder {wanted} is not under {root}.")
    if not found.is_dir():
        raise AgentError(f"The session's folder {wanted} does not exist under {root}.")
    return found


def _digest(messages: list[Message], limits: Told) -> str:
    found = hashlib.sha256()
    for message in messages[max(0, len(messages) - limits.messages) :]:
        found.update(encode([message.id, message.parts]))
    return found.hexdigest()[:32]


def transcript(history: list[Message]) -> str:
    """Messages as text, for an agent that takes the past only as part of a question."""
    if not history:
        return ""
    said = "\n\n".join(f"{message.role.title()}: {_told(message)}" for message in history)
    return (
        "This conversation began elsewhere. What was said and done so far:\n\n"
        f"<conversation>\n{said}\n</conversation>\n\nGo on with what is asked next."
    )


def _told(message: Message) -> str:
    told: list[str] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            told.append(part.content)
        elif isinstance(part, ToolCallPart):
            told.append(f"[used {part.tool_name} {_short(part.tool_input)}: {_outcome(part)}]")
        elif isinstance(part, FilePart):
            told.append(f"[a file: {part.filename or part.media_type}]")
    if message.status in ("stopped", "interrupted"):
        told.append(f"[{message.status}]")
    return "\n".join(text for text in told if text)


def _outcome(call: ToolCallPart) -> str:
    if call.state == "error":
        return f"failed, {_short('' if call.error is UNSET else call.error)}"
    return _short("" if call.tool_output is UNSET else call.tool_output)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else encode(value).decode()
    return text if len(text) <= VALUE else text[:VALUE] + "…"
