"""The router over every address of the server."""

from starlette.requests import Request
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute

from sessile.http.chat import ChatRoutes
from sessile.http.context import Context
from sessile.http.copies import CopyRoutes
from sessile.http.edge import Endpoint
from sessile.http.openapi import DocsRoutes
from sessile.http.operating import OperatingRoutes
from sessile.http.operations import SOCKET, routes_of
from sessile.http.responses import Response, error_response
from sessile.http.search import SearchRoute
from sessile.http.sessions import SessionRoutes
from sessile.http.web import WebRoutes
from sessile.http.websocket import SocketRoute
from sessile.wire.errors import UpgradeRequired


async def upgrade_required(request: Request) -> Response:
    return error_response(UpgradeRequired(), {"upgrade": "websocket", "connection": "upgrade"})


def router(context: Context) -> Router:
    """The router over all of it."""
    described = routes_of(
        ChatRoutes(context),
        SessionRoutes(context),
        CopyRoutes(context),
        SearchRoute(context),
        OperatingRoutes(context),
    )
    docs, web = DocsRoutes(described), WebRoutes()
    routes: list[BaseRoute] = [WebSocketRoute(SOCKET, SocketRoute(context))]
    routes += [
        Route(route.operation.path, Endpoint(route.handler), methods=[route.operation.method])
        for route in described
    ]
    others = {
        SOCKET: upgrade_required,
        "/openapi.json": docs.openapi,
        "/docs": docs.page,
        "/docs/{name}": docs.file,
        "/": web.front,
        "/assets/{name}": web.asset,
    }
    routes += [Route(path, Endpoint(shown), methods=["GET"]) for path, shown in others.items()]
    return Router(routes, redirect_slashes=False)
