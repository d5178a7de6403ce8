"""What stands before every route: who may ask at all, and what becomes of errors."""

import ipaddress
import logging
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sessile.errors import (
    HostNotAllowed,
    MethodNotAllowed,
    NotFound,
    OriginNotAllowed,
    SessileError,
)
from sessile.http.responses import error_response
from sessile.http.websocket import refuse

log = logging.getLogger(__name__)

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """Checks ``Host`` and ``Origin``, and turns errors into answers.

    A page on the internet can make a browser ask this server: under a name that leads to
    127.0.0.1 (DNS rebinding), which ``Host`` shows, or from its own origin, which ``Origin``
    shows. ``hosts`` are allowed beside the loopback's names, ``origins`` beside the server's own;
    ``*`` allows all.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check(scope)
            # Starlette raises its own 404 and 405 only under an application. The scope is copied,
            # for it belongs to the application that may have mounted this one.
            await self._app({**scope, "app": self}, receive, watched_send)
        except ClientDisconnect:
            return
        except Exception as error:
            if started or (scope["type"] == "websocket" and not isinstance(error, SessileError)):
                raise
            own, headers = _own(error)
            if scope["type"] == "websocket":
                await refuse(scope, receive, send, own)
            else:
                await error_response(own, headers)(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if "*" not in self._hosts and not self._host_allowed(host):
            raise HostNotAllowed
        origin = headers.get("origin")
        if origin is None or "*" in self._origins:
            return
        if scope["type"] == "http" and scope["method"] in _READS:
            return
        origin = origin.lower()
        own = origin.partition("://")[2]
        if own != host and origin not in self._origins:
            raise OriginNotAllowed

    def _host_allowed(self, host: str) -> bool:
        name = _without_port(host)
        return host in self._hosts or name in self._hosts or _loopback(name)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _own(error: Exception) -> tuple[SessileError, dict[str, str]]:
    if isinstance(error, SessileError):
        return error, {}
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return (MethodNotAllowed() if error.status_code == 405 else NotFound()), headers
    log.error("a request failed", exc_info=error)
    return SessileError(), {}
