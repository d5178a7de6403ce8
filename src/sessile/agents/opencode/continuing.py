"""Where an answer of OpenCode stands after a restart. Pure."""

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from sessile.agents.base import Unfinished

# How OpenCode ends a step after which another one comes.
_GOES_ON = (None, "", "tool-calls", "unknown")

Standing: TypeAlias = Literal["new", "runs", "ended", "cut"]


class Record(Struct):
    """What is kept with an answer: OpenCode's session, the last message in it before the prompt ("" if
    there is none), and the tool calls for which permission was passed on to OpenCode."""

    session: str
    after: str
    passed_on: list[str] = []


def record_of(unfinished: Unfinished | None) -> Record | None:
    """What was kept, if an agent of this kind kept it."""
    try:
        return msgspec.convert(unfinished.record, Record) if unfinished else None
    except msgspec.ValidationError:
        return None


def messages_after(messages: list[dict[str, Any]], after: str) -> list[dict[str, Any]]:
    """The messages behind one; all where it is not among them."""
    ids = [message["info"]["id"] for message in messages]
    return messages[ids.index(after) + 1 :] if after in ids else messages


def standing(messages: list[dict[str, Any]], runs: bool) -> Standing:
    """How far OpenCode is with the prompts in these messages."""
    roles = [message["info"]["role"] for message in messages]
    if "user" not in roles:
        return "new"
    if runs:
        return "runs"
    last = messages[-1]["info"]
    failed = last.get("error") and last["error"].get("name") != "MessageAbortedError"
    if last["role"] == "assistant" and (failed or last.get("finish") not in _GOES_ON):
        return "ended"
    return "cut"
