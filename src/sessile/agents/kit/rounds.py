"""Messages as model providers want them in a history: rounds of text and the tools then called."""

from typing import Any, NamedTuple

from msgspec import UNSET

from sessile.wire.codec import encode
from sessile.wire.fold import UNFINISHED
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, TextPart, ToolCallPart


class Round(NamedTuple):
    """What the model said in one go: text, and then calls, each of which has its result."""

    text: str
    calls: list[ToolCallPart]


def rounds(message: Message) -> list[Round]:
    """An answer's rounds, oldest first; the next begins with the text after a call."""
    found: list[Round] = []
    text = ""
    for part in message.parts:
        if isinstance(part, TextPart):
            text += part.content
        elif isinstance(part, ToolCallPart):
            if text or not found:
                found.append(Round(text, []))
                text = ""
            found[-1].calls.append(part)
    if text:
        found.append(Round(text, []))
    return found


class Paragraphs:
    """Keeps the texts of one answer apart, for its content is all of them joined."""

    def __init__(self) -> None:
        self._said = False
        self._last = ""

    def begin(self, kind: str) -> str:
        """What stands before another text, or other thoughts (``kind`` is then no ``text``).

        Thoughts are joined only where nothing stands between them.
        """
        apart = self._said if kind == "text" else self._last == kind
        self._said = self._said or kind == "text"
        self._last = kind
        return "\n\n" if apart else ""

    def interrupt(self) -> None:
        """Something else stands here."""
        self._last = ""


def contents(message: Message) -> Any:
    """A user's message as OpenAI has it, and LangChain too: text, or blocks where there are files."""
    if not any(isinstance(part, FilePart) for part in message.parts):
        return message.content
    blocks: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            blocks.append({"type": "text", "text": part.content})
        elif isinstance(part, FilePart) and part.media_type.startswith("image/"):
            blocks.append({"type": "image_url", "image_url": {"url": part.url}})
        elif isinstance(part, FilePart):
            blocks.append({"type": "text", "text": f"[a file: {part.media_type}]"})
    return blocks


def result(call: ToolCallPart) -> str:
    """What a tool call came to, as text."""
    if call.state != "complete":
        return UNFINISHED if call.error is UNSET else call.error
    if call.tool_output is UNSET:
        return ""
    output = call.tool_output
    return output if isinstance(output, str) else encode(output).decode()
