"""A conversation of another chat, and how one is made of JSON that may have any shape."""

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from sessile.wire.codec import encode
from sessile.wire.ids import LAST_DATE
from sessile.wire.loose import items, record, text
from sessile.wire.messages import Message, Role
from sessile.wire.parts import FilePart, Part, ReasoningPart, TextPart, ToolCallPart, text_of

_MESSAGE_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)  # of times, in a second
_LATEST = 100_000_000_000  # seconds, in the year 5138: a larger number has a smaller unit


class Conversation(NamedTuple):
    """One conversation. ``id`` is its id there, or nothing."""

    id: str
    title: str
    messages: list[Message]
    archived: bool = False


class Thread:
    """The messages of a conversation, as they are added.

    A message without a time has that of the message before it, the first one ``time``.
    """

    def __init__(self, time: object = None) -> None:
        self.messages: list[Message] = []
        self._ids: set[str] = set()
        self._time = seconds_of(time) or 0
        self._question: str | None = None

    def add(
        self,
        id: object,
        role: Role,
        parts: Iterable[Part],
        time: object = None,
        model: object = None,
        error: str = "",
    ) -> None:
        """Add a message, if it has something in it. An answer in several pieces is one message."""
        found = list(parts)
        if not found and not error:
            return
        seconds = seconds_of(time)
        self._time = self._time if seconds is None else seconds
        last = self.messages[-1] if self.messages else None
        if role == "assistant" and last is not None and last.role == role and not error:
            last.parts += found
            last.content = text_of(last.parts)
            return
        message = Message(
            self._id(id), role, text_of(found), found, self._time, len(self.messages), "complete"
        )
        metadata: dict[str, Any] = {"model": text(model)[:200]} if text(model) else {}
        if error:
            message.status = "error"
            metadata["error"] = {"error": error[:1000], "code": "agent_error"}
        if metadata:
            message.metadata = metadata
        if role == "user":
            self._question = message.id
        elif role == "assistant" and self._question is not None:
            message.reply_to = self._question
        self.messages.append(message)

    def result(self, id: str, output: Any, failed: bool = False) -> bool:
        """Give the tool call of an id, or the last one, its output; False if there is none."""
        calls = [
            part
            for message in self.messages[-1:]
            for part in message.parts
            if isinstance(part, ToolCallPart) and (not id or part.tool_call_id == id)
        ]
        if not calls:
            return False
        settle(calls[-1], output, failed)
        return True

    def _id(self, id: object) -> str:
        number = len(self.messages)
        given = id if isinstance(id, str) and _MESSAGE_ID.fullmatch(id) else f"message-{number}"
        found = given if given not in self._ids else f"{given}-{number}"
        self._ids.add(found)
        return found


def settle(call: ToolCallPart, output: Any, failed: bool = False) -> None:
    """Give a tool call its output; a second output is appended to the first."""
    shown = output if isinstance(output, str) else encode(output).decode()
    if failed:
        call.state, call.error = "error", shown
        return
    first = call.tool_output
    call.tool_output = f"{first}\n{shown}" if isinstance(first, str) and first else output


def branch(nodes: dict[str, Any], last: object, parent: str, children: str) -> list[dict[str, Any]]:
    """The messages that are shown of a tree: from the root to the node ``last``, or to the newest
    one. ``parent`` and ``children`` are the names of a node's fields."""
    at = text(last) if text(last) in nodes else _newest(nodes, parent, children)
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    while at is not None and at in nodes and at not in seen:
        seen.add(at)
        node = record(nodes[at])
        found.append(node)
        at = text(node.get(parent))
    return found[::-1]


def _newest(nodes: dict[str, Any], parent: str, children: str) -> str | None:
    """The last child of the last child, and so on, of the root."""
    at = next(
        (id for id, node in nodes.items() if text(record(node).get(parent)) not in nodes), None
    )
    seen: set[str] = set()
    while at is not None and at not in seen:
        seen.add(at)
        below = [id for id in items(record(nodes[at]).get(children)) if text(id) in nodes]
        if not below:
            return at
        at = below[-1]
    return at


def seconds_of(value: object) -> int | None:
    """A time in seconds: from seconds, milliseconds, microseconds, nanoseconds, or ISO 8601 text.

    None for what is not a time from 1970 to the end of the year 9999.
    """
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value)
            value = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    for unit in _UNITS:
        if 0 <= value < _LATEST * unit:
            return min(int(value // unit), LAST_DATE)
    return None


def text_parts(content: object) -> Sequence[Part]:
    """A text as parts; none for a blank one."""
    return [TextPart(text(content))] if text(content).strip() else []


def reasoning(content: object) -> Sequence[Part]:
    """A reasoning as parts; none for a blank one."""
    return [ReasoningPart(text(content))] if text(content).strip() else []


def named_file(name: object, media_type: object, address: object = None) -> FilePart:
    """A file that the export names. Its address is kept if it has one outside of that chat."""
    url, filename = text(address), text(name) or "file"
    if not url.startswith(("data:", "https://", "http://")):
        url = f"attachment:{quote(filename)}"
    return FilePart(text(media_type) or "application/octet-stream", url, filename)


def text_file(name: object, content: str) -> FilePart:
    """A file whose text is in the export."""
    data = base64.b64encode(content.encode()).decode()
    return FilePart(
        "text/plain", f"data:text/plain;charset=utf-8;base64,{data}", text(name) or "file"
    )
