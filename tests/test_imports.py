"""Imports that are made to harm: each is refused, and the server goes on."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessile.wire.ids import LAST_DATE
from tests.serving import Client, Process, client_of, process
from tests.test_guard import GROWTH, memory

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A process that no import may harm."""
    with Process(tmp_path_factory.mktemp("imports")) as server:
        yield server


async def import_(chat: Client, content: bytes, id: str = "i") -> tuple[int, str]:
    response = await chat.http.post(f"/sessions/import?id={id}", content=content, timeout=60)
    return response.status_code, response.json().get("code", "")


async def exported(chat: Client, format: str) -> bytes:
    await chat.send("source", "a question")
    return (await chat.http.get(f"/sessions/source/export?format={format}")).content


def message(**fields: Any) -> dict[str, Any]:
    text = "a question"
    return {
        "id": "m",
        "role": "user",
        "content": text,
        "parts": [{"type": "text", "content": text}],
        "createdAt": 1,
        "seq": 1,
        "status": "complete",
    } | fields


def export(*messages: Any, **session: Any) -> bytes:
    return json.dumps({"session": {"id": "i"} | session, "messages": messages}).encode()


# SQLite files -----------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
SESSIONS = "CREATE TABLE sessions (id, title, archived, metadata)"
ROW = "INSERT INTO sessions VALUES ('i', '', 0, x'7b7d')"
MESSAGES = "CREATE TABLE messages (seq, status, body)"
BOMBS = {
    "an endless view": [
        SESSIONS,
        ROW,
        f"CREATE VIEW messages AS {ENDLESS} SELECT i AS seq, '' AS status, x'7b7d' AS body FROM n",
    ],
    "an endless view that is sorted": [
        SESSIONS,
        ROW,
        (
            f"CREATE VIEW messages AS {ENDLESS} SELECT -i AS seq, '' AS status, randomblob(1000) AS body"
            " FROM n"
        ),
    ],
    "an endless session": [
        (
            f"CREATE VIEW sessions AS {ENDLESS}"
            " SELECT 'i' AS id, '' AS title, 0 AS archived, x'7b7d' AS metadata FROM n WHERE i < 0"
        ),
        MESSAGES,
    ],
    "a computed column": [
        SESSIONS,
        ROW,
        "CREATE TABLE messages (seq, status, body AS (zeroblob(900000000)))",
        "INSERT INTO messages (seq, status) VALUES (1, '')",
    ],
    "a virtual table": [
        SESSIONS,
        ROW,
        "CREATE VIRTUAL TABLE messages USING fts5 (seq, status, body)",
    ],
    "many sessions": [SESSIONS, ROW, ROW, MESSAGES],
    "no session": [SESSIONS, MESSAGES],
    "another kind of value": [SESSIONS, ROW, MESSAGES, "INSERT INTO messages VALUES (1, '', 5)"],
    "metadata that is none": [
        SESSIONS,
        "INSERT INTO sessions VALUES ('i', '', 0, 'nothing')",
        MESSAGES,
    ],
    "a function of nobody": [
        SESSIONS,
        ROW,
        "CREATE VIEW messages AS SELECT load_extension('x') AS seq, '' AS status, x'' AS body",
    ],
}


def database(path: Path, *statements: str) -> bytes:
    made = apsw.Connection(str(path))
    for statement in statements:
        made.execute(statement)
    made.close()
    return path.read_bytes()


@pytest.mark.parametrize("kind", BOMBS)
async def test_a_file_that_is_a_program_is_refused(chat: Client, tmp_path: Path, kind: str) -> None:
    content = database(tmp_path / "bomb.db", *BOMBS[kind])
    assert await import_(chat, content) == (400, "invalid_request")
    assert (await chat.http.get("/sessions/i")).status_code == 404


@pytest.mark.parametrize("format", ["json", "sqlite"])
async def test_a_damaged_export_is_refused_or_read_and_never_harms(
    chat: Client, format: str
) -> None:
    whole = await exported(chat, format)
    for index in range(20):
        data = bytearray(whole)
        start = len(data) * index // 20
        data[start : start + 8] = os.urandom(8)
        status, _ = await import_(chat, bytes(data), f"i{index}")
        assert status in (201, 400)
    status, _ = await import_(chat, whole, "again")
    assert status == 201


# JSON -------------------------------------------------------------------------------------------

HARMFUL = {
    "messages of nothing": b'{"session":{"id":"i"},"messages":[' + b"[]," * 10_000_000 + b"[]]}",
    "nested": b'{"session":{"id":"i"},"messages":' + b"[" * 5_000_000,
    "nested in a message": b'{"session":{"id":"i"},"messages":[{"id":' + b"[" * 100_000,
    "arrays in metadata": export(message(metadata={"a": [[]] * 340_000})),
    "a second document": export(message()) + b"{}",
    "not UTF-8": b'{"session":{"id":"i"},"messages":["\xff"]}',
    "no messages": b'{"session":{"id":"i"}}',
    "another type": export("text"),
    "two of one id": export(message(), message()),
    "a date of no calendar": export(message(createdAt=10**18)),
    "a date before all": export(message(createdAt=-1)),
    "a date after all": export(message(createdAt=LAST_DATE + 1)),
    "an id of nothing": export(message(id="")),
    "an id with a line end": export(message(id="a\n")),
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HARMFUL)
async def test_harmful_json_is_refused_while_others_are_served(server: Process, kind: str) -> None:
    async with client_of(server) as chat:
        for _ in range(5):
            await chat.http.get("/sessions")
        before = memory(server)
        importing = asyncio.create_task(import_(chat, HARMFUL[kind]))
        async with Client(server.url).http as other:
            while not importing.done():
                assert (await other.get("/sessions", timeout=5)).json() == []
        assert importing.result()[0] == 400
        assert (await chat.http.get("/sessions/i")).status_code == 404
        assert memory(server) - before < GROWTH


async def test_a_refusal_says_which_message_is_wrong(chat: Client) -> None:
    body = export(message(), message(id="n", createdAt=10**18))
    response = await chat.http.post("/sessions/import", content=body)
    assert response.json()["error"].startswith("Message 2: `createdAt` must be seconds from 0 to ")
    body = export(message(), message(id="n", role="nobody"))
    response = await chat.http.post("/sessions/import", content=body)
    assert response.json()["error"] == "Message 2: Invalid enum value 'nobody', at `$.role`."


async def test_a_large_import_is_read_in_chunks(tmp_path: Path) -> None:
    """The server has the file on the disk and a piece of it in memory."""
    text = "x" * 400_000
    messages = [
        message(id=f"m{i}", content=text, parts=[{"type": "text", "content": text}])
        for i in range(100)
    ]
    body = export(*messages)
    async with process(tmp_path) as (server, chat):
        assert (await import_(chat, export(message()), "first"))[0] == 201
        before = memory(server)
        assert (await import_(chat, body))[0] == 201
        assert memory(server) - before < len(body)
        found = await chat.messages("i", limit=100)
        assert [m["id"] for m in found] == [f"m{i}" for i in range(100)]
    assert names(tmp_path) == {
        "stderr.log",
        "sessile.db",
        "sessile.db-reserve",
        "sessile.db-shm",
        "sessile.db-wal",
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_the_child_of_an_import_has_no_secrets_and_ends(
    tmp_path: Path,
) -> None:
    """It is stopped in the middle by the client's leaving."""
    content = export(*(message(id=f"m{i}") for i in range(20_000)))
    async with process(tmp_path, OPENAI_API_KEY="secret") as (server, chat):
        importing = asyncio.create_task(import_(chat, content))
        child = await child_of(server.pid)
        assert "secret" not in read(child, "environ")
        importing.cancel()
        await asyncio.gather(importing, return_exceptions=True)
        async with asyncio.timeout(20):
            while read(child, "cmdline"):
                await asyncio.sleep(0.02)


async def child_of(server: int) -> int:
    """The process that reads for a server, as soon as it is one."""
    async with asyncio.timeout(20):
        while True:
            for child in children(server):
                if "sessile.store.reading" in read(child, "cmdline"):
                    return child
            await asyncio.sleep(0.001)


def children(process: int) -> list[int]:
    lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    return [int(child) for child in " ".join(lists).split()]


def read(process: int, name: str) -> str:
    """What the system says of a process; nothing if it ended."""
    try:
        return Path(f"/proc/{process}/{name}").read_text()
    except OSError:
        return ""


# Anything ---------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def _mutated(value: dict[str, Any], name: str, replacement: Any) -> dict[str, Any]:
    return value | {name: replacement}


mutations: st.SearchStrategy[Callable[[dict[str, Any]], dict[str, Any]]] = st.builds(
    lambda name, replacement: lambda value: _mutated(value, name, replacement),
    st.sampled_from([*message(), "metadata", "replyTo"]),
    json_values,
)


@pytest.fixture(scope="module")
def client(server: Process) -> Iterator[httpx2.Client]:
    """A client that all examples use."""
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


@given(changes=st.lists(mutations, max_size=3), session=json_values | st.just({"id": "x"}))
@settings(max_examples=40, deadline=None)
def test_any_json_is_imported_or_refused(
    client: httpx2.Client,
    changes: list[Callable[[dict[str, Any]], dict[str, Any]]],
    session: Any,
) -> None:
    value = message()
    for change in changes:
        value = change(value)
    body = json.dumps({"session": session, "messages": [value]}).encode()
    response = client.post("/sessions/import", content=body)
    assert response.status_code in (201, 400, 409, 413), response.text
    if response.status_code == 201:
        id = response.json()["id"]
        assert client.get(f"/chat/{id}/messages").status_code == 200
        for format in ("json", "markdown", "sqlite"):
            assert client.get(f"/sessions/{id}/export?format={format}").status_code == 200
        assert client.delete(f"/sessions/{id}").status_code == 204
