"""The cost of a turn, counted and not timed: Python calls, SQLite statements and SQLite pages.

A count does not depend on the machine. Each bound is 1.25 times the count when it was set, so a
change that adds a quarter to the cost of a turn fails. Lower the bound when the cost gets lower.
"""

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from sessile import Sessile, create_app
from sessile.http.guard import EdgeLimits, Guard
from sessile.http.short import ShortProtocol, short
from sessile.store.sqlite.store import SQLiteStore
from sessile.wire.codec import encode

AT_ONCE = 16
ROUNDS = 10
TURNS = AT_ONCE * ROUNDS
TWENTY_WORDS = " ".join(f"word{index}" for index in range(20))

# For the short way, and for the common way, through the whole application.
CALLS = {"one": (790, 880), TWENTY_WORDS: (1_430, 1_510)}
PAGE_CALLS = 200, 200
STATEMENTS = 13
PAGES = 6.3


@pytest.fixture
async def app(tmp_path: Path) -> AsyncGenerator[Sessile, None]:
    app = create_app(store=f"sqlite:///{tmp_path}/sessile.db")
    async with app.lifespan():
        yield app


class Client(asyncio.Transport):
    """The end of a connection that the server's protocol writes to."""

    def __init__(self, app: Sessile) -> None:
        super().__init__({"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 9)})
        self._config = Config(app, lifespan="off", log_config=None, access_log=False)
        self._config.load()
        protocol = short(Guard(EdgeLimits()), lambda: app.short_ways)
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        loop = asyncio.get_running_loop()
        self._protocol: ShortProtocol = protocol(self._config, state, {}, loop)
        self._protocol.connection_made(self)
        self.answer = b""
        self._ended = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answer += bytes(data)
        if self.answer.endswith((b"\r\n0\r\n\r\n", b"]")):
            self._ended.set()

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Make one request the short way and return the whole response."""
        self.answer = b""
        self._ended.clear()
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        self._protocol.data_received(head.encode() + body)
        await self._ended.wait()
        return self.answer


async def ask(app: Sessile, method: str, path: str, body: bytes = b"") -> bytes:
    """Make one request the common way and return the whole response."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    requests = [{"type": "http.request", "body": body, "more_body": False}]
    ended = asyncio.Event()
    answer = b""

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal answer
        answer += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            ended.set()

    await app(scope, receive, send)
    return answer


async def turns(app: Sessile, content: str, clients: list[Client] | None = None) -> None:
    """So many turns, several at once, each in a session of its own."""
    body = encode({"content": content})
    for _ in range(ROUNDS):
        paths = [f"/chat/s{number}" for number in range(AT_ONCE)]
        if clients:
            asked = [
                client.ask("POST", path, body) for client, path in zip(clients, paths, strict=True)
            ]
        else:
            asked = [ask(app, "POST", path, body) for path in paths]
        for answer in await asyncio.gather(*asked):
            assert b'event: done\ndata: {"type":"done"}\n\n' in answer


class Calls:
    """Counts every call of a Python or C function in this thread."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self.count += 1

    def __enter__(self) -> Self:
        sys.setprofile(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)


@pytest.mark.parametrize("way", ["short", "common"])
@pytest.mark.parametrize("content", CALLS)
async def test_the_calls_of_a_turn_are_within_the_bound(
    app: Sessile, content: str, way: str
) -> None:
    clients = [Client(app) for _ in range(AT_ONCE)] if way == "short" else None
    await turns(app, content, clients)
    with Calls() as calls:
        await turns(app, content, clients)
    each, bound = calls.count / TURNS, CALLS[content][way == "common"]
    assert bound / 2 < each < bound, f"{each:.0f} calls a turn"


@pytest.mark.parametrize("way", ["short", "common"])
async def test_the_calls_of_a_page_are_within_the_bound(app: Sessile, way: str) -> None:
    await turns(app, "Hello")
    client = Client(app)
    path = "/chat/s0/messages"

    async def page() -> bytes:
        return await (client.ask("GET", path) if way == "short" else ask(app, "GET", path))

    await page()
    with Calls() as calls:
        for _ in range(TURNS):
            await page()
    each, bound = calls.count / TURNS, PAGE_CALLS[way == "common"]
    assert bound / 2 < each < bound, f"{each:.0f} calls a page"


async def test_the_statements_and_written_pages_of_a_turn_are_within_the_bounds(
    app: Sessile,
) -> None:
    store = app.store
    assert isinstance(store, SQLiteStore)
    clients = [Client(app) for _ in range(AT_ONCE)]
    await turns(app, "Hello", clients)
    statements: list[str] = []
    written = at = 0

    def executed(cursor: object, statement: str, values: object) -> bool:
        statements.append(statement)
        return True

    def committed(connection: object, database: str, count: int) -> int:
        nonlocal written, at
        written += count - at if count > at else count  # the log began again
        at = count
        return 0

    store.database.exec_trace = executed
    store.database.set_wal_hook(committed)
    await turns(app, "Hello", clients)
    each = len(statements) / TURNS, written / TURNS
    assert STATEMENTS / 2 < each[0] < STATEMENTS, f"{each[0]:.1f} statements a turn"
    assert PAGES / 2 < each[1] < PAGES, f"{each[1]:.1f} pages a turn"


async def test_a_turn_leaves_nothing_for_the_collector_of_cycles(app: Sessile) -> None:
    """What waits for it costs more than the turn: it scans all that is alive."""
    clients = [Client(app) for _ in range(AT_ONCE)]
    await turns(app, "Hello", clients)
    gc.collect()
    gc.disable()
    try:
        await turns(app, "Hello", clients)
        left = gc.collect()
    finally:
        gc.enable()
    assert left < TURNS, f"{left / TURNS:.1f} objects a turn"
