"""Real servers for the tests: in the test's own event loop, or as a process that can be killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import httpx2
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from sessile import Sessile, create_app
from sessile.http.frames import FramesProtocol, sending_anywhere
from sessile.http.guard import EdgeLimits, Guard
from sessile.http.short import short
from sessile.wire.codec import decode_json
from sessile.wire.sse import Parser, ServerSentEvent

# With --echo-delay, an answer that runs longer than any test; the test stops it.
LONG = " ".join(f"word{index}" for index in range(1000))


class Event(NamedTuple):
    """A server-sent event with its data decoded."""

    event: str
    data: dict[str, Any]
    id: int | None


class Transport(httpx2.AsyncHTTPTransport):
    """Raises ConnectError also when the server dies just after it accepted the connection.

    In this case anyio reads the address of a closed socket, which raises an AttributeError.
    """

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except AttributeError as error:
            if error.name != "getpeername":
                raise
            raise httpx2.ConnectError("the server died", request=request) from error


class Client:
    """A client of the server, over HTTP and WebSocket."""

    def __init__(self, url: str, app: Sessile | None = None) -> None:
        self.url = url
        self.app = app
        self.http = httpx2.AsyncClient(base_url=url, timeout=30, transport=Transport())

    async def send(self, session: str, content: str, **fields: Any) -> list[Event]:
        """POST a message and read the stream to its end."""
        return await self.stream("POST", f"/chat/{session}", json={"content": content, **fields})

    async def stream(self, method: str, path: str, **request: Any) -> list[Event]:
        async with asyncio.timeout(30), self.http.stream(method, path, **request) as response:
            assert response.status_code == 200, (await response.aread()).decode()
            return [event async for event in events(response)]

    async def stop(self, session: str) -> bool:
        response = await self.http.post(f"/chat/{session}/stop")
        stopped: bool = response.json()["stopped"]
        return stopped

    async def messages(self, session: str, **query: Any) -> list[dict[str, Any]]:
        response = await self.http.get(f"/chat/{session}/messages", params=query)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()
        return found

    async def value(self, session: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"/sessions/{session}")).json()
        return found

    def socket(self, session: str, query: str = "", **options: Any) -> connect:
        return self.connect(f"/sessions/{session}/websocket{query}", **options)

    def connect(self, path: str, **options: Any) -> connect:
        url = self.url.replace("http://", "ws://")
        # Without a limit to what is read ahead, it closes at once even with unread frames.
        options = {"max_queue": None} | options
        return connect(url + path, compression=None, max_size=None, **options)

    async def follow(
        self, session: str, after: int | None = None, count: int = 1, **request: Any
    ) -> list[Event]:
        """The next ``count`` events of the session's feed."""
        query = {} if after is None else {"after": after}
        path = f"/chat/{session}/events"
        found: list[Event] = []
        following = self.http.stream("GET", path, params=query, **request)
        async with asyncio.timeout(30), following as response:
            assert response.status_code == 200, (await response.aread()).decode()
            async with aclosing(events(response)) as coming:
                async for event in coming:
                    found.append(event)
                    if len(found) == count:
                        break
        return found

    def watchers(self) -> int:
        """The number of watchers of the server that runs in this process."""
        assert self.app is not None
        return self.app.watchers


async def events(response: httpx2.Response) -> AsyncGenerator[Event, None]:
    """The events of a stream, as they arrive."""
    parser = Parser()
    async for chunk in response.aiter_raw():
        for event in parser.feed(chunk):
            yield decode_event(event)


def decode_event(event: ServerSentEvent) -> Event:
    id = None if event.id is None else int(event.id)
    return Event(event.event, decode_json(event.data.encode()), id)


def kinds(found: Sequence[Event]) -> list[str]:
    return [event.data["type"] for event in found]


def text(found: Sequence[Event]) -> str:
    """The text of the deltas; each must start exactly where the previous one ends."""
    whole = ""
    for event in found:
        if event.data["type"] == "delta" and event.data["kind"] == "text":
            assert event.data["offset"] == len(whole)
            whole += event.data["text"]
    return whole


async def frames(socket: ClientConnection, until: str = "") -> list[dict[str, Any]]:
    """A socket's frames up to and including the first of a type, or the first message of the
    assistant."""
    found: list[dict[str, Any]] = []
    while True:
        frame = decode_json(await asyncio.wait_for(socket.recv(), 20))
        found.append(frame)
        settled = frame["type"] == "message" and frame["message"]["role"] == "assistant"
        if (frame["type"] == until) if until else settled:
            return found


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncGenerator[Client, None]:
    """A server in this event loop, with its store in a folder."""
    settings.setdefault("store", f"sqlite:///{folder}/sessile.db")
    app = create_app(**settings)
    async with running(app) as url:
        client = Client(url, app)
        async with client.http:
            yield client


def work_in(folder: Path) -> Path:
    """A folder for an agent, beside the store in the same folder."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return work


@asynccontextmanager
async def running(
    app: Any,
    ws: type[asyncio.Protocol] | Literal["websockets-sansio"] = FramesProtocol,
    keep_alive: int = 5,
) -> AsyncGenerator[str, None]:
    """Any ASGI application on its own port, with its lifespan; Sessile as `sessile serve` runs it,
    but for the limits of its connections. Idle ones are closed after ``keep_alive`` seconds."""
    own = isinstance(app, Sessile) and ws is FramesProtocol
    guard = Guard(EdgeLimits())
    config = uvicorn.Config(
        sending_anywhere(app) if own else app,
        port=0,
        http=short(guard, lambda: app.short_ways) if own else "auto",
        ws=ws,
        access_log=False,
        timeout_keep_alive=keep_alive,
        log_config=None,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    server.capture_signals = _no_signals  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the server did not start")
            await asyncio.sleep(0.005)
        if own:
            guard.watch(server.server_state.connections)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        if hasattr(app, "drain"):
            await app.drain()
        server.should_exit = True
        await task


class _no_signals:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class Process:
    """``sessile serve`` in its own process, which also gets these ``files``."""

    files: Sequence[int] = ()

    def __init__(
        self,
        folder: Path,
        *flags: str,
        python: str | Path = sys.executable,
        within: Sequence[str | Path] = (),
        **environment: str,
    ) -> None:
        self.folder = folder
        with (folder / "stderr.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*within, python, "-m", "sessile", "serve", "--port", "0", *flags],
                cwd=folder,
                env=clean_environment() | environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                pass_fds=self.files,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if " on http://" not in line:
            self._wait()
            raise RuntimeError((folder / "stderr.log").read_text())
        self.url = line.split(" on ")[1].strip()
        self.banner: list[str] = []
        while not (self.banner and self.banner[-1].startswith("  agent")):
            line = self._process.stdout.readline()
            if not line:
                self._wait()
                raise RuntimeError("the server ended as soon as it had started")
            self.banner.append(line.rstrip("\n"))
        if "--allow-remote" in flags:
            self.banner.append(self._process.stdout.readline().rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._wait()

    def terminate(self) -> int:
        """``kill``, and the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def _wait(self) -> int:
        status = self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        self._wait()


@asynccontextmanager
async def process(
    folder: Path, *flags: str, **environment: str
) -> AsyncGenerator[tuple[Process, Client], None]:
    """A process and a client of it. The process is killed at the end if it still runs."""
    with Process(folder, *flags, **environment) as server:
        async with client_of(server) as client:
            yield server, client


@asynccontextmanager
async def client_of(server: Process) -> AsyncGenerator[Client, None]:
    client = Client(server.url)
    async with client.http:
        yield client


def clean_environment() -> dict[str, str]:
    """The environment without the variables that would configure the server."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SESSILE_", "OPENAI_"))
    }
