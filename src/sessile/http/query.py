"""Ids and query parameters: every rule about them, and what is answered where they break one."""

import re

from starlette.requests import Request

from sessile.wire.errors import InvalidMessageId, InvalidRequest, InvalidSessionId

_SESSION_ID = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_MESSAGE_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}")

# The same, as a schema says it.
SESSION_ID_SCHEMA = {"type": "string", "pattern": f"^{_SESSION_ID.pattern}$"}
MESSAGE_ID_SCHEMA = {"type": "string", "pattern": f"^{_MESSAGE_ID.pattern}$"}

PAGE_MOST = 200
PAGE_DEFAULT = 25


def check_session_id(id: str) -> str:
    if not _SESSION_ID.fullmatch(id):
        raise InvalidSessionId
    return id


def check_message_id(id: str) -> str:
    if not _MESSAGE_ID.fullmatch(id):
        raise InvalidMessageId
    return id


def message_id(request: Request) -> str:
    """The message id in a request's path."""
    return check_message_id(request.path_params["message_id"])


def parameter(request: Request, name: str) -> str | None:
    """A parameter of the query; most requests have none, and for them nothing is parsed."""
    return request.query_params.get(name) if request.scope["query_string"] else None


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A query parameter that is a number in a range."""
    value = parameter(request, name)
    if value is None:
        return default
    return _number(value, f"`{name}`", least, most)


def cursor(value: str | None, name: str) -> int | None:
    """The number of an event, from a query parameter or a header."""
    return _number(value, f"`{name}`", 0, 2**53) if value else None


def _number(value: str, name: str, least: int, most: int) -> int:
    wrong = InvalidRequest(f"{name} must be a number from {least} to {most}.")
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise wrong
    found = int(value)
    if not least <= found <= most:
        raise wrong
    return found


def flag(request: Request, name: str) -> bool | None:
    """A query parameter that is true or false."""
    value = parameter(request, name)
    if value is None:
        return None
    if value not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"`{name}` must be true or false.")
    return value in ("true", "1")


def choice(request: Request, name: str, *allowed: str) -> str:
    """A query parameter that is one of some words; the first is its default."""
    value = request.query_params.get(name, allowed[0])
    if value not in allowed:
        raise InvalidRequest(f"`{name}` must be one of {', '.join(allowed)}.")
    return value
