"""What users see when a model's provider fails: one of a few fixed sentences, and its reason.

What the provider itself says may contain a part of a key, an internal address or the whole prompt:
its reason is shown without them, and the whole is only logged, as the details of the error.
"""

import json
import re
from typing import Any, Literal, TypeAlias

from sessile.redact import has_code
from sessile.wire.errors import AgentError
from sessile.wire.loose import record

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


def provider_error(kind: Kind, details: str, reason: str = "") -> AgentError:
    """The error to raise for a provider's failure.

    ``details`` are for the log; ``reason``, what the provider gives as its reason
    (:func:`reason_in`), is shown as far as it may be.
    """
    if kind == "key" and has_code(reason):
        reason = ""
    return AgentError(SENTENCES[kind], details=details, reason=reason)


# Where the replies of providers have their reason, and the HTTP status of an error in a stream.
_REASONS = (
    *("message", "detail", "details", "msg", "error_description", "reason"),
    *("error", "errors", "title"),
)
_CODES = ("code", "status", "status_code", "http_status")
_DEPTH = 6


def reason_in(reply: Any, depth: int = _DEPTH) -> str:
    """The reason that a provider's reply gives: JSON in any of the usual shapes, or a text.

    "" if it gives none, or is a web page.
    """
    if isinstance(reply, str):
        return _reason_in_text(reply.strip(), depth)
    if isinstance(reply, list):
        return next((found for item in reply if (found := reason_in(item, depth - 1))), "")
    if not isinstance(reply, dict) or depth <= 0:
        return ""
    if isinstance(reply.get("error"), dict | list):
        return reason_in(reply["error"], depth - 1)
    found = next((text for name in _REASONS if (text := reason_in(reply.get(name), depth - 1))), "")
    place = reply.get("loc")
    if found and isinstance(place, list):
        return f"{'.'.join(map(str, place))}: {found}"
    # OpenRouter has the reply of the provider behind it there.
    behind = reason_in(record(reply.get("metadata")).get("raw"), depth - 1)
    return ": ".join(text for text in (found, behind) if text)


def _reason_in_text(text: str, depth: int) -> str:
    if text[:1] in ("{", "["):
        try:
            return reason_in(json.loads(text), depth - 1)
        except (ValueError, RecursionError):
            return text
    return "" if text.startswith("<") else text


def status_in(reply: Any) -> int | None:
    """The HTTP status that an error object names."""
    error = record(reply).get("error")
    for found in (error, reply):
        if isinstance(found, dict):
            codes = [str(found.get(name)) for name in _CODES]
            known = [int(code) for code in codes if re.fullmatch(r"[45]\d\d", code, re.ASCII)]
            if known:
                return known[0]
    return None
