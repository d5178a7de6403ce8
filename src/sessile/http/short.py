"""The short way of the two requests that make up most of the load: a message that is sent, and the
newest page of a history.

Under Sessile's own server they go from the parser to the session and back without ASGI: without a
task, a queue of messages and a router for each. Only what is plain does: a body that is there in
one piece, a session that is awake, an answer without an error. Everything else, and everything
under another server, goes the common way through the application, to the same effect.
"""

import logging
import re
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sessile.at_once import WouldWait, at_once
from sessile.http.access import Watcher
from sessile.http.bodies import SendBody, draft_of
from sessile.http.context import Context
from sessile.http.edge import Edge, failure
from sessile.http.guard import Guard, GuardedProtocol
from sessile.http.pump import Pump
from sessile.http.query import PAGE_DEFAULT
from sessile.http.responses import SAFE, page_headers
from sessile.http.stream import HEADERS
from sessile.protocols.native import DONE, TurnStream
from sessile.wire.errors import SessileError
from sessile.wire.frames import Piece
from sessile.wire.parse import parse
from sessile.wire.sse import HEARTBEAT

log = logging.getLogger(__name__)

SMALL = 32 * 1024  # bytes of a body that is kept until it is there in one piece

_limit = re.compile(rb"limit=([1-9][0-9]?|1[0-9]{2}|200)").fullmatch
_path = re.compile(r"/chat/([^/]+)(/messages)?").fullmatch

# With one of these a request needs more thought.
_UNCOMMON = frozenset({b"expect", b"transfer-encoding", b"connection", b"upgrade", b"prefer"})

_STREAMS = frozenset({b"*/*", b"text/event-stream", b"text/event-stream, */*"})

_STREAM = b"".join([b"%b: %b\r\n" % field for field in HEADERS]) + b"transfer-encoding: chunked\r\n"
_JSON = b"content-type: application/json\r\n" + b"".join([b"%b: %b\r\n" % field for field in SAFE])


class ShortWays:
    """What the server's protocol needs of the application.

    With ``plain_origin`` false, requests with an ``Origin`` get headers that only the common way
    adds.
    """

    def __init__(self, edge: Edge, context: Context, plain_origin: bool) -> None:
        self._edge = edge
        self._access = context.access
        self._limits = context.limits
        self._plain_origin = plain_origin

    def takes(self, scope: Any) -> bool:
        """Whether a request may go the short way, by its head."""
        path = _path(scope["path"])
        if path is None or scope["method"] != ("GET" if path[2] else "POST"):
            return False
        query = scope["query_string"]
        if scope["http_version"] != "1.1" or (query and not (path[2] and _limit(query))):
            return False
        size = 0
        for name, value in scope["headers"]:
            if name in _UNCOMMON or (name == b"origin" and not self._plain_origin):
                return False
            if name == b"accept" and value not in _STREAMS and not path[2]:
                return False  # it may want the answer as JSON
            if name == b"content-length":
                size = int(value) if len(value) < 6 and value.isdigit() else SMALL
        return size < min(SMALL, self._limits.body) and not (path[2] and size)

    def answer(self, connection: "ShortProtocol", cycle: RequestResponseCycle) -> bool:
        """Answer a request that is there whole; False, and nothing is done, if it must go the
        common way."""
        scope: Any = cycle.scope
        path = _path(scope["path"])
        assert path is not None
        try:
            self._edge.check(scope)
            if path[2]:
                return self._page(connection, cycle, path[1])
            return self._turn(connection, cycle, path[1])
        except (WouldWait, SessileError):
            return False
        except Exception:
            log.exception("a request could not go the short way")
            return False

    def _page(self, connection: "ShortProtocol", cycle: RequestResponseCycle, id: str) -> bool:
        scope: Any = cycle.scope
        limit = _limit(scope["query_string"])
        size = int(limit[1]) if limit else PAGE_DEFAULT
        page = at_once(self._access.session(id).page(size))
        if page.chunks is not None:
            return False
        headers = page_headers(scope, page.has_more, "prev", page.at)
        connection.respond(cycle, headers, b"[%b]" % b",".join(page.bodies))
        return True

    def _turn(self, connection: "ShortProtocol", cycle: RequestResponseCycle, id: str) -> bool:
        session = self._access.session(id)
        body = parse(bytes(cycle.body), SendBody)
        if body.replaces is not None:
            return False
        keys = [value for name, value in cycle.scope["headers"] if name == b"idempotency-key"]
        draft = draft_of(body, key=keys[0].decode("latin-1") if keys else None)
        watcher = self._access.watch_at_once(session)
        stream = _TurnAnswer(connection, cycle, watcher, self._access.leave, self._limits.heartbeat)
        try:
            sent = session.send_at_once(draft, body.while_busy, stream.stored)
        except BaseException:
            self._access.leave(watcher)
            raise
        assert sent.answer_id is not None
        stream.follow(sent.after, sent.message.id, sent.answer_id)
        cycle.body = bytearray()
        return True


class _TurnAnswer:
    """The answer to one message as it streams to the client that sent it."""

    def __init__(
        self,
        connection: "ShortProtocol",
        cycle: RequestResponseCycle,
        watcher: Watcher,
        leave: Callable[[Watcher], None],
        heartbeat: float,
    ) -> None:
        self._connection = connection
        self._cycle = cycle
        self._watcher = watcher
        self._leave = leave
        self._heartbeat = heartbeat
        self._sent_at = connection.loop.time()
        self._pump: Pump | None = None

    def follow(self, after: int, question: str, answer: str) -> None:
        """The message is on its way into the store; its turn has these ids."""
        self._watcher.cursor = after
        self._watcher.follow(question, answer)
        self._encoder = TurnStream(question, answer)
        self._connection.stream = self

    def stored(self, error: Exception | None) -> None:
        """The message is stored and published, or could not be stored."""
        if self._cycle.disconnected:
            return
        if error is not None:
            self.lost()
            self._connection.start(self._cycle, failure(error))
            return
        self._pump = Pump(self._watcher, self, inline=True)
        self._pump.wake()

    def take(self, frames: list[Piece]) -> bool | None:
        if self._connection.flow.write_paused:
            return None
        data, ended = self._encoder.encode(frames)
        self._write(data, ended)
        return ended

    async def deliver(self, frames: list[Piece]) -> bool:
        data, ended = self._encoder.encode(frames)
        await self._ready()
        self._write(data, ended)
        return ended

    async def let_go(self) -> None:
        await self._ready()
        self._write(self._encoder.cut(), ended=True)

    def cut_off(self) -> None:
        self._connection.transport.close()

    break_off = cut_off

    async def _ready(self) -> None:
        if self._connection.flow.write_paused and not self._cycle.disconnected:
            await self._connection.flow.drain()

    def _write(self, data: bytes, ended: bool) -> None:
        if self._cycle.disconnected or not (data or ended):
            return
        head = b"" if self._cycle.response_started else self._connection.head(self._cycle, _STREAM)
        self._cycle.response_started = True
        self._sent_at = self._connection.loop.time()
        if ended:
            data += DONE
            self._connection.transport.write(b"%b%x\r\n%b\r\n0\r\n\r\n" % (head, len(data), data))
            self.lost()
            self._connection.complete(self._cycle)
        else:
            self._connection.transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))

    def beat(self, now: float) -> None:
        """Send a comment if nothing was sent for a while."""
        silent = now - self._sent_at >= self._heartbeat
        if silent and self._pump is not None and not self._pump.busy:
            self._write(HEARTBEAT, ended=False)

    def lost(self) -> None:
        """Nothing more can be sent."""
        if self._connection.stream is self:
            self._connection.stream = None
            # The two know each other, and would wait for the collector of cycles.
            pump, self._pump = self._pump, None
            if pump is not None:
                pump.stop()
            self._leave(self._watcher)


class ShortProtocol(GuardedProtocol):
    """The guarded protocol with the short way. ``ways`` gives that of the application, which has
    one while it is started."""

    ways: Callable[[], ShortWays | None] = staticmethod(lambda: None)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.stream: _TurnAnswer | None = None
        self._expected: RequestResponseCycle | None = None  # goes the short way when it is whole
        self._common: list[Any] = []
        self._status = b""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        ways = None if self.access_log or self._other_user or app is not self.app else self.ways()
        if ways is None or self.flow.write_paused or not ways.takes(cycle.scope):
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._expected = cycle
        else:
            self._answer(ways, cycle)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle, self._expected = self._expected, None
        if cycle is not None:
            ways = self.ways()
            if ways is None:
                self.start(cycle, self.app)
            else:
                self._answer(ways, cycle)

    def _answer(self, ways: ShortWays, cycle: RequestResponseCycle) -> None:
        self._answered = cycle
        if not ways.answer(self, cycle):
            self.start(cycle, self.app)

    def start(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Let an application answer a request, which is the common way."""
        super()._start_asgi_task(cycle, app)

    # What is answered ---------------------------------------------------------------------------

    def head(self, cycle: RequestResponseCycle, fields: bytes) -> bytes:
        """The head of a response with these fields."""
        common = self.server_state.default_headers
        if common is not self._common:  # with another second in it
            self._common = common
            lines = [b"%b: %b\r\n" % field for field in common]
            self._status = b"HTTP/1.1 200 OK\r\n" + b"".join(lines)
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        return self._status + fields + end

    def respond(self, cycle: RequestResponseCycle, headers: dict[str, str], body: bytes) -> None:
        """Send a whole response: JSON, with these headers."""
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        lines.append(f"content-length: {len(body)}\r\n")
        head = self.head(cycle, "".join(lines).encode("latin-1") + _JSON)
        cycle.response_started = True
        self.transport.write(head + body)
        self.complete(cycle)

    def complete(self, cycle: RequestResponseCycle) -> None:
        """A response is sent to its end."""
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    # What ends it -------------------------------------------------------------------------------

    def _leave(self) -> bool:
        started = super()._leave()
        if self.stream is not None:
            self.stream.lost()
        return started

    def look(self, now: float) -> None:
        super().look(now)
        if self.stream is not None:
            self.stream.beat(now)


def short(guard: Guard, ways: Callable[[], ShortWays | None]) -> type[ShortProtocol]:
    """The protocol with a guard of its own, for one application."""
    return type("ShortProtocol", (ShortProtocol,), {"guard": guard, "ways": staticmethod(ways)})
