"""The load: clients of a chat server on raw sockets, in one thread, so that the server gets the
other core. All clients speak HTTP/1.1 over persistent connections and read every response to its end.
"""

import os
import select
import socket
import statistics
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Self
from urllib.parse import urlencode

from msgspec.json import encode

READ = 256 * 1024
GRACE = 20.0  # seconds for started requests to end


class Wrong(Exception):
    """A server sent a wrong response, which makes its measurements meaningless."""


class Load(NamedTuple):
    """What a server did in ``seconds``. ``times`` are sorted seconds per request; ``bytes`` were received.

    ``busy`` is the share of time in which the load's process ran; near 1, the load was the limit.
    """

    done: int
    seconds: float
    times: list[float]
    bytes: int
    busy: float

    @property
    def rate(self) -> float:
        return self.done / self.seconds

    def quantile(self, part: float) -> float:
        """In milliseconds."""
        return self.times[min(len(self.times) - 1, int(len(self.times) * part))] * 1e3


def get(path: str) -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode()


def post(path: str, body: object, method: bytes = b"POST") -> bytes:
    return _with_body(path, encode(body), b"application/json", method)


def form(path: str, **fields: str) -> bytes:
    """A POST of a form."""
    return _with_body(path, urlencode(fields).encode(), b"application/x-www-form-urlencoded")


def _with_body(path: str, data: bytes, media: bytes, method: bytes = b"POST") -> bytes:
    return (
        b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (method, path.encode(), media, len(data), data)
    )


DONE = b'data: {"type":"done"}'


class Connection:
    """One client: a request, its whole response, the next request.

    A stream must have ``done`` in its last bytes; otherwise it is incomplete.
    """

    def __init__(self, port: int, done: bytes = DONE) -> None:
        self._done = done
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=GRACE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self._left = -2  # bytes to come; -1: until the last chunk; -2: no head yet
        self._head = b""
        self._end = b""
        self._stream = False

    def send(self, request: bytes) -> None:
        self._left, self._head, self._end = -2, b"", b""
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def take(self, data: bytes) -> bool:
        """Read what arrived; True if the response is complete."""
        if not data:
            raise Wrong("the server closed the connection")
        if self._left == -2:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            if not head.startswith((b"http/1.1 200", b"http/1.1 201", b"http/1.1 204")):
                raise Wrong(repr(self._head[:300]))
            self._left = _length(head)
            self._stream = b"\r\ncontent-type: text/event-stream" in head
        if self._left >= 0:
            self._left -= len(data)
            return self._left <= 0
        if len(data) < 64:
            data = self._end + data
        self._end = data[-64:]
        if not self._end.endswith(b"\r\n0\r\n\r\n"):
            return False
        if self._stream and self._done not in self._end:
            raise Wrong(f"a stream ended without done: {self._end!r}")
        return True

    def ask(self, request: bytes) -> bytes:
        """Send one request; return the whole response with its head and framing."""
        self.send(request)
        found = b""
        while True:
            data = self.socket.recv(READ)
            found += data
            if self.take(data):
                return found

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _length(head: bytes) -> int:
    if b"\r\ntransfer-encoding: chunked" in head:
        return -1
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def body_of(answer: bytes) -> bytes:
    """The body of a response from :meth:`Connection.ask`."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body
        body += rest[:length]
        rest = rest[length + 2 :]


def closed_loop(
    port: int,
    requests: Iterator[bytes],
    clients: int,
    seconds: float = float("inf"),
    done: bytes = DONE,
) -> Load:
    """Run clients, each of which sends a request, waits for the whole response and sends the next.

    It ends after ``seconds``, or when there are no more requests. Raises :class:`Wrong`.
    """
    waiting = select.epoll()
    connections = _connect(port, clients, done, waiting)
    times: list[float] = []
    received = active = 0
    worked, start = time.process_time(), time.perf_counter()
    end = start + seconds
    for connection in connections.values():
        if (request := next(requests, None)) is not None:
            connection.send(request)
            active += 1
    while active:
        ready = waiting.poll(GRACE)
        if not ready:
            raise Wrong(f"{active} clients wait for an answer since {GRACE} s")
        for file, _ in ready:
            connection = connections[file]
            data = connection.socket.recv(READ)
            received += len(data)
            if not connection.take(data):
                continue
            now = time.perf_counter()
            times.append(now - connection.began)
            next_request = next(requests, None) if now < end else None
            if next_request is None:
                active -= 1
            else:
                connection.send(next_request)
    taken, worked = time.perf_counter() - start, time.process_time() - worked
    for connection in connections.values():
        connection.close()
    waiting.close()
    return Load(len(times), taken, sorted(times), received, worked / taken)


def _connect(port: int, clients: int, done: bytes, waiting: select.epoll) -> dict[int, Connection]:
    connections: dict[int, Connection] = {}
    for _ in range(clients):
        connection = Connection(port, done)
        connections[connection.socket.fileno()] = connection
        waiting.register(connection.socket, select.EPOLLIN)
    return connections


# WebSockets -------------------------------------------------------------------------------------


def open_socket(port: int, session: str, tries: int = 3) -> tuple[socket.socket, bytes]:
    """A WebSocket of a session, and the bytes that came right after its handshake."""
    for _ in range(tries - 1):  # the reference drops one of many thousands
        with suppress(Wrong, OSError):
            return _handshake(port, session)
    return _handshake(port, session)


def _handshake(port: int, session: str) -> tuple[socket.socket, bytes]:
    opened = socket.create_connection(("127.0.0.1", port), timeout=GRACE)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.sendall(
        b"GET /sessions/%s/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"
        % (session.encode(), b64encode(os.urandom(16)))
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = opened.recv(4096)
        if not data:
            raise Wrong(f"no WebSocket: {answer[:300]!r}")
        answer += data
    if not answer.startswith(b"HTTP/1.1 101"):
        raise Wrong(f"no WebSocket: {answer[:300]!r}")
    return opened, answer.partition(b"\r\n\r\n")[2]


def whole_frames(data: bytes) -> tuple[int, int]:
    """The number of whole WebSocket frames at the start of the bytes, and where they end."""
    count = at = 0
    size = len(data)
    while size - at >= 2:
        length, head = data[at + 1] & 127, 2
        if length == 126:
            if size - at < 4:
                break
            length, head = data[at + 2] << 8 | data[at + 3], 4
        elif length == 127:
            if size - at < 10:
                break
            length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        if size - at < head + length:
            break
        at += head + length
        count += 1
    return count, at


class Fanout(NamedTuple):
    """``posts`` that reached every client, and the ``frames`` that were delivered."""

    posts: int
    frames: int
    seconds: float
    busy: float


class _Watchers:
    """Clients that watch a session over WebSocket, and what they have received."""

    def __init__(
        self, port: int, session: str, clients: int, marker: bytes, waiting: select.epoll
    ) -> None:
        self.frames = self.seen = 0
        self._marker = marker
        self._sockets: dict[int, socket.socket] = {}
        self._rests: dict[int, bytes] = {}
        for _ in range(clients):
            opened, rest = open_socket(port, session)
            opened.setblocking(False)
            self._sockets[opened.fileno()] = opened
            self._rests[opened.fileno()] = rest
            waiting.register(opened, select.EPOLLIN)

    def read(self, file: int) -> None:
        data = self._sockets[file].recv(READ)
        if not data:
            raise Wrong("a WebSocket was closed")
        data = self._rests[file] + data
        count, end = whole_frames(data)
        self.frames += count
        self.seen += data.count(self._marker, 0, end)
        self._rests[file] = data[end:]

    def close(self) -> None:
        for opened in self._sockets.values():
            opened.close()


def fan_out(
    port: int, session: str, clients: int, posts: int, marker: bytes, content: str
) -> Fanout:
    """Many clients watch a session over WebSocket while one client posts to it, each message as soon
    as the stream of the last one has ended. Timed until every client has every message.

    ``marker`` is the text at the end of every posted message on the wire, once for each client.
    """
    waiting = select.epoll()
    watchers = _Watchers(port, session, clients, marker, waiting)
    poster = Connection(port)
    waiting.register(poster.socket, select.EPOLLIN)
    request = post(f"/chat/{session}", {"content": content})
    taken = worked = 0.0
    # The first message is not timed: greetings are read, and every path is warm.
    for wanted in (1, posts):
        watchers.frames, watchers.seen, posted, streaming = 0, 0, 1, True
        worked, begin = time.process_time(), time.perf_counter()
        poster.send(request)
        while streaming or posted < wanted or watchers.seen < wanted * clients:
            ready = waiting.poll(GRACE, 8192)
            if not ready:
                raise Wrong(f"{watchers.seen} of {wanted * clients} messages came, then nothing")
            for file, _ in ready:
                if file != poster.socket.fileno():
                    watchers.read(file)
                elif poster.take(poster.socket.recv(READ)):
                    streaming = posted < wanted
                    if streaming:
                        posted += 1
                        poster.send(request)
        taken, worked = time.perf_counter() - begin, time.process_time() - worked
    poster.close()
    watchers.close()
    waiting.close()
    return Fanout(posts, watchers.frames, taken, worked / taken)


# Figures ----------------------------------------------------------------------------------------


def timed(work: Callable[[], object], times: int) -> list[float]:
    """The seconds that each of several calls took."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return found


def sync_time(folder: str, seconds: float = 0.5) -> float:
    """Milliseconds that the disk takes for an fdatasync of 4 KiB, the median."""
    path = os.path.join(folder, "sync-probe")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def write() -> None:
        os.write(file, b"x" * 4096)
        os.fdatasync(file)

    try:
        found = timed(write, 5)
        while sum(found) < seconds:
            found += timed(write, 20)
    finally:
        os.close(file)
        os.unlink(path)
    return statistics.median(found) * 1e3
