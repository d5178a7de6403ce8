"""What users see when a model's provider fails: one of a few fixed sentences.

What the provider itself says may contain a part of a key, an internal address or the whole prompt,
so it is only logged, as the details of the error.
"""

import re
from typing import Literal, TypeAlias

from sessile.wire.errors import AgentError

Kind: TypeAlias = Literal[
    "key",
    "model",
    "quota",
    "rate",
    "length",
    "refused",
    "failed",
    "unreachable",
    "timeout",
    "broken",
    "error",
]

SENTENCES: dict[Kind, str] = {
    "key": "The model's provider refused the API key.",
    "model": "The model's provider does not know the model, or its address is wrong.",
    "quota": "The quota with the model's provider is used up.",
    "rate": "The model's provider received too many requests. Try again later.",
    "length": "The conversation is too long for the model. Start a new session, or shorten it.",
    "refused": "The model's provider refused the request.",
    "failed": "The model's provider failed. Try again.",
    "unreachable": "The model's provider could not be reached. Try again.",
    "timeout": "The model's provider did not answer in time. Try again.",
    "error": "The model's provider answered with an error.",
    "broken": "The model's provider broke off in the middle of the answer. Try again.",
}
LOGGED = "The server's log has its reply."

_STATUS: dict[int, Kind] = {
    401: "key",
    402: "quota",
    403: "key",
    404: "model",
    408: "timeout",
    413: "length",
    429: "rate",
    504: "timeout",
}
_TOO_LONG = re.compile(
    r"context.{0,3}(length|window)|too (long|many tokens|large)|max(imum)? (context|input|prompt)"
    r"|exceeds?.{0,40}(tokens?|context)",
    re.IGNORECASE,
)
_USED_UP = re.compile(
    r"insufficient.{0,3}(quota|balance|funds|credit)|billing|exceeded your current quota"
    r"|credit balance",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(r"rate.{0,3}limit|too many requests", re.IGNORECASE)
_BAD_KEY = re.compile(r"(invalid|incorrect|not valid|missing).{0,20}api.?key|api.?key.{0,20}not valid", re.IGNORECASE)  # fmt: skip


def kind_of(status: int, reply: str = "") -> Kind:
    """What a provider's HTTP status means; its ``reply`` says which of several things."""
    if status in (400, 413, 422) and _TOO_LONG.search(reply):
        return "length"
    if status == 400 and _BAD_KEY.search(reply):
        return "key"
    if status in (403, 429) and _USED_UP.search(reply):
        return "quota"
    return _STATUS.get(status, "failed" if status >= 500 else "refused")


def kind_in(reply: str) -> Kind:
    """What a provider's reply means where its status is not known."""
    found: dict[Kind, re.Pattern[str]] = {
        "key": _BAD_KEY, "quota": _USED_UP, "length": _TOO_LONG, "rate": _TOO_MANY,
    }  # fmt: skip
    return next((kind for kind, pattern in found.items() if pattern.search(reply)), "error")


def provider_error(kind: Kind, details: str) -> AgentError:
    """The error to raise for a provider's failure; ``details`` are for the log."""
    return AgentError(f"{SENTENCES[kind]} {LOGGED}", details=details)
