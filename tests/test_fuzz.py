"""Any requests, any frames: the API as its document has it, and the WebSocket as bytes."""

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from tests.serving import Process
from tests.test_guard import HANDSHAKE, frame

CASES = 1_000
CLOSE = 8  # the opcode of a frame

# An event stream ends only with its session.
ENDLESS = "events$"

# What the document cannot say: a message needs some text, ids of an import are unique.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 403, 404, 409, 413, 429]
"""


# A fault of Python 3.11 in Schemathesis' two threads (github.com/python/cpython, issue 106905).
PYTHONS = "AST constructor recursion depth mismatch"


@pytest.mark.timeout(900)
def test_the_api_holds_its_document_for_any_request(tmp_path: Path, thorough: int) -> None:
    """All checks of Schemathesis; ``--thorough 20`` for 20,000 cases."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    log = tmp_path / "stderr.log"
    with Process(tmp_path) as server:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
            f"{server.url}/openapi.json",
            *("--checks", "all", "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", str(26 * thorough)),
            *("--exclude-path-regex", ENDLESS, "--request-timeout", "20"),
            *("--continue-on-failure", "--no-color", "--seed", "1", "--workers", "2"),
        ]
        for _ in range(3):
            ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
            if PYTHONS not in ran.stdout:
                break
        assert ran.returncode == 0, ran.stdout[-20_000:]
        generated = re.search(r"([\d,]+) generated,", ran.stdout)
        assert generated is not None
        assert int(generated[1].replace(",", "")) >= CASES * thorough
    assert "Traceback" not in log.read_text()


# WebSocket --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A process that no frame may harm."""
    with Process(tmp_path_factory.mktemp("frames")) as server:
        yield server


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
commands = st.fixed_dictionaries(
    {"type": st.sampled_from(["send", "stop", "approve", "answer", "ping", "hello", "", 1])},
    optional=dict.fromkeys(
        ("content", "parts", "id", "metadata", "whileBusy", "replaces", "questionId"), json_values
    ),
)
texts = st.one_of(
    commands.map(json.dumps),
    json_values.map(json.dumps),
    st.text(max_size=50),
)
frames = st.builds(
    frame,
    st.integers(0, 15),
    texts.map(str.encode) | st.binary(max_size=200),
    st.booleans(),
)
raw = st.lists(frames | st.binary(max_size=40), max_size=8).map(b"".join)


def exchange(server: Process, data: bytes) -> bytes:
    """Send bytes over a new WebSocket and then a close; all bytes that come back."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(HANDSHAKE + data + frame(CLOSE, b"\x03\xe8"))
        connection.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                found += piece
        return found


@given(data=raw)
@settings(max_examples=200)
def test_any_bytes_end_at_most_their_own_socket(server: Process, data: bytes) -> None:
    answer = exchange(server, data)  # where another one had harmed the server, there would be none
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b'{"type":"hello"' in answer


@given(said=st.lists(texts, max_size=5))
@settings(max_examples=100)
def test_any_text_is_obeyed_or_answered_with_an_error(server: Process, said: list[str]) -> None:
    url = server.url.replace("http", "ws") + "/sessions/s/websocket"
    with connect(url, compression=None) as client:
        assert json.loads(client.recv(timeout=20))["type"] == "hello"
        for text in said:
            client.send(text)
        client.send('{"type":"ping"}')
        while (found := json.loads(client.recv(timeout=20)))["type"] != "pong":
            assert found["type"] != "error" or found["code"] != "internal_error"


def test_no_frame_was_an_error_of_the_server(server: Process) -> None:
    assert "Traceback" not in (server.folder / "stderr.log").read_text()
    assert httpx2.get(f"{server.url}/readyz").status_code == 200
