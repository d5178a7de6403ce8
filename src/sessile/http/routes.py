"""Every address of the server, in one table: the router and the OpenAPI document come from it."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute

from sessile.http.chat import ChatRoutes
from sessile.http.context import Context
from sessile.http.copies import CopyRoutes, ImportBody
from sessile.http.edge import Endpoint
from sessile.http.metrics import MetricsRoute
from sessile.http.openapi import DocsRoutes, Operation, Parameter
from sessile.http.parsing import (
    PAGE_DEFAULT,
    PAGE_MOST,
    ApproveBody,
    CreateBody,
    ForkBody,
    PartsBody,
    RegenerateBody,
    SendBody,
    StoreBody,
    UpdateBody,
)
from sessile.http.responses import JSONResponse, error_response
from sessile.http.search import DEFAULT, MOST, Found, SearchRoute
from sessile.http.sessions import SessionRoutes
from sessile.http.web import PageRoutes
from sessile.http.websocket import SocketRoute
from sessile.wire.errors import (
    ApprovalAnswered,
    ApprovalNotFound,
    BodyTooLarge,
    ContentRequired,
    HostNotAllowed,
    InvalidRequest,
    InvalidSessionId,
    MessageConflict,
    MessageNotFound,
    OriginNotAllowed,
    QueueFull,
    SessileError,
    SessionExists,
    SessionNotFound,
    ShuttingDown,
    StoreUnavailable,
    TurnInProgress,
    UpgradeRequired,
)
from sessile.wire.messages import Message, Session
from sessile.wire.parts import Approval

CHAT = "/chat/{session_id}"
SESSION = "/sessions/{session_id}"
MESSAGE = SESSION + "/messages/{message_id:path}"
SOCKET = SESSION + "/websocket"

_EVENTS = "text/event-stream"
_ID = (InvalidSessionId, HostNotAllowed, StoreUnavailable)
_WRITE = (*_ID, InvalidRequest, OriginNotAllowed, BodyTooLarge, ShuttingDown)

_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": PAGE_MOST, "default": PAGE_DEFAULT},
    "How many at the most.",
)
_KEY = Parameter("Idempotency-Key", {"type": "string"}, "The same as `id`.", "header")


def _string(name: str, description: str, place: str = "query", **schema: Any) -> Parameter:
    return Parameter(name, {"type": "string"} | schema, description, place)


class HealthRoutes:
    """Whether the server is alive, and whether it can work."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def healthz(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        await self._context.store.check()
        await self._context.bus.check()
        return JSONResponse({"status": "ok"})


async def upgrade_required(request: Request) -> Response:
    return error_response(UpgradeRequired(), {"upgrade": "websocket", "connection": "upgrade"})


def _chat(context: Context) -> list[Operation]:
    chat = ChatRoutes(context)
    return [
        Operation(
            "POST",
            CHAT,
            chat.send,
            "Send a message and watch its answer.",
            _EVENTS,
            body=SendBody,
            parameters=[_KEY],
            errors=[
                *_WRITE,
                ContentRequired,
                MessageNotFound,
                MessageConflict,
                TurnInProgress,
                QueueFull,
            ],
        ),
        Operation(
            "GET",
            CHAT + "/messages",
            chat.messages,
            "A page of the history, oldest first.",
            list[Message],
            parameters=[
                _LIMIT,
                _string("before", "The newest before this message."),
                _string("after", "The oldest after this message."),
            ],
            errors=[*_ID, InvalidRequest, MessageNotFound],
        ),
        Operation(
            "POST",
            CHAT + "/stop",
            chat.stop,
            "Stop the turn that runs.",
            dict[str, bool],
            errors=[*_ID, OriginNotAllowed],
        ),
        Operation(
            "POST",
            CHAT + "/regenerate",
            chat.regenerate,
            "Delete an answer and what follows it, and answer anew.",
            _EVENTS,
            body=RegenerateBody,
            errors=[*_WRITE, SessionNotFound, MessageNotFound, TurnInProgress],
        ),
        Operation(
            "POST",
            CHAT + "/approvals/{approval_id}",
            chat.approve,
            "Answer an agent that asks leave for a tool call.",
            Approval,
            body=ApproveBody,
            errors=[*_WRITE, ApprovalNotFound, ApprovalAnswered],
        ),
        Operation(
            "GET",
            CHAT + "/events",
            chat.events,
            "Follow everything that happens in the session.",
            _EVENTS,
            parameters=[
                Parameter("after", {"type": "integer", "minimum": 0}, "From this number on."),
                _string("Last-Event-ID", "The same, as EventSource sends it.", "header"),
            ],
            errors=[*_ID, InvalidRequest],
        ),
    ]


def _sessions(context: Context) -> list[Operation]:
    sessions, copies = SessionRoutes(context), CopyRoutes(context)
    stored = [*_WRITE, ContentRequired, MessageConflict]
    return [
        Operation(
            "POST",
            "/sessions",
            sessions.create,
            "Create a session before its first message.",
            Session,
            201,
            body=CreateBody,
            errors=[*_WRITE, SessionExists],
            tag="sessions",
        ),
        Operation(
            "GET",
            "/sessions",
            sessions.list,
            "The sessions by their newest activity.",
            list[Session],
            parameters=[
                _LIMIT,
                _string("before", "Those after this session in the list."),
                _string("q", "A part of the title or the id."),
                Parameter(
                    "archived",
                    {"type": "boolean", "default": False},
                    "The archived ones.",
                ),
            ],
            errors=[HostNotAllowed, StoreUnavailable, InvalidRequest, SessionNotFound],
            tag="sessions",
        ),
        Operation(
            "GET",
            SESSION,
            sessions.read,
            "One session.",
            Session,
            errors=[*_ID, SessionNotFound],
            tag="sessions",
        ),
        Operation(
            "PATCH",
            SESSION,
            sessions.update,
            "Rename or archive a session, or merge metadata into it.",
            Session,
            body=UpdateBody,
            errors=[*_WRITE, SessionNotFound],
            tag="sessions",
        ),
        Operation(
            "DELETE",
            SESSION,
            sessions.delete,
            "Delete a session and all it has.",
            status=204,
            errors=[*_ID, OriginNotAllowed, SessionNotFound],
            tag="sessions",
        ),
        Operation(
            "POST",
            SESSION + "/messages",
            sessions.store_message,
            "Store a message without running an agent.",
            Message,
            201,
            body=StoreBody,
            parameters=[_KEY],
            errors=stored,
            tag="sessions",
        ),
        Operation(
            "PATCH",
            MESSAGE,
            sessions.update_message,
            "Replace the parts of a message.",
            Message,
            body=PartsBody,
            errors=[*_WRITE, SessionNotFound, MessageNotFound, TurnInProgress],
            tag="sessions",
        ),
        Operation(
            "DELETE",
            MESSAGE,
            sessions.delete_message,
            "Delete a message, or withdraw one that is queued.",
            status=204,
            errors=[
                *_ID,
                OriginNotAllowed,
                SessionNotFound,
                MessageNotFound,
                TurnInProgress,
            ],
            tag="sessions",
        ),
        Operation(
            "POST",
            SESSION + "/fork",
            copies.fork,
            "Make a new session of the history up to a message.",
            Session,
            201,
            body=ForkBody,
            errors=[*_WRITE, SessionNotFound, MessageNotFound, SessionExists],
            tag="sessions",
        ),
        Operation(
            "POST",
            "/sessions/import",
            copies.import_,
            "Make a session of an export, in JSON or as a SQLite file.",
            Session,
            201,
            body=ImportBody,
            parameters=[_string("id", "Another id than the exported session's.")],
            errors=[*_WRITE, SessionExists],
            tag="sessions",
        ),
        Operation(
            "GET",
            "/search",
            SearchRoute(context).search,
            "Messages that have all words, the best first.",
            list[Found],
            parameters=[
                _string("q", "Words, or their beginnings."),
                Parameter(
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT},
                    "How many at the most.",
                ),
            ],
            errors=[HostNotAllowed, StoreUnavailable, InvalidRequest],
            tag="sessions",
        ),
        Operation(
            "GET",
            SESSION + "/export",
            sessions.export,
            "The session as a file.",
            "application/octet-stream",
            parameters=[
                _string("format", "What file.", enum=["json", "markdown", "sqlite"]),
            ],
            errors=[*_ID, InvalidRequest, SessionNotFound],
            tag="sessions",
        ),
    ]


def _operating(context: Context) -> list[Operation]:
    health, metrics = HealthRoutes(context), MetricsRoute(context)
    status = dict[str, str]
    errors: Sequence[type[SessileError]] = [HostNotAllowed]
    return [
        Operation(
            "GET",
            "/healthz",
            health.healthz,
            "Whether it is alive.",
            status,
            errors=errors,
            tag="operating",
        ),
        Operation(
            "GET",
            "/readyz",
            health.readyz,
            "Whether store and bus answer.",
            status,
            errors=[HostNotAllowed, StoreUnavailable],
            tag="operating",
        ),
        Operation(
            "GET",
            "/metrics",
            metrics.metrics,
            "Figures for Prometheus.",
            "text/plain",
            errors=errors,
            tag="operating",
        ),
    ]


def router(context: Context) -> Router:
    """The router over all of it."""
    operations = [*_chat(context), *_sessions(context), *_operating(context)]
    docs, page = DocsRoutes(operations), PageRoutes()
    routes: list[BaseRoute] = [WebSocketRoute(SOCKET, SocketRoute(context))]
    routes += [Route(o.path, Endpoint(o.endpoint), methods=[o.method]) for o in operations]
    pages = {
        SOCKET: upgrade_required,
        "/openapi.json": docs.openapi,
        "/docs": docs.page,
        "/docs/{name}": docs.file,
        "/": page.front,
        "/assets/{name}": page.asset,
    }
    routes += [Route(path, Endpoint(shown), methods=["GET"]) for path, shown in pages.items()]
    return Router(routes, redirect_slashes=False)
