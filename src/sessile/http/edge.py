"""What stands before every route: who may ask at all, and what becomes of errors."""

import logging
from collections.abc import Awaitable, Callable, Iterable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from sessile.http.guard import PROBES
from sessile.http.responses import error_response
from sessile.http.websocket import refuse
from sessile.wire.errors import (
    HostNotAllowed,
    MethodNotAllowed,
    NotFound,
    OriginNotAllowed,
    SessileError,
)
from sessile.wire.hosts import host_of, names_loopback, plain_origin, without_default_port

log = logging.getLogger(__name__)

# The hosts of test clients, of Starlette and in FastAPI's documentation. No name on the internet is
# one of these.
_IN_TESTS = frozenset({"testserver", "test"})

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """Checks ``Host`` and ``Origin``, and turns errors into answers.

    A page on the internet can make a browser ask this server: under a name that leads to
    127.0.0.1 (DNS rebinding), which ``Host`` shows, or from its own site, which ``Origin`` and
    ``Sec-Fetch-Site`` show. ``hosts`` are allowed beside the loopback's names, ``origins`` beside
    the server's own; ``*`` allows all. What operators ask is answered under any name, and a link
    on any site may open the web client.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._hosts |= {without_default_port(host) for host in self._hosts}
        self._origins = {plain_origin(origin) for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self.check(scope)
            # Starlette raises its own 404 and 405 only under an application. The scope is copied,
            # for it belongs to the application that may have mounted this one.
            await self._app({**scope, "app": self}, receive, send)
        except (SessileError, HTTPException) as error:
            # Only what comes before an endpoint: these answer for themselves.
            if scope["type"] == "websocket":
                await refuse(scope, receive, send, _own(error)[0])
            else:
                await failure(error)(scope, receive, send)

    def check(self, scope: Scope) -> None:
        """Refuse a request under a name or from a site that is not allowed."""
        hosts: list[str] = []
        origins: list[str] = []
        other_site = False
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1").lower())
            elif name == b"origin":
                origins.append(value.decode("latin-1").lower())
            elif name == b"sec-fetch-site":
                other_site = value == b"cross-site"
        host = hosts[0] if len(hosts) == 1 else ""
        if "*" not in self._hosts and not self._host_allowed(host) and not _is_probe(scope):
            raise HostNotAllowed
        if "*" not in self._origins:
            self._check_origin(scope, host, origins, other_site)

    def _check_origin(self, scope: Scope, host: str, origins: list[str], other_site: bool) -> None:
        if len(origins) > 1:
            raise OriginNotAllowed
        if origins and plain_origin(origins[0]) in self._origins:
            return
        if other_site and not _opens_the_page(scope):
            raise OriginNotAllowed
        reads = scope["type"] == "http" and scope["method"] in _READS
        if origins and not reads and host_of(origins[0], host) != host_of(origins[0]):
            raise OriginNotAllowed

    def _host_allowed(self, host: str) -> bool:
        name = _without_port(host)
        if name in _IN_TESTS:
            return True
        return (
            without_default_port(host) in self._hosts or name in self._hosts or names_loopback(name)
        )


class Endpoint:
    """A handler as an ASGI application: its errors are answered; an error after the
    answer has started is not, which breaks the connection."""

    def __init__(self, handle: Callable[[Request], Awaitable[ASGIApp]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._handle(Request(scope, receive))
        except ClientDisconnect:
            return
        except Exception as error:
            response = failure(error)
        await response(scope, receive, send)


def _path(scope: Scope) -> str:
    """The path below that of the mount."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _is_probe(scope: Scope) -> bool:
    """Whether an operator's tool asks, which may know the server by its address alone."""
    return scope["type"] == "http" and _path(scope) in PROBES


def _opens_the_page(scope: Scope) -> bool:
    """Whether a user followed a link to the web client."""
    if scope["type"] != "http" or scope["method"] != "GET" or _path(scope) not in ("", "/"):
        return False
    headers = dict(scope["headers"])
    return (
        headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
    )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def failure(error: Exception) -> ASGIApp:
    """The answer to an error."""
    own, headers = _own(error)
    return error_response(own, headers)


def _own(error: Exception) -> tuple[SessileError, dict[str, str]]:
    if isinstance(error, SessileError):
        return error, {}
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return (MethodNotAllowed() if error.status_code == 405 else NotFound()), headers
    log.error("a request failed", exc_info=error)
    return SessileError(), {}
