"""The short way of requests has the effect of the common way, and every other request takes that."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw
import pytest

from sessile import Sessile, Turn, create_app
from sessile.http import short
from sessile.store.sqlite.store import SQLiteStore
from tests.serving import Client, events, kinds, running

Answer = tuple[str, list[str], str]
SEND = "POST /chat/s"
PAGE = "GET /chat/s/messages"


async def reply(turn: Turn) -> AsyncGenerator[str, None]:
    if turn.content == "fail":
        raise RuntimeError
    for word in turn.content.split():
        yield f"{word} "


def behind(gate: asyncio.Event) -> Callable[[Turn], AsyncGenerator[str, None]]:
    """An agent that says one word, and the other when the gate is open."""

    async def reply(turn: Turn) -> AsyncGenerator[str, None]:
        yield "one "
        await gate.wait()
        yield "two"

    return reply


def request(
    line: str, body: str | None = None, *fields: str, host: str = "localhost", version: str = "1.1"
) -> bytes:
    lines = [f"{line} HTTP/{version}", f"Host: {host}", *fields]
    if body is not None and not any(field.startswith("Transfer-Encoding") for field in fields):
        lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode()


def said(content: str, **more: str) -> str:
    others = "".join(f', "{name}": "{value}"' for name, value in more.items())
    return f'{{"content": "{content}"{others}}}'


# Each in its own session after one turn; several in one list follow each other in one connection.
REQUESTS: dict[str, list[bytes]] = {
    "a message": [request(SEND, said("one two"))],
    "two messages": [request(SEND, said("one")), request(SEND, said("two"))],
    "a message and the page": [request(SEND, said("one")), request(PAGE)],
    "an id, twice": [request(SEND, said("one", id="i")), request(SEND, said("one", id="i"))],
    "an id in conflict": [request(SEND, said("one", id="i")), request(SEND, said("x", id="i"))],
    "a key": [request(SEND, said("one"), "Idempotency-Key: k")] * 2,
    "a key and another id": [request(SEND, said("one", id="i"), "Idempotency-Key: k")],
    "an agent that fails": [request(SEND, said("fail"))],
    "parts": [request(SEND, '{"parts": [{"type": "text", "content": "one"}]}')],
    "metadata": [request(SEND, '{"content": "one", "metadata": {"a": [1]}}')],
    "what replaces nothing": [request(SEND, said("one", replaces="nobody"))],
    "no content": [request(SEND, said(" "))],
    "no body": [request(SEND)],
    "an empty body": [request(SEND, "")],
    "not JSON": [request(SEND, "{")],
    "another type": [request(SEND, '{"content": 5}')],
    "too deep": [request(SEND, '{"parts": ' + "[" * 100 + "]" * 100 + "}")],
    "too large": [request(SEND, said("x" * 2_000_000))],
    "rather large": [request(SEND, said("x " * 30_000))],
    "chunked": [request(SEND, "1\r\n{\r\n0\r\n\r\n", "Transfer-Encoding: chunked")],
    "a wait for 100": [request(SEND, said("one"), "Expect: 100-continue")],
    "the last of its connection": [request(SEND, said("one"), "Connection: close")],
    "an older HTTP": [request(SEND, said("one"), version="1.0")],
    "a session id": [request("POST /chat/a.b~c:d@e-f", said("one"))],
    "no session id": [request("POST /chat/a%20b", said("one"))],
    "a new session": [request("POST /chat/new", said("one"))],
    "an answer as JSON": [request(SEND, said("one"), "Accept: application/JSON")],
    "an answer as any application's": [request(SEND, said("one"), "Accept: application/*")],
    "an answer as anything": [request(SEND, said("one"), "Accept: application/json, */*")],
    "an answer rather as anything": [
        request(SEND, said("one"), "Accept: text/event-stream;q=0.5, */*")
    ],
    "no answer yet": [request(SEND, said("one"), "Prefer: respond-async")],
    "a query": [request(SEND + "?x=1", said("one"))],
    "another name": [request(SEND, said("one"), host="evil.example")],
    "another site": [request(SEND, said("one"), "Origin: https://evil.example")],
    "its own site": [request(SEND, said("one"), "Origin: http://localhost")],
    "the newest page": [request(PAGE)],
    "the page of another site": [request(PAGE, None, "Sec-Fetch-Site: cross-site")],
    "the page of nobody": [request("GET /chat/nobody/messages")],
    "a page of a size": [request(PAGE + "?limit=1")],
    "a page of no size": [request(PAGE + "?limit=0")],
    "a page with a body": [request(PAGE, "x")],
    "only the head": [request("HEAD /chat/s/messages")],
    "another method": [request("PUT /chat/s", said("one"))],
}


@asynccontextmanager
async def both(folder: Path, **settings: Any) -> AsyncGenerator[list[str], None]:
    """The addresses of two servers, of which the second knows only the common way."""
    apps = [
        create_app(agent=reply, store=f"sqlite:///{folder}/{name}.db", **settings)
        for name in ("short", "common")
    ]
    async with running(apps[0]) as first, running(_only_asgi(apps[1])) as second:
        yield [first, second]


def _only_asgi(app: Sessile) -> Any:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return plain


async def exchange(url: str, requests: list[bytes], pieces: int = 1) -> list[Answer]:
    """The answers to requests, sent one after another in one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    found = []
    for sent in requests:
        size = len(sent) // pieces + 1
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await asyncio.sleep(0.01 if pieces > 1 else 0)
        async with asyncio.timeout(10):
            found.append(await _answer(reader, sent.startswith(b"HEAD")))
    writer.close()
    return found


async def _answer(reader: asyncio.StreamReader, head_only: bool) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if " 100 " in head:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *fields = head.strip().split("\r\n")
    body = b""
    length = re.search(r"content-length: (\d+)", head)
    if length and not head_only:
        body = await reader.readexactly(int(length[1]))
    elif "chunked" in head and not head_only:
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    elif not head_only:
        body = await reader.read()
    kept = sorted(field for field in fields if not field.startswith("date:"))
    return status, [re.sub(UNIQUE, "#", field) for field in kept], _plain(body.decode())


UNIQUE = r"[0-9a-f]{8}-[0-9a-f-]{27}|before=[^>]*"


def _plain(text: str) -> str:
    """A body without what differs from time to time."""
    names: dict[str, str] = {}
    text = re.sub(UNIQUE, lambda found: names.setdefault(found[0], f"#{len(names)}"), text)
    return re.sub(r'"createdAt":\d+', '"createdAt":0', text)


@pytest.mark.parametrize("pieces", [1, 3])
async def test_both_ways_have_the_same_effect(tmp_path: Path, pieces: int) -> None:
    async with both(tmp_path) as urls:
        for name, requests in REQUESTS.items():
            session = "s-" + re.sub(r"\W", "-", name)
            own = [sent.replace(b"/chat/s", f"/chat/{session}".encode(), 1) for sent in requests]
            first = request(f"POST /chat/{session}", said("first"))
            for url in urls:
                await exchange(url, [first])
            short_way, common = [await exchange(url, own, pieces) for url in urls]
            assert short_way == common, name
            pages = [
                await exchange(url, [request(f"GET /chat/{session}/messages")]) for url in urls
            ]
            assert pages[0] == pages[1], name


async def test_plain_requests_go_the_short_way_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    answer = short.ShortWays.answer

    def counted(ways: short.ShortWays, *arguments: Any) -> bool:
        taken.append(answer(ways, *arguments))
        return taken[-1]

    monkeypatch.setattr(short.ShortWays, "answer", counted)
    async with both(tmp_path) as (url, _):
        await exchange(url, [request(SEND, said("one")), request(PAGE), request(PAGE + "?limit=5")])
        assert taken == [True, True, True]
        taken.clear()
        await exchange(url, [request(SEND, said("one"), "Connection: close")])
        await exchange(url, [request("GET /sessions/s"), request(PAGE + "?before=x")])
        assert taken == []


async def test_requests_that_do_not_wait_for_answers_are_answered_in_order(
    tmp_path: Path,
) -> None:
    async with both(tmp_path) as (url, _):
        sent = [request(SEND, said(f"w{number}")) for number in range(5)] + [request(PAGE)]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"".join(sent))
        answers = [await _answer(reader, head_only=False) for _ in sent]
        writer.close()
        for number, (_, _, body) in enumerate(answers[:-1]):
            assert f'"content":"w{number} "' in body
        assert all(f'"w{number}"' in answers[-1][2] for number in range(5))


async def test_a_client_that_leaves_does_not_stop_its_turn(tmp_path: Path) -> None:
    gate = asyncio.Event()
    app = create_app(agent=behind(gate), store=f"sqlite:///{tmp_path}/s.db")
    async with running(app) as url:
        client = Client(url, app)
        async with (
            client.http,
            client.http.stream("POST", "/chat/s", json={"content": "go"}) as one,
        ):
            coming = events(one)
            assert kinds([await anext(coming) for _ in range(3)]) == ["ack", "status", "delta"]
            assert client.watchers() == 1
        while client.watchers():
            await asyncio.sleep(0.01)
        gate.set()
        client = Client(url, app)
        async with client.http:
            while (await client.value("s"))["status"] != "idle":
                await asyncio.sleep(0.01)
            assert (await client.messages("s"))[-1]["content"] == "one two"


async def test_a_session_that_must_be_recovered_is_not_woken_the_short_way(tmp_path: Path) -> None:
    """Its recovery writes before it waits."""
    go_on = asyncio.Event()
    asked: list[str] = []

    async def slow(turn: Turn) -> AsyncGenerator[str, None]:
        asked.append(turn.content)
        yield "begin "
        if turn.content == "one":
            await go_on.wait()
            yield "more"
            await asyncio.sleep(60)
        yield "end"

    app = create_app(agent=slow, store=f"sqlite:///{tmp_path}/s.db")
    async with running(app) as url:
        client = Client(url, app)
        async with client.http:
            one, two = [
                asyncio.create_task(client.http.post("/chat/s", json={"content": content}))
                for content in ("one", "two")
            ]
            while (await client.value("s")).get("messageCount", 0) < 2 or not asked:
                await asyncio.sleep(0.01)
            assert isinstance(app.store, SQLiteStore)
            tables = app.store.writer.tables
            with patch.object(tables, "write", side_effect=apsw.FullError("the disk is full")):
                go_on.set()
                await one
                await two
            assert app._registry is not None
            assert app._registry.live("s") is None
            await exchange(url, [request(SEND, said("three"))])
            found = await client.messages("s")
            assert [(m["content"], m["status"]) for m in found] == [
                ("one", "complete"),
                ("begin ", "interrupted"),
                ("two", "complete"),
                ("begin end", "complete"),
                ("three", "complete"),
                ("begin end", "complete"),
            ]
            assert asked == ["one", "two", "three"]


async def test_a_stream_behind_a_page_is_not_taken_for_idle(tmp_path: Path) -> None:
    gate = asyncio.Event()
    app = create_app(agent=behind(gate), store=f"sqlite:///{tmp_path}/s.db")
    async with running(app, keep_alive=0) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request("GET /chat/x/messages") + request(SEND, said("go")))
        assert (await _answer(reader, head_only=False))[2] == "[]"
        head = await reader.readuntil(b'"text":"one "')
        assert b"text/event-stream" in head
        await asyncio.sleep(2.5)  # all connections are looked at every second
        gate.set()
        rest = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert b"event: done" in rest
        async with asyncio.timeout(10):
            assert await reader.read() == b"", "an idle connection is closed"
        writer.close()


async def test_a_connection_whose_body_comes_late_is_idle_afterwards(tmp_path: Path) -> None:
    app = create_app(agent=reply, store=f"sqlite:///{tmp_path}/s.db")
    async with running(app, keep_alive=0) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        sent = request("POST /nowhere", "x" * 10)
        writer.write(sent[:-5])
        assert " 404 " in (await _answer(reader, head_only=False))[0]
        writer.write(sent[-5:])
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
