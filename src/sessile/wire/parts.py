"""The parts of a message."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

ToolState: TypeAlias = Literal["pending", "running", "complete", "error"]
QuestionKind: TypeAlias = Literal["approval", "output"]
QuestionState: TypeAlias = Literal["open", "approved", "denied", "answered", "expired"]


class TextPart(Struct, tag="text", rename="camel"):
    """Text, in Markdown where the agent writes it."""

    content: str


class ReasoningPart(Struct, tag="reasoning", rename="camel"):
    """What the agent thought before or between its words."""

    content: str


class Question(Struct, rename="camel", omit_defaults=True, frozen=True):
    """What an agent asks about a tool call: for approval, or for its output.

    ``schema`` is the JSON Schema of the output. ``expires_at`` is when a question expires that
    nobody answers (unix seconds). ``message`` is what came with the answer.
    """

    id: str
    kind: QuestionKind
    state: QuestionState
    schema: Any | UnsetType = UNSET
    expires_at: int | UnsetType = UNSET
    message: str | UnsetType = UNSET

    @property
    def is_open(self) -> bool:
        return self.state == "open"


class ToolCallPart(Struct, tag="tool-call", rename="camel", omit_defaults=True):
    """One use of a tool; yielded again with the same ``tool_call_id`` it replaces itself.

    ``tool_input`` and ``tool_output`` are any JSON value.
    """

    tool_call_id: str
    tool_name: str
    tool_input: Any
    state: ToolState
    tool_output: Any | UnsetType = UNSET
    error: str | UnsetType = UNSET
    question: Question | UnsetType = UNSET

    @property
    def is_open(self) -> bool:
        """Whether the call has not ended."""
        return self.state in ("pending", "running")

    @property
    def asks(self) -> bool:
        """Whether the call has an open question."""
        return self.question is not UNSET and self.question.is_open


class ToolResultPart(Struct, tag="tool-result", rename="camel", omit_defaults=True):
    """A tool's result as a client sent it; kept and returned as sent."""

    tool_name: str
    tool_output: Any
    state: str
    tool_call_id: str | UnsetType = UNSET


class FilePart(Struct, tag="file", rename="camel", omit_defaults=True):
    """A file or an image by its address; ``url`` may be a ``data:`` URL."""

    media_type: str
    url: str
    filename: str | UnsetType = UNSET


class SourcePart(Struct, tag="source", rename="camel", omit_defaults=True):
    """Where an answer has something from."""

    url: str
    title: str | UnsetType = UNSET


class DataPart(Struct, tag="data", rename="camel"):
    """Any JSON value under a name; an agent that yields a name again replaces its value."""

    name: str
    data: Any


Part: TypeAlias = (
    TextPart | ReasoningPart | ToolCallPart | ToolResultPart | FilePart | SourcePart | DataPart
)


def text_of(parts: Sequence[Part]) -> str:
    """All text parts, joined: the ``content`` of the message that has these parts."""
    return "".join([part.content for part in parts if isinstance(part, TextPart)])


decode_part: Callable[[bytes], Part] = msgspec.json.Decoder(Part).decode
