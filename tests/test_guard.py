"""Connections that flood, stall or never end, against a server process."""

import asyncio
import contextlib
import json
import os
import re
import struct
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from websockets.exceptions import ConnectionClosed

from tests.serving import Process, client_of, process

MIB = 1024 * 1024
GROWTH = 16 * MIB  # how much a flood may take

QUICK = ("--head-timeout", "0.5", "--body-timeout", "0.5", "--send-timeout", "0.5")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A process whose times are short, for all tests of this module: none may harm it."""
    with Process(tmp_path_factory.mktemp("guard"), *QUICK) as server:
        yield server


@asynccontextmanager
async def connected(
    server: Process,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def answers(server: Process, *data: bytes) -> list[tuple[int, str]]:
    """What a connection gets until the server ends it: the status and code of each answer."""
    async with connected(server) as (reader, writer):
        writer.writelines(data)
        return parsed(await asyncio.wait_for(read_all(reader), 20))


async def read_all(reader: asyncio.StreamReader) -> bytes:
    found = b""
    try:
        while piece := await reader.read(65536):
            found += piece
    except ConnectionError:
        pass
    return found


def parsed(data: bytes) -> list[tuple[int, str]]:
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        body, data = data[: int(length[1])], data[int(length[1]) :]
        value = json.loads(body)
        code = value.get("code", "") if isinstance(value, dict) else ""
        found.append((int(head.split()[1]), code))
    return found


def memory(server: Process) -> int:
    """Bytes that are resident."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def connections(server: Process) -> int:
    """How many sockets the process has open."""
    found = 0
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            found += "socket:" in os.readlink(entry)
    return found


async def flood(server: Process, pieces: Iterable[bytes]) -> bytes:
    """Send until everything is sent or the connection is gone; what was answered."""
    async with connected(server) as (reader, writer):
        reading = asyncio.create_task(read_all(reader))
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        return await asyncio.wait_for(reading, 30)


async def others_are_served(server: Process, done: asyncio.Future[bytes]) -> None:
    """Ask for something else until the flood is over, and at least once."""
    async with client_of(server) as client:
        while True:
            over = done.done()
            response = await client.http.get("/healthz", timeout=5)
            assert response.status_code == 200
            if over:
                return


POST = b"POST /chat/s HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n" * 10,
        b"GET /heal",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
        POST + b"Content-Length: 20\r\n\r\n",
        POST + b'Content-Length: 20\r\n\r\n{"content',
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Late: 1\r\n",
    ],
    ids=lambda data: repr(data[-12:]),
)
async def test_a_request_that_does_not_arrive_is_ended(server: Process, data: bytes) -> None:
    assert await answers(server, data) == [(408, "too_slow")]


async def test_a_body_that_drips_is_ended_and_a_steady_one_is_read(tmp_path: Path) -> None:
    flags = ("--body-timeout", "0.5", "--body-rate", "100000")
    async with process(tmp_path, *flags) as (server, _):
        body = json.dumps({"id": "s", "title": "x" * 150, "metadata": {"a": "y" * 60_000}})
        head = b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += b"Content-Length: %d\r\n\r\n" % len(body)

        async def send(step: int, pause: float) -> bytes:
            async with connected(server) as (reader, writer):
                writer.write(head)
                reading = asyncio.create_task(read_all(reader))
                for start in range(0, len(body), step):
                    if reading.done():
                        break
                    writer.write(body[start : start + step].encode())
                    await asyncio.sleep(pause)
                return await asyncio.wait_for(reading, 20)

        dripped, steady = await asyncio.gather(send(10, 0.05), send(6_000, 0.05))
        assert (parsed(dripped), parsed(steady)) == ([(408, "too_slow")], [(201, "")])


async def test_an_answer_may_take_longer_than_a_request(server: Process) -> None:
    async with client_of(server) as client:
        stream = client.http.stream("GET", "/chat/s/events")
        async with stream as response:
            coming = response.aiter_raw()
            assert await anext(coming) == b":\n\n"
            await asyncio.sleep(1.5)  # three times as long as a head or a body may take
            await client.send("s", "still there")
            assert b"still there" in await anext(coming)


async def test_an_upgrade_of_another_method_is_a_common_request(server: Process) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    body = b'{"id":"s"}'
    created = b"POST /sessions HTTP/1.1\r\nHost: localhost\r\n" + upgrade
    created += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    assert await answers(server, created) == [(201, "")]
    assert await answers(server, POST + upgrade + b"\r\n") == [(400, "invalid_request")]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"", (400, "invalid_request")),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", (400, "invalid_request")),
        (b"X-Long: " + b"x" * 10_000 + b"\r\n", (431, "head_too_large")),
    ],
    ids=["no key", "wrong key", "a line too long"],
)
async def test_a_wrong_handshake_is_answered(
    server: Process, field: bytes, expected: tuple[int, str]
) -> None:
    head = b"GET /sessions/s/websocket HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + field + b"\r\n"
    assert await answers(server, head) == [expected]


async def test_what_is_not_http_is_answered(server: Process) -> None:
    assert await answers(server, b"\x16\x03\x01\x02\x00\x01") == [(400, "invalid_request")]
    assert await answers(server, b"HELO example.org\r\n\r\n") == [(400, "invalid_request")]


async def test_a_head_has_a_size_and_a_number_of_fields(server: Process) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    ok = [(200, "")]
    refused = [(431, "head_too_large")]
    assert await answers(server, start, b"X-A: 1\r\n" * 98, b"\r\n") == ok
    assert await answers(server, start, b"X-A: 1\r\n" * 99, b"\r\n") == refused
    assert await answers(server, start, b"X-A: " + b"x" * 65_000, b"\r\n\r\n") == ok
    assert await answers(server, start, b"X-A: " + b"x" * 66_000, b"\r\n\r\n") == refused
    assert await answers(server, start, b"X-A: " + b"x" * 66_000) == refused
    long = b"GET /?" + b"q" * 66_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert await answers(server, long) == refused


async def test_trailers_are_not_headers(server: Process) -> None:
    body = b'{"content":"hello"}'
    request = b"POST /chat/trailers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    request += b"Connection: close\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(body), body)
    request += b"Idempotency-Key: late\r\nHost: evil.example\r\n\r\n"
    async with connected(server) as (reader, writer):
        writer.write(request)
        answer = await asyncio.wait_for(read_all(reader), 20)
    assert answer.startswith(b"HTTP/1.1 200 ")
    async with client_of(server) as client:
        (question, _) = await client.messages("trailers")
        assert question["id"] != "late"


START = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "header fields": (START, [b"X-A: 1\r\n" * 8192] * 512, b"431"),
    "a header value": (START + b"X-A: ", [b"x" * MIB] * 64, b"431"),
    "a path": (b"GET /", [b"x" * MIB] * 32, b"431"),
    "empty lines": (b"", [b"\r\n" * 65536] * 128, b"431"),
    "trailers": (CHUNKED + b"0\r\n", [b"X-A: 1\r\n" * 8192] * 256, b"431"),
    "a trailer": (CHUNKED + b"0\r\nX-A: ", [b"x" * MIB] * 32, b"431"),
    "a chunk's extension": (CHUNKED + b"5;x=", [b"x" * MIB] * 32, b"431"),
    "chunks of a byte": (CHUNKED, [b"1\r\nx\r\n" * 16384] * 256, b"413"),
    "pipelined requests": (
        b"",
        [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4096] * 100,
        b"200",
    ),
    "requests behind a stream": (
        b"GET /chat/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4096] * 100,
        b"200",
    ),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_takes_no_memory_and_others_are_served(server: Process, kind: str) -> None:
    start, pieces, status = FLOODS[kind]
    async with client_of(server) as client:
        for _ in range(20):
            await client.http.get("/healthz")
    before = memory(server)
    flooding = asyncio.create_task(flood(server, [start, *pieces]))
    await others_are_served(server, flooding)
    answer = flooding.result()
    assert not answer or answer.startswith(b"HTTP/1.1 " + status)
    assert memory(server) - before < GROWTH


async def test_many_pipelined_requests_are_answered_up_to_the_limit(server: Process) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = await answers(server, request * 10)
    assert found == [(200, "")] * 10
    found = await answers(server, request * 100)
    assert found == [(200, "")] * 17  # one that is answered, and those that wait


async def test_a_stream_ends_with_its_connection_though_requests_wait_behind_it(
    server: Process,
) -> None:
    async def watchers() -> str:
        async with client_of(server) as client:
            text = (await client.http.get("/metrics")).text
            return next(line for line in text.splitlines() if line.startswith("sessile_watchers "))

    before = await watchers()
    async with connected(server) as (reader, writer):
        writer.write(b"GET /chat/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n" + START + b"\r\n")
        await reader.readuntil(b":\n\n")
        assert await watchers() != before
    async with asyncio.timeout(20):
        while await watchers() != before:
            await asyncio.sleep(0.02)


async def test_a_client_that_reads_nothing_is_disconnected(tmp_path: Path) -> None:
    async with process(tmp_path, *QUICK) as (server, client):
        for _ in range(30):
            body = {"content": "x" * 900_000, "role": "user"}
            assert (await client.http.post("/sessions/s/messages", json=body)).is_success
        paths = ["/sessions/s/export", "/chat/s/messages?limit=100", "/chat/s/events?after=0"]
        for path in paths[:2]:  # so that the database's cache is full
            assert len((await client.http.get(path)).content) > 50_000_000
        before, usual = memory(server), connections(server)
        async with asyncio.TaskGroup() as group:
            for path in paths * 2:
                group.create_task(_unread(server, path))
        await _until(lambda: connections(server) <= usual)
        assert (await client.http.get("/healthz")).is_success
        assert memory(server) - before < 3 * GROWTH  # six streams


async def _unread(server: Process, path: str) -> None:
    async with connected(server) as (reader, writer):
        transport = cast("asyncio.Transport", writer.transport)
        writer.write(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
        transport.pause_reading()
        await asyncio.sleep(2.5)  # five times what it is given
        transport.resume_reading()
        await asyncio.wait_for(read_all(reader), 20)


# WebSocket --------------------------------------------------------------------------------------


def frame(opcode: int, data: bytes = b"", fin: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    length = (
        bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    )
    return bytes([fin << 7 | opcode]) + length + bytes(4) + data


TEXT, CONT, PING, PONG = 1, 0, 9, 10
HANDSHAKE = (
    b"GET /sessions/s/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SOCKET_FLOODS = {
    "pings": (b"", frame(PING, b"x" * 125)),
    "pongs": (b"", frame(PONG, b"x" * 125)),
    "empty fragments": (frame(TEXT, b"", fin=False), frame(CONT, b"", fin=False)),
    "fragments of a byte": (frame(TEXT, b"x", fin=False), frame(CONT, b"x", fin=False)),
}


@pytest.mark.parametrize("kind", SOCKET_FLOODS)
async def test_a_flood_of_frames_ends_the_socket(server: Process, kind: str) -> None:
    start, repeated = SOCKET_FLOODS[kind]
    before = memory(server)

    async def run() -> bytes:
        async with connected(server) as (reader, writer):
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            transport = cast("asyncio.Transport", writer.transport)
            transport.pause_reading()
            try:
                for piece in [start, *[repeated * 10_000] * 200]:
                    writer.write(piece)
                    await writer.drain()
            except ConnectionError:
                return b""
            transport.resume_reading()
            return await read_all(reader)

    flooding = asyncio.create_task(run())
    await others_are_served(server, flooding)
    assert memory(server) - before < GROWTH


async def test_messages_are_parsed_as_fast_as_they_are_taken(server: Process) -> None:
    before = memory(server)
    async with client_of(server) as client, client.socket("s") as socket:
        await socket.recv()
        for _ in range(20_000):
            await socket.send('{"type":"ping"}')
        for _ in range(20_000):
            assert await socket.recv() == '{"type":"pong"}'
    assert memory(server) - before < GROWTH


async def test_pings_and_fragments_up_to_the_limits_are_fine(server: Process) -> None:
    async with client_of(server) as client, client.socket("s", ping_interval=None) as socket:
        await socket.recv()
        for _ in range(90):
            await (await socket.ping())
        pieces = ['{"type":', *[" "] * 250, '"ping"}']
        await socket.send(pieces)
        assert await socket.recv() == '{"type":"pong"}'
        await socket.send(['{"type":', *[" "] * 300, '"ping"}'])
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_connections_from_one_address_have_a_limit(tmp_path: Path) -> None:
    async with process(tmp_path, "--max-connections", "1") as (server, client):
        await client.http.get("/healthz")  # keeps one of ten, for this is loopback
        usual = connections(server)
        async with asyncio.TaskGroup() as group:
            held = [group.create_task(_hold(server)) for _ in range(9)]
            await _until(lambda: connections(server) == usual + 9)
            assert await answers(server) == [(429, "too_many_connections")]
            for task in held:
                task.cancel()
        await _until(lambda: connections(server) < usual + 9)
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert await answers(server, request) == [(200, "")]


async def _hold(server: Process) -> None:
    async with connected(server):
        await asyncio.sleep(60)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)
