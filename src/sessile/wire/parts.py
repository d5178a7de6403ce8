"""The parts of a message."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

ToolState: TypeAlias = Literal["pending", "running", "complete", "error"]
ApprovalState: TypeAlias = Literal["asked", "approved", "denied", "expired"]


class TextPart(Struct, tag="text", rename="camel"):
    """Text, in Markdown where the agent writes it."""

    content: str


class ReasoningPart(Struct, tag="reasoning", rename="camel"):
    """What the agent thought before or between its words."""

    content: str


class Approval(Struct, rename="camel"):
    """Whether a tool call has permission to run."""

    id: str
    state: ApprovalState


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
    approval: Approval | UnsetType = UNSET


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
