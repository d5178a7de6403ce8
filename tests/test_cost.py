"""The cost of a turn, counted and not timed: Python calls, SQLite statements and SQLite pages.

A count does not depend on the machine. Each bound is 1.5 times the count when it was set, so a
change that doubles the cost of a turn fails. Lower the bound when the cost gets lower.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest

from sessile import Sessile, create_app
from sessile.store.sqlite.store import SQLiteStore
from sessile.wire.codec import encode

TURNS = 40
TWENTY_WORDS = " ".join(f"word{index}" for index in range(20))

CALLS = {"one": 800, TWENTY_WORDS: 1_700}
PAGE_CALLS = 220
STATEMENTS = 15
PAGES = 30


@pytest.fixture
async def app(tmp_path: Path) -> AsyncGenerator[Sessile, None]:
    app = create_app(store=f"sqlite:///{tmp_path}/sessile.db")
    async with app.lifespan():
        yield app


async def ask(app: Sessile, method: str, path: str, body: bytes = b"") -> bytes:
    """Make one request without a server and return the whole response."""
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


async def turns(app: Sessile, content: str) -> None:
    for number in range(TURNS):
        answer = await ask(app, "POST", f"/chat/s{number % 4}", encode({"content": content}))
        assert answer.endswith(b'event: done\ndata: {"type":"done"}\n\n')


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


@pytest.mark.parametrize("content", CALLS)
async def test_the_calls_of_a_turn_are_within_the_bound(app: Sessile, content: str) -> None:
    await turns(app, content)
    with Calls() as calls:
        await turns(app, content)
    each = calls.count / TURNS
    assert CALLS[content] / 3 < each < CALLS[content], f"{each:.0f} calls a turn"


async def test_the_calls_of_a_page_are_within_the_bound(app: Sessile) -> None:
    await turns(app, "Hello")
    await ask(app, "GET", "/chat/s0/messages")
    with Calls() as calls:
        for _ in range(TURNS):
            await ask(app, "GET", "/chat/s0/messages")
    each = calls.count / TURNS
    assert PAGE_CALLS / 3 < each < PAGE_CALLS, f"{each:.0f} calls a page"


async def test_the_statements_and_written_pages_of_a_turn_are_within_the_bounds(
    app: Sessile,
) -> None:
    store = app.store
    assert isinstance(store, SQLiteStore)
    await turns(app, "Hello")
    statements: list[str] = []
    pages = [0]

    def executed(cursor: object, statement: str, values: object) -> bool:
        statements.append(statement)
        return True

    def committed(connection: object, database: str, count: int) -> int:
        pages.append(count)
        return 0

    store.database.exec_trace = executed
    store.database.set_wal_hook(committed)
    await turns(app, "Hello")
    written = sum(max(after - before, 0) for before, after in pairwise(pages[1:]))
    each = len(statements) / TURNS, written / TURNS
    assert STATEMENTS / 3 < each[0] < STATEMENTS, f"{each[0]:.1f} statements a turn"
    assert PAGES / 3 < each[1] < PAGES, f"{each[1]:.1f} pages a turn"
