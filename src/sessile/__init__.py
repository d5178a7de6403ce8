"""Sessile: a durable server for AI chat.

What is here is what one needs to write an agent and to put Sessile into an application.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sessile.agents.base import Agent, CallResult, Decision, Output, Turn, Unfinished
from sessile.agents.function import agent
from sessile.settings import Settings
from sessile.wire.errors import AgentError, SessileError
from sessile.wire.messages import Message, Page, PastMessage
from sessile.wire.parts import (
    DataPart,
    FilePart,
    Part,
    Question,
    ReasoningPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

if TYPE_CHECKING:
    from sessile.node.handle import Handle
    from sessile.server import Sessile, create_app
    from sessile.session.inbox import Draft
    from sessile.session.reply import Reply

__all__ = [
    "Agent",
    "AgentError",
    "CallResult",
    "DataPart",
    "Decision",
    "Draft",
    "FilePart",
    "Handle",
    "Message",
    "Output",
    "Page",
    "Part",
    "PastMessage",
    "Question",
    "ReasoningPart",
    "Reply",
    "Sessile",
    "SessileError",
    "Settings",
    "SourcePart",
    "TextPart",
    "ToolCallPart",
    "ToolResultPart",
    "Turn",
    "Unfinished",
    "agent",
    "create_app",
]

# The server is loaded when it is asked for: a command that only talks to one begins without it.
_LATE = {
    "Draft": "sessile.session.inbox",
    "Reply": "sessile.session.reply",
    "Sessile": "sessile.server",
    "Handle": "sessile.node.handle",
    "create_app": "sessile.server",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATE[name]), name)
    return value
