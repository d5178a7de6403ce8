"""Addresses beside their handlers: the router and the OpenAPI document are made of them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request

from sessile.http.query import MESSAGE_ID_SCHEMA, PAGE_DEFAULT, PAGE_MOST
from sessile.wire.errors import (
    BodyTooLarge,
    HostNotAllowed,
    InvalidRequest,
    InvalidSessionId,
    MetadataTooLarge,
    OriginNotAllowed,
    SessileError,
    ShuttingDown,
    StoreUnavailable,
)

CHAT = "/chat/{session_id}"
SESSION = "/sessions/{session_id}"
MESSAGE = SESSION + "/messages/{message_id:path}"
SOCKET = SESSION + "/websocket"

EVENTS = "text/event-stream"
READING = (InvalidSessionId, HostNotAllowed, StoreUnavailable)
WRITING = (*READING, InvalidRequest, OriginNotAllowed, BodyTooLarge, MetadataTooLarge, ShuttingDown)

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])


class Parameter(NamedTuple):
    """A query parameter or a header."""

    name: str
    schema: dict[str, Any]
    description: str
    place: str = "query"


def text(name: str, description: str, place: str = "query", **schema: Any) -> Parameter:
    """A parameter that is a text."""
    return Parameter(name, {"type": "string"} | schema, description, place)


def whole_number(name: str, description: str, **schema: Any) -> Parameter:
    """A parameter that is a whole number."""
    return Parameter(name, {"type": "integer"} | schema, description)


LIMIT = whole_number(
    "limit", "How many at most.", minimum=1, maximum=PAGE_MOST, default=PAGE_DEFAULT
)
KEY = text("Idempotency-Key", "The same as `id`.", "header", **MESSAGE_ID_SCHEMA)


class Operation(NamedTuple):
    """One method of one address: what it takes, what it answers.

    ``answer`` is a type or a tuple of them, a media type or several, or None for no body; ``others``
    are the types of other good answers, by their status. A request may leave out a body that is
    ``optional``.
    """

    method: str
    path: str
    answer: Any = None
    status: int = 200
    body: Any = None
    parameters: Sequence[Parameter] = ()
    errors: Sequence[type[SessileError]] = ()
    tag: str = "chat"
    optional: bool = False
    others: Sequence[tuple[int, Any]] = ()


class Route(NamedTuple):
    """An operation with its handler; ``summary`` is the first line of the handler's docstring."""

    operation: Operation
    handler: Callable[[Request], Awaitable[Any]]
    summary: str


def operation(
    method: str, path: str, answer: Any = None, **more: Any
) -> Callable[[Handler], Handler]:
    """Say of a handler which operation it is; ``more`` are the other fields of one."""

    def mark(handler: Handler) -> Handler:
        handler.operation = Operation(method, path, answer, **more)  # type: ignore[attr-defined]
        return handler

    return mark


def routes_of(*groups: object) -> list[Route]:
    """The routes of objects whose handlers are marked, in the order they were written."""
    found: list[Route] = []
    for group in groups:
        for name, handler in vars(type(group)).items():
            marked = getattr(handler, "operation", None)
            if isinstance(marked, Operation):
                summary = (handler.__doc__ or "").partition("\n")[0]
                found.append(Route(marked, getattr(group, name), summary))
    return found
