"""Messages in the form of model providers: rounds of text and the tool calls after it."""

from typing import Any, NamedTuple

from msgspec import UNSET

from sessile.wire.codec import encode
from sessile.wire.fold import UNFINISHED
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, TextPart, ToolCallPart


class Round(NamedTuple):
    """One response of the model: text, and then calls with their results."""

    text: str
    calls: list[ToolCallPart]


def rounds(message: Message) -> list[Round]:
    """An answer's rounds, oldest first; text after a call begins the next one."""
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
    """Separates the texts of one answer, whose content is all of them joined."""

    def __init__(self) -> None:
        self._said = False
        self._last = ""

    def begin(self, kind: str) -> str:
        """The separator before another text, or before reasoning if ``kind`` is not ``text``.

        Reasoning is joined only if nothing comes between.
        """
        apart = self._said if kind == "text" else self._last == kind
        self._said = self._said or kind == "text"
        self._last = kind
        return "\n\n" if apart else ""

    def interrupt(self) -> None:
        """Another kind of part comes here."""
        self._last = ""


def contents(message: Message) -> Any:
    """A user's message in the form of OpenAI and LangChain: text, or blocks if there are files."""
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
    """The result of a tool call, as text."""
    if call.state != "complete":
        return UNFINISHED if call.error is UNSET else call.error
    if call.tool_output is UNSET:
        return ""
    output = call.tool_output
    return output if isinstance(output, str) else encode(output).decode()
