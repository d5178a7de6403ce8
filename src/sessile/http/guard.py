"""What a connection may cost before anybody is known: a guard in the server's protocol.

ASGI begins where a request is complete. Before that a client can send a head without end, nothing
at all, or requests faster than they are answered; and after it, it can take nothing of what it is
owed. None of this reaches the application, so it is bounded here, beside uvicorn's parser.

Times are looked at once for all connections, in short intervals: a request costs no timer.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sessile.http.peer import Peers, is_local
from sessile.http.responses import error_response
from sessile.wire.errors import (
    HeadTooLarge,
    InvalidRequest,
    OtherUser,
    SessileError,
    TooManyConnections,
    TooSlow,
)

LINGER = 2.0  # seconds in which a client that was refused can read why
FRAMING = 8  # bytes that a chunked body may take beside each of its own
PROXIED = 10  # times as many connections from this machine: a proxy brings those of many clients


# What operators' tools ask, under any name and as any user.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


class EdgeLimits(NamedTuple):
    """Limits of a connection. ``head`` counts bytes, ``fields`` header fields; times are seconds.

    A body may take ``body_timeout`` and one second more for every ``body_rate`` bytes. ``pings``
    counts those in ten seconds, ``fragments`` the frames of one message, ``connections`` those
    from one address.
    """

    head: int = 64 * 1024
    fields: int = 100
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    body_rate: int = 16 * 1024
    send_timeout: float = 30.0
    pipelined: int = 16
    pings: int = 100
    fragments: int = 256
    connections: int = 1_000


class Guard:
    """Looks at all connections of a server every ``interval`` seconds, and counts them by address.

    With ``only_user``, connections over loopback are for the user that runs the server, and root.
    """

    def __init__(self, limits: EdgeLimits, only_user: bool = False) -> None:
        self.limits = limits
        self._peers = Peers() if only_user else None
        self._users = {None, 0, os.geteuid()}
        self.closing = False
        self._addresses: Counter[str] = Counter()
        shortest = min(limits.head_timeout, limits.body_timeout, limits.send_timeout)
        self.interval = max(0.05, min(1.0, shortest / 4))

    def watch(self, connections: Iterable[Any]) -> None:
        """Look at connections from now on, for as long as the loop runs.

        Each has a method ``look(now)``, which ends it if it is too slow.
        """
        loop = asyncio.get_running_loop()

        def look() -> None:
            now = loop.time()
            for connection in tuple(connections):
                connection.look(now)
            loop.call_later(self.interval, look)

        loop.call_later(self.interval, look)

    def close_after_answers(self) -> None:
        """Let every connection end with the answer that it gets, or gets next."""
        self.closing = True

    def admit(self, address: str | None) -> bool:
        """Count a connection; False if there are too many from its address."""
        if address is None:
            return True
        self._addresses[address] += 1
        most = self.limits.connections * (PROXIED if is_local(address) else 1)
        return self._addresses[address] <= most

    def is_other_user(self, client: Any, server: Any) -> bool:
        """Whether a connection comes from another user of this machine."""
        if self._peers is None or client is None or not is_local(client[0]):
            return False
        return self._peers.user_of(client, server) not in self._users

    def release(self, address: str | None) -> None:
        if address is None:
            return
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]


class Owed:
    """Whether a client takes what it is owed: bytes that wait in the server."""

    def __init__(self) -> None:
        self._waiting = 0
        self._since = 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float, patience: float) -> bool:
        """Whether it has taken nothing for so long."""
        waiting = transport.get_write_buffer_size()
        if not waiting or waiting < self._waiting or not self._waiting:
            self._since = now
        self._waiting = waiting
        return now - self._since > patience

    def took(self) -> None:
        self._waiting = 0


class _TooManyRequests(Exception):
    """Leaves the parser: what follows in this connection is not answered."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with bounds for what comes before and after a request."""

    guard = Guard(EdgeLimits())

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = self.guard.limits
        self._owed = Owed()
        self._head_since: float | None = None  # a head is expected or comes in
        self._body_since: float | None = None  # a body comes in
        self._stage = 0  # changes with each beginning and end of a head and of a body
        self._received = 0  # bytes of the head, or of the framing of the body
        self._body = 0  # bytes of the body
        self._fields = 0
        self._answered: RequestResponseCycle | None = None
        self._refused: SessileError | None = None
        self._over_since: float | None = None  # nothing more is read
        self._idle_since: float | None = None  # everything is answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else None
        self._made = self._head_since = self.loop.time()
        self._other_user = self.guard.is_other_user(self.client, self.server)
        if not self.guard.admit(self._address):
            self._refuse(TooManyConnections())

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.release(self._address)
        self._leave()  # uvicorn lets the newest request alone know
        super().connection_lost(exc)

    # What comes in ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._over_since is not None:
            return
        stage, body = self._stage, self._body
        self._idle_since = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self._upgrade()
                return
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _TooManyRequests):
                self._over_since = self.loop.time()
            else:
                self._refuse(self._refused or InvalidRequest("The request is not HTTP."))
            return
        if stage == self._stage or self.cycle is None:
            self._count(len(data) - (self._body - body))

    def _count(self, size: int) -> None:
        """Bound what the parser keeps: a head, or the framing of a body, that never ends."""
        if self._head_since is None and self._body_since is None:
            if not self.cycle.response_complete:
                return
            self._head_since = self.loop.time()  # empty lines, which begin no request
        self._received += size
        if self._received > self._limits.head + FRAMING * self._body:
            self._refuse(HeadTooLarge())

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self._limits.pipelined:
            raise _TooManyRequests
        super().on_message_begin()
        self._stage += 1
        self._idle_since = None
        self._fields = self._received = self._body = 0
        if self._head_since is None:
            self._head_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > self._limits.fields:
            self._stop_parsing(HeadTooLarge())
        if self._head_since is not None:  # else a trailer, which no handler may take for a header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > self._limits.head:
            self._stop_parsing(HeadTooLarge())
        super().on_headers_complete()
        self._stage += 1
        self._head_since = None
        self._body_since = self.loop.time()
        self._received = 0
        if self.parser.should_upgrade():
            if not self._should_upgrade():
                self.cycle.keep_alive = False  # the parser takes nothing after it
        elif self.guard.closing:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stage += 1
        self._body_since = None
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._idle_since = self.loop.time()

    def _upgrade(self) -> None:
        if self._other_user:
            self._refuse(OtherUser())
        else:
            self.guard.release(self._address)
            self.handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        if self._other_user and cycle.scope["path"] not in PROBES:
            app = error_response(OtherUser())
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        return self.scope["method"] == "GET" and super()._should_upgrade()

    # What is refused ----------------------------------------------------------------------------

    def _stop_parsing(self, error: SessileError) -> None:
        self._refused = error
        raise error

    def _refuse(self, error: SessileError) -> None:
        """Answer an error and end the connection; what still comes in is thrown away.

        A request that is being answered ends as if its client had left.
        """
        self._over_since = self.loop.time()
        started = self._leave()
        if started or self.transport.is_closing():
            self.transport.abort()
            return
        self.transport.write(answer(error))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _leave(self) -> bool:
        """Let the requests of this connection go; True if an answer has started."""
        started = False
        for cycle in (self._answered, self.cycle):
            if cycle is not None and not cycle.response_complete:
                started = started or cycle.response_started
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        return started

    def shutdown(self) -> None:
        # Who connected a moment ago has a request under way, which is answered.
        if self.cycle is None and self.loop.time() - self._made < LINGER:
            self.loop.call_later(LINGER, super().shutdown)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest(msg))

    def on_response_complete(self) -> None:
        if self._over_since is not None and not self.pipeline:
            self.transport.close()
        elif self._body_since is not None:
            self._body_since = self.loop.time()  # the rest of it is read, but not for long
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()

    # What is looked at --------------------------------------------------------------------------

    def resume_writing(self) -> None:
        self._owed.took()
        super().resume_writing()

    def look(self, now: float) -> None:
        transport = self.transport
        if self._owed.is_stuck(transport, now, self._limits.send_timeout):
            transport.abort()
        elif self._over_since is not None:
            if now - self._over_since > (LINGER if self._is_left() else self._limits.send_timeout):
                transport.abort()
        elif self._head_since is not None:
            if now - self._head_since > self._limits.head_timeout:
                self._refuse(TooSlow())
        elif self._body_since is not None:
            if self.flow.read_paused:
                self._body_since += self.guard.interval  # the server does not take it yet
            elif now - self._body_since > self._body_patience():
                self._refuse(TooSlow())
        elif self._idle_since is not None and now - self._idle_since > self.timeout_keep_alive:
            transport.close()

    def _body_patience(self) -> float:
        if self.cycle.response_complete:
            return LINGER
        return self._limits.body_timeout + self._body / self._limits.body_rate

    def _is_left(self) -> bool:
        cycle = self._answered
        return cycle is None or cycle.disconnected or cycle.response_complete


def answer(error: SessileError) -> bytes:
    """A whole response, for where no application can send one."""
    response = error_response(error, {"connection": "close"})
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    fields = [b"%s: %s\r\n" % field for field in response.raw_headers]
    return b"".join([status, *fields, b"\r\n", response.body])
