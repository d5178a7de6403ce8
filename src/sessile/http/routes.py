"""The router over every address of the server."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

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
    return _Router(routes, redirect_slashes=False)


class _Router(Router):
    """Starlette's router; what it refuses says all methods of the address, not those of one route."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except HTTPException as error:
            if error.status_code == 405:
                error.headers = {"allow": ", ".join(self._methods(scope))}
            raise

    def _methods(self, scope: Scope) -> list[str]:
        routes = [route for route in self.routes if isinstance(route, Route)]
        here = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
        # An address without parameters may also be read as one with them: /sessions/import.
        path = min(here, key=lambda route: len(route.param_convertors)).path
        return sorted({method for r in here if r.path == path for method in r.methods or ()})
