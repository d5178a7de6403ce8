"""The events of a turn, read beside the keys of the terminal."""

import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Self

from sessile.cli.remote import Turn
from sessile.wire.errors import RemoteError


class Arriving:
    """An iterator over the events of a turn, which a thread reads.

    After Ctrl-C it goes on where it was. Its ``fileno`` can be waited for with ``select``.
    Iterating raises :class:`~sessile.wire.errors.RemoteError` if the server is gone.
    """

    def __init__(self, turn: Turn) -> None:
        self._events: SimpleQueue[dict[str, Any] | RemoteError | None] = SimpleQueue()
        self._ahead: deque[dict[str, Any] | RemoteError | None] = deque()
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        Thread(target=self._read, args=(turn,), daemon=True).start()

    def fileno(self) -> int:
        return self._woken.fileno()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        event = self._ahead.popleft() if self._ahead else self._events.get()
        if event is None:
            raise StopIteration
        if isinstance(event, RemoteError):
            raise event
        return event

    def ahead(self) -> Sequence[dict[str, Any] | RemoteError | None]:
        """The events that have arrived and were not iterated over yet; None is the end."""
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        with suppress(Empty):
            while True:
                self._ahead.append(self._events.get_nowait())
        return self._ahead

    def _read(self, turn: Turn) -> None:
        last: RemoteError | None = None
        try:
            for event in turn.events():
                self._put(event)
        except RemoteError as error:
            last = error
        except Exception as error:  # of a server that sends what is not in the protocol
            last = RemoteError(f"the server sent something unexpected ({type(error).__name__})")
        self._put(last)

    def _put(self, event: dict[str, Any] | RemoteError | None) -> None:
        self._events.put(event)
        with suppress(BlockingIOError):  # so much has arrived that nobody waits for this byte
            self._wake.send(b".")
