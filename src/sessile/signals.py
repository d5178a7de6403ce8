"""What an application does when its process is asked to end, before its server does the rest.

Servers first wait until all connections are closed, and only then end the application's lifespan. A
stream that waits for the application, and an application that waits for the end of its lifespan,
would wait for each other.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def at_the_end(begin: Callable[[], None]) -> Iterator[None]:
    """Call ``begin`` in the running event loop on SIGINT and SIGTERM, and then what handled them.

    Has no effect outside of the main thread, where Python handles no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    former: dict[int, Any] = {number: signal.getsignal(number) for number in _NUMBERS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin)
        if callable(former[number]):
            former[number](number, frame)
        elif former[number] != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in _NUMBERS:
        if former[number] is not None:  # set by C code, which cannot be called from here
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number in _NUMBERS:
            if signal.getsignal(number) is handle:
                signal.signal(number, former[number])
