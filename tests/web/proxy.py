"""A proxy in front of a server, as companies and hotels have them: it may let no WebSocket through."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from urllib.parse import urlsplit

REFUSALS = {
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    "426": b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "400": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "200": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n"
    b"Connection: close\r\n\r\n<hi>",
}


class Proxy:
    """Passes requests on, one for each connection; a path loses its ``prefix``.

    ``websocket`` is what the opening of a WebSocket gets: "pass", "strip" (it arrives without
    `Upgrade`), "hang", or a key of REFUSALS. With ``streams`` False, event streams are refused.
    """

    def __init__(self, to: str, prefix: str = "") -> None:
        self.websocket = "pass"
        self.streams = True
        self.asked: list[str] = []  # the paths that were requested
        self._to = urlsplit(to)
        self._prefix = prefix
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{prefix}"
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._known(client), suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            head, _, rest = head.partition(b"\r\n\r\n")
            self._answer(client, head.decode("latin-1"), rest)

    def _answer(self, client: socket.socket, head: str, rest: bytes) -> None:
        method, path, version = head.splitlines()[0].split(" ")
        self.asked.append(path)
        if not path.startswith(f"{self._prefix}/"):
            client.sendall(REFUSALS["404"])
            return
        fields = head.splitlines()[1:]
        upgrades = any(re.match("upgrade:", field, re.IGNORECASE) for field in fields)
        if upgrades and self.websocket in REFUSALS:
            client.sendall(REFUSALS[self.websocket])
            return
        if "/events" in path and not self.streams:
            client.sendall(REFUSALS["502"])
            return
        if upgrades and self.websocket == "hang":
            client.recv(1)  # until it leaves
            return
        if not (upgrades and self.websocket == "pass"):
            fields = [f for f in fields if not re.match("(upgrade|connection):", f, re.IGNORECASE)]
            fields.append("Connection: close")
        lines = [f"{method} {path.removeprefix(self._prefix)} {version}", *fields]
        server = socket.create_connection((self._to.hostname or "", self._to.port or 80))
        with self._known(server):
            server.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + rest)
            Thread(target=_pass_on, args=(client, server), daemon=True).start()
            _pass_on(server, client)

    @contextmanager
    def _known(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(to: str, prefix: str = "") -> Iterator[Proxy]:
    proxy = Proxy(to, prefix)
    try:
        yield proxy
    finally:
        proxy.close()
