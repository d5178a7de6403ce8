"""Sockets that outlive the server, and users of this machine who may not connect."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from tests.serving import Client, Process, client_of, kinds, process, text
from tests.test_guard import parsed, read_all

# What systemd does before it starts a service: the socket is the file 3, for this process alone.
AS_SYSTEMD = 'exec 3<&"$1" && shift && export LISTEN_FDS=1 LISTEN_PID=$$ && exec "$@"'


@pytest.fixture
def listener() -> Generator[socket.socket, None, None]:
    """A socket that listens and that no server owns."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        listener.set_inheritable(True)
        yield listener


def serving_it(folder: Path, listener: socket.socket, *flags: str) -> Process:
    """A server of that socket."""
    number = listener.fileno()

    class Inheriting(Process):
        files = (number,)

    return Inheriting(folder, *flags, within=["bash", "-c", AS_SYSTEMD, "-", str(number)])


async def test_a_restart_under_load_refuses_nobody(tmp_path: Path, listener: socket.socket) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = asyncio.Event()
    answered: list[int] = []

    async def keep_asking(number: int) -> None:
        """Turns, and pages over connections that are kept and new ones."""
        client = Client(url)
        async with client.http:
            while not stop.is_set():
                said = f"{number} {len(answered)}"
                found = await client.send(f"s{number}", said)
                assert kinds(found)[-1] == "done"
                assert text(found) == said
                assert await client.messages(f"s{number}", limit=1)
                async with httpx2.AsyncClient(base_url=url, timeout=30) as other:
                    assert (await other.get(f"/sessions/s{number}")).status_code == 200
                answered.append(number)

    server = serving_it(tmp_path, listener)
    try:
        assert server.url == url
        asking = [asyncio.create_task(keep_asking(number)) for number in range(8)]
        for _ in range(3):
            before = len(answered)
            while len(answered) < before + 40 and not any(task.done() for task in asking):
                await asyncio.sleep(0.02)
            assert await asyncio.to_thread(server.terminate) == 0
            server = await asyncio.to_thread(serving_it, tmp_path, listener)
        stop.set()
        await asyncio.gather(*asking)
    finally:
        if server.pid:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
    assert "Traceback" not in (tmp_path / "stderr.log").read_text()


async def test_a_turn_goes_on_while_the_next_server_waits_for_the_store(
    tmp_path: Path, listener: socket.socket
) -> None:
    """What connects after the signal is answered by the next process."""
    with serving_it(tmp_path, listener, "--echo-delay", "0.2") as server:
        async with client_of(server) as chat:
            running = asyncio.create_task(chat.send("s", "one two three four five six"))
            while not await chat.messages("s"):
                await asyncio.sleep(0.01)
            ending = asyncio.create_task(asyncio.to_thread(server.terminate))
            await asyncio.sleep(0.3)
            late = Client(server.url)
            asked = asyncio.create_task(late.send("t", "later"))
            assert text(await running) == "one two three four five six"
            assert await ending == 0
            assert not asked.done()
            with serving_it(tmp_path, listener):
                assert text(await asked) == "later"
            await late.http.aclose()


@pytest.mark.parametrize(
    ("environment", "error"),
    [
        ({"LISTEN_FDS": "many"}, "LISTEN_FDS must be a number, not 'many'"),
        ({"LISTEN_FDS": "1"}, "the file 3, which LISTEN_FDS counts, is not a socket"),
    ],
)
def test_sockets_that_are_none_end_the_start(
    tmp_path: Path, environment: dict[str, str], error: str
) -> None:
    with pytest.raises(RuntimeError) as raised:
        Process(
            tmp_path, within=["bash", "-c", 'exec 3</dev/null && exec "$@"', "-"], **environment
        )
    assert f"sessile: {error}" in str(raised.value)


async def test_a_socket_for_another_process_is_not_taken(tmp_path: Path) -> None:
    async with process(tmp_path, LISTEN_FDS="1", LISTEN_PID="1") as (_, chat):
        assert (await chat.http.get("/healthz")).is_success


# Other users ------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_user(number: int) -> Generator[None, None, None]:
    """What is opened meanwhile belongs to that user."""
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)


async def ask_as(user: int, server: Process, request: bytes) -> list[tuple[int, str]]:
    host, port = server.url.removeprefix("http://").split(":")
    with as_user(user):
        connection = socket.socket()
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        writer.write(request)
        return parsed(await asyncio.wait_for(read_all(reader), 20))
    finally:
        writer.close()


def get(path: str, more: str = "Connection: close") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n\r\n".encode()


NOBODY = 65534
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as another user")
async def test_another_user_of_the_machine_may_not_connect(tmp_path: Path) -> None:
    refused, ok = [(403, "other_user")], [(200, "")]
    async with process(tmp_path) as (server, _):
        assert await ask_as(0, server, get("/sessions")) == ok
        assert await ask_as(NOBODY, server, get("/sessions")) == refused
        assert await ask_as(NOBODY, server, get("/sessions/s/websocket", UPGRADE)) == refused
        assert await ask_as(NOBODY, server, get("/healthz")) == ok
    async with process(tmp_path, "--local", "any") as (server, _):
        assert await ask_as(NOBODY, server, get("/sessions")) == ok
