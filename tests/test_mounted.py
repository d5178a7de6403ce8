"""The chat mounted in an application, under the servers that people run: it streams through their
middleware, and does not keep them from ending while clients watch."""

import contextlib
import gzip
import importlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sessile import create_app
from sessile.wire.sse import Parser
from tests.serving import clean_environment, decode_event

ROOT = Path(__file__).parent.parent
APP = "tests.mounted_app:app"


@contextmanager
def server(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.replace("PORT", port) for part in command)],
            cwd=folder,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", int(port)), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process, f"http://127.0.0.1:{port}/ai"
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def events(body: bytes) -> list[dict[str, Any]]:
    return [decode_event(event).data for event in Parser().feed(body)]


SERVERS = {
    "uvicorn": ("uvicorn", APP, "--port", "PORT"),
    "uvicorn that reloads": ("uvicorn", APP, "--port", "PORT", "--reload"),
    "hypercorn": ("hypercorn", APP, "-b", "127.0.0.1:PORT"),
    "granian": ("granian", "--interface", "asgi", "--port", "PORT", APP),
}


@pytest.mark.parametrize("name", SERVERS)
def test_an_application_ends_while_clients_watch(tmp_path: Path, name: str) -> None:
    (tmp_path / "changed.py").touch()
    with server(tmp_path, *SERVERS[name]) as (process, url):
        answered = httpx2.post(f"{url}/chat/s", json={"content": "3"})
        assert answered.headers["x-timed"] == "yes"
        assert events(answered.content)[-1]["type"] == "done"
        path = url.replace("http", "ws")
        with (
            connect(f"{path}/sessions/s/websocket") as writer,
            httpx2.stream("GET", f"{url}/chat/s/events", timeout=60) as watched,
        ):
            writer.send('{"type": "send", "content": "100000"}')
            body = watched.iter_raw()
            while b"delta" not in next(body):
                pass
            if "reloads" in name:
                os.utime(tmp_path / "changed.py")
                while b"Started server process" not in log_after(
                    tmp_path, b"WatchFiles", b"StatReload"
                ):
                    time.sleep(0.05)
            else:
                process.terminate()
                assert process.wait(30) in (0, -15)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    writer.recv(timeout=30)
            # hypercorn cuts the streams of an application off
            cut = (httpx2.HTTPError,) if name == "hypercorn" else ()
            with contextlib.suppress(*cut):
                assert list(body)
        if "reloads" in name:
            message = httpx2.get(f"{url}/chat/s/messages").json()[-1]
            assert message["status"] == "interrupted"
            process.terminate()
            assert process.wait(30) in (0, -15)
    with server(tmp_path, *SERVERS["uvicorn"]) as (_, url):
        message = httpx2.get(f"{url}/chat/s/messages").json()[-1]
        assert message["status"] == "interrupted"
        assert message["content"].startswith("word0 ")


def log_after(folder: Path, *marks: bytes) -> bytes:
    """What the server's log says after any of these marks."""
    log = (folder / "server.log").read_bytes()
    return next((log.partition(mark)[2] for mark in marks if mark in log), b"")


def test_the_test_client_of_a_framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = importlib.import_module("tests.mounted_app").app  # with its store in this folder
    with TestClient(app, base_url="http://test") as client:
        with client.stream("POST", "/ai/chat/s", json={"content": "2"}) as response:
            said = b"".join(response.iter_raw())
        if response.headers.get("content-encoding") == "gzip":
            said = gzip.decompress(said)
        assert events(said)[-1]["type"] == "done"
        with client.websocket_connect("/ai/sessions/s/websocket") as one:
            assert one.receive_json()["type"] == "hello"
            assert client.post("/ai/chat/s", json={"content": "2"}).status_code == 200
            while one.receive_json()["type"] != "delta":
                pass
        page = client.get("/ai/", headers={"accept": "text/html"})
        assert page.status_code == 200
        assert client.get("/ai", follow_redirects=True).url == "http://test/ai/"
        allowed = client.get("/ai/sessions", headers={"Origin": "https://app.example.org"})
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.org"


def test_an_application_by_itself_in_a_test_client(tmp_path: Path) -> None:
    with TestClient(
        create_app(store=f"sqlite:///{tmp_path}/s.db"), base_url="http://localhost"
    ) as client:
        assert events(client.post("/chat/s", json={"content": "hi"}).content)[-1]["type"] == "done"
        assert [m["content"] for m in client.get("/chat/s/messages").json()] == ["hi", "hi"]
