"""The questions of an agent in the events of a turn."""

from typing import Any


def open_calls(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool calls of an event that have an open question."""
    return [call for call in _calls(event) if call["question"]["state"] == "open"]


def state_in(event: dict[str, Any], id: str) -> str:
    """The state of a question after an event; empty if the event does not say."""
    states = [call["question"]["state"] for call in _calls(event) if call["question"]["id"] == id]
    return states[-1] if states else ""


def has_ended(event: dict[str, Any]) -> bool:
    """Whether the answer has ended with this event."""
    return bool(event["type"] == "assistant" and event["status"] != "streaming")


def _calls(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool calls with a question: that of a part, or those of an answer as it stands."""
    parts = event["parts"] if event["type"] == "assistant" else [event.get("part")]
    return [part for part in parts if isinstance(part, dict) and part.get("question")]
