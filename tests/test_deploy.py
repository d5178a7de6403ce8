"""Sessile behind nginx and Caddy, with the configurations of docs/deploy.md."""

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urljoin

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.exceptions import InvalidStatus

from sessile.cli.remote import Remote
from sessile.wire.errors import RemoteError
from sessile.wire.sse import frame
from tests.proxies import COMMANDS, HOST, PAGE, PASSWORD, USER, Proxy, Visitor, proxied
from tests.serving import Event, Process, client_of, events, frames, kinds, running, text
from tests.test_docs import blocks

# It says its first word, and the rest when a file with the message's name is there.
AGENT = """
import asyncio
from pathlib import Path


async def reply(turn):
    yield "first "
    while not Path(turn.content).exists():
        await asyncio.sleep(0.01)
    yield "last"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server that is started as the page says."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "agent.py").write_text(AGENT)
    (command,) = blocks(PAGE, "sh")
    flags = command.removeprefix("uv run sessile serve ").split()
    with Process(folder, "agent:reply", *flags) as process:
        yield process


@pytest.fixture(scope="module", params=COMMANDS)
def proxy(request: pytest.FixtureRequest, server: Process) -> Iterator[Proxy]:
    with proxied(request.param, server.url) as found:
        yield found


@asynccontextmanager
async def visiting(proxy: Proxy, below: str = "") -> AsyncGenerator[Visitor, None]:
    visitor = proxy.client.below(below)
    async with visitor.http:
        yield visitor


@pytest.fixture
async def visitor(proxy: Proxy) -> AsyncGenerator[Visitor, None]:
    async with visiting(proxy) as found:
        yield found


def name(proxy: Proxy, server: Process, what: str) -> tuple[str, Path]:
    """A name for a session and its message, and the file that lets its answer end."""
    found = f"{what}-{proxy.port}"
    return found, server.folder / found


async def read_first(stream: AsyncGenerator[Event, None]) -> list[Event]:
    """The events up to the first word of the answer."""
    found = []
    async for event in stream:
        found.append(event)
        if event.data["type"] == "delta":
            return found
    raise AssertionError("the stream ended")


async def test_the_first_word_arrives_while_the_answer_runs(
    proxy: Proxy, server: Process, visitor: Visitor
) -> None:
    session, release = name(proxy, server, "stream")
    visitor.http.headers["Accept-Encoding"] = "gzip"
    body = {"content": session}
    async with (
        asyncio.timeout(30),
        visitor.socket(session, "?after=0") as socket,
        visitor.http.stream("POST", f"/chat/{session}", json=body) as answer,
        visitor.http.stream("GET", f"/chat/{session}/events?after=0") as watched,
    ):
        assert answer.status_code == watched.status_code == 200
        seen = await frames(socket, until="delta")
        assert seen[-1]["text"] == "first "
        async with aclosing(events(answer)) as sent, aclosing(events(watched)) as watching:
            assert text(await read_first(sent)) == "first "
            last = (await read_first(watching))[-1].id
            release.touch()
            assert [event.data["type"] async for event in sent][-1] == "done"
        assert (await frames(socket))[-1]["message"]["content"] == "first last"
    # EventSource sends the number of the last event in a header, which wins over the address.
    missed = await visitor.follow(
        session, after=0, count=2, headers={"Last-Event-ID": str(last), "Accept-Encoding": "gzip"}
    )
    assert kinds(missed) == ["delta", "assistant"]


async def test_without_the_password_nothing_is_there(proxy: Proxy, visitor: Visitor) -> None:
    visitor.http.auth = httpx2.BasicAuth(USER, "wrong " + PASSWORD)
    for path in ("/", "/sessions", "/metrics", "/ai/sessions"):
        assert (await visitor.http.get(path)).status_code == 401
    with pytest.raises(InvalidStatus, match="401"):
        await visitor.socket("s", additional_headers={})


async def test_an_answer_goes_on_while_the_proxy_restarts(proxy: Proxy, server: Process) -> None:
    session, release = name(proxy, server, "restart")
    async with asyncio.timeout(60), visiting(proxy) as visitor, visitor.socket(session) as socket:
        async with (
            visitor.http.stream("POST", f"/chat/{session}", json={"content": session}) as sent,
            aclosing(events(sent)) as stream,
        ):
            before = await read_first(stream)
            await asyncio.to_thread(proxy.stop)
            with pytest.raises(httpx2.TransportError):
                async for _ in stream:
                    pass
        await socket.wait_closed()
    release.touch()
    async with client_of(server) as direct:
        while (await direct.value(session))["status"] != "idle":
            await asyncio.sleep(0.01)
    await asyncio.to_thread(proxy.start)
    async with visiting(proxy) as visitor:
        rest = await visitor.follow(session, after=before[-1].id, count=2)
        assert text([*before, *rest]) == "first last"
        seqs = [event.id for event in [*before, *rest]]
        assert seqs == list(range(1, len(seqs) + 1))
        async with visitor.socket(session, f"?after={before[-1].id}") as socket:
            assert (await frames(socket))[-1]["message"]["content"] == "first last"


async def test_below_a_path(proxy: Proxy, server: Process) -> None:
    session, release = name(proxy, server, "below")
    release.touch()
    async with visiting(proxy, "/ai") as visitor:
        root = f"http://{HOST}:{proxy.port}"
        moved = await visitor.http.get(f"http://127.0.0.1:{proxy.port}/ai")
        assert urljoin(f"{root}/ai", moved.headers["location"]) == f"{root}/ai/"
        front = await visitor.http.get("/")
        loaded = re.findall(r'(?:src|href)="([^"]+)"', front.text)
        assert len(loaded) >= 3
        docs = await visitor.http.get("/docs")
        for source in [*loaded, *re.findall(r'(?:src|href)="([^"]+)"', docs.text)]:
            path = urljoin(f"{root}/ai/", source).removeprefix(root)
            assert path.startswith("/ai/")
            found = await visitor.http.get(path.removeprefix("/ai"))
            assert found.status_code == 200, source
        async with visitor.socket(session) as socket:
            answered = await visitor.send(session, session)
            assert answered[-2].data["content"] == "first last"
            assert (await frames(socket))[-1]["message"]["content"] == "first last"
        path = f"/chat/{session}/messages"
        page = await visitor.http.get(f"{path}?limit=1")
        assert page.headers["x-has-more"] == "true"
        (link,) = re.findall(r"<([^>]+)>", page.headers["link"])
        following = urljoin(f"{root}/ai{path}?limit=1", link)
        assert following.startswith(f"{root}/ai{path}?")
        older = await visitor.http.get(following.removeprefix(f"{root}/ai"))
        assert [message["role"] for message in older.json()] == ["user"]


async def test_the_browsers_origin_may_write_and_others_may_not(
    proxy: Proxy, visitor: Visitor
) -> None:
    path = "/sessions"
    for origin, status in ((f"https://{HOST}:{proxy.port}", 201), ("https://evil.example", 403)):
        made = await visitor.http.post(path, json={}, headers={"Origin": origin})
        assert made.status_code == status
    # The name alone, as for the usual ports.
    plain = {"Host": HOST, "Origin": f"https://{HOST}"}
    assert (await visitor.http.post(path, json={}, headers=plain)).status_code == 201


async def test_a_large_body_arrives_and_the_servers_limits_are_those_that_count(
    proxy: Proxy, visitor: Visitor
) -> None:
    words = "x" * 200_000
    parts = [{"type": "text", "content": words}]
    message = {"role": "user", "content": words, "parts": parts, "status": "complete"}
    export = {
        "session": {"id": f"large-{proxy.port}", "title": "large"},
        "messages": [message | {"id": f"m{n}", "createdAt": 1, "seq": n} for n in range(1, 21)],
    }
    made = await visitor.http.post("/sessions/import", content=json.dumps(export))
    assert made.status_code == 201, made.text
    assert made.json()["messageCount"] == 20
    refused = await visitor.http.post("/chat/s", json={"content": words * 6})
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("kind", COMMANDS)
async def test_a_server_without_these_flags_refuses_the_proxy(kind: str, tmp_path: Path) -> None:
    flags = ["--local", "any"]
    with Process(tmp_path, *flags) as server, proxied(kind, server.url) as proxy:
        async with visiting(proxy) as visitor:
            refused = await visitor.http.get("/sessions")
            assert (refused.status_code, refused.json()["code"]) == (403, "host_not_allowed")
            assert (await visitor.http.get("/healthz")).status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start nginx as another user")
async def test_a_proxy_of_another_user_needs_local_any(tmp_path: Path) -> None:
    with Process(tmp_path, "--allow-host", HOST) as server, proxied("nginx", server.url) as proxy:
        async with visiting(proxy) as visitor:
            refused = await visitor.http.get("/sessions")
            assert (refused.status_code, refused.json()["code"]) == (403, "other_user")


async def test_what_the_lines_for_nginx_are_for(server: Process) -> None:
    session, release = "lines", server.folder / "lines"
    body = {"content": session}
    lines = ("proxy_buffering", "proxy_set_header   Upgrade", "client_max_body_size")
    with proxied("nginx", server.url, without=lines) as proxy:
        async with asyncio.timeout(30), visiting(proxy) as visitor:
            # The header of event streams says the same as the line about buffering.
            async with (
                visitor.http.stream("POST", f"/chat/{session}", json=body) as answer,
                aclosing(events(answer)) as stream,
            ):
                assert text(await read_first(stream)) == "first "
                release.touch()
            with pytest.raises(InvalidStatus, match="426"):
                await visitor.socket(session)
            large = await visitor.http.post("/sessions/import", content=b" " * 1_100_000)
            assert (large.status_code, large.headers["content-type"]) == (413, "text/html")


# The terminal --------------------------------------------------------------------------------------


async def test_the_terminals_password_is_used_and_not_shown(server: Process) -> None:
    with proxied("nginx", server.url) as proxy:
        remote = Remote(f"http://{USER}:{quote(PASSWORD)}@127.0.0.1:{proxy.port}/ai")
        assert isinstance(await asyncio.to_thread(remote.call, "GET", "/sessions"), list)
        unknown = Remote(f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(RemoteError, match="401: it asks for a name and a password"):
            await asyncio.to_thread(unknown.call, "GET", "/sessions")
        unknown.close()
        proxy.stop()
        with pytest.raises(RemoteError, match="no server answers at http://alice:") as raised:
            await asyncio.to_thread(remote.call, "GET", "/sessions")
        assert quote(PASSWORD) not in str(raised.value)
        remote.close()


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_proxy_that_has_no_server_for_a_moment_is_asked_again(status: int) -> None:
    deltas = [delta(1, "first "), delta(2, "last")]
    replies = [
        Response(deltas[0], media_type="text/event-stream"),
        Response("<html>", status, media_type="text/html"),
        Response(b"".join(deltas) + frame("done", b"{}"), media_type="text/event-stream"),
    ]

    async def chat(_: Request) -> Response:
        return replies.pop(0)

    async with running(Starlette(routes=[Route("/chat/s", chat, methods=["POST"])])) as url:
        remote = Remote(url)
        seen = await asyncio.to_thread(lambda: list(remote.turn("s", []).events()))
        remote.close()
    assert [event["text"] for event in seen] == ["first ", "last"]


def delta(seq: int, words: str) -> bytes:
    return frame("delta", json.dumps({"type": "delta", "text": words}).encode(), seq)
