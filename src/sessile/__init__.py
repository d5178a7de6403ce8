"""Sessile: a home for every AI chat session.

What is here is what one needs to write an agent and to put Sessile into an application.
"""

from sessile.agents.base import Agent, Decision, Output, Turn
from sessile.errors import AgentError, SessileError
from sessile.inbox import Draft
from sessile.server import Sessile, create_app
from sessile.session import Session
from sessile.settings import Settings
from sessile.types import (
    DataPart,
    FilePart,
    Message,
    Page,
    Part,
    ReasoningPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = [
    "Agent",
    "AgentError",
    "DataPart",
    "Decision",
    "Draft",
    "FilePart",
    "Message",
    "Output",
    "Page",
    "Part",
    "ReasoningPart",
    "Sessile",
    "SessileError",
    "Session",
    "Settings",
    "SourcePart",
    "TextPart",
    "ToolCallPart",
    "ToolResultPart",
    "Turn",
    "create_app",
]
