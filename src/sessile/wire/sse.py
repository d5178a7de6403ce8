"""Server-sent events to bytes and back, pure (WHATWG HTML, "Server-sent events")."""

from collections.abc import Iterator
from typing import NamedTuple

HEARTBEAT = b":\n\n"


class ServerSentEvent(NamedTuple):
    """One event of a stream; ``id`` is None where the frame had no ``id:`` line."""

    event: str
    data: str
    id: str | None


def frame(event: str, data: bytes, seq: int = 0) -> bytes:
    """One event; ``data`` is JSON and so has no line breaks. Without ``seq`` it has no ``id:``."""
    if seq:
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, event.encode(), data)
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


class Parser:
    """Bytes in any cut to events: feed what arrives, take the events that are whole.

    Lines end with LF, CRLF or CR; comments are dropped; an event without data is none. Some servers
    write ``error: DATA``: a field that is named ``short`` is an event of that name with its data.
    """

    def __init__(self, short: str | None = None) -> None:
        self._short = short
        self._rest = b""
        self._event = ""
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        rest = self._rest + chunk
        # A CR at the end may be the first half of a CRLF: it waits for the next chunk.
        held = b"\r" if rest.endswith(b"\r") else b""
        lines = rest[: len(rest) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, last = lines.split(b"\n")
        self._rest = last + held
        for line in whole:
            event = self._line(line.decode())
            if event is not None:
                yield event

    def _line(self, line: str) -> ServerSentEvent | None:
        if not line:
            event = None
            if self._data:
                event = ServerSentEvent(self._event or "message", "\n".join(self._data), self._id)
            self._event, self._id, self._data = "", None, []
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == self._short:
            self._event = name
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None
