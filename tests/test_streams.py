"""The command line where its input, its output and the way to the server are not as usual."""

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from sessile.cli.remote import Remote
from sessile.cli.streams import decoded, recovered
from sessile.wire.errors import RemoteError
from tests.operating import run
from tests.serving import Process, clean_environment

SESSILE = [sys.executable, "-m", "sessile"]
TEXT = "Grüße 日本語 😀"
NOT_UTF8 = (
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with the session "s"."""
    with Process(tmp_path_factory.mktemp("streams")) as server:
        sent = httpx2.post(f"{server.url}/chat/s", json={"content": TEXT}, timeout=30)
        assert sent.status_code == 200
        yield server


class Ran(NamedTuple):
    """How a command ended."""

    arguments: Sequence[str | bytes]
    status: int
    out: bytes
    err: bytes


def run_all(
    server: Process | None, *commands: Sequence[str | bytes], input: bytes = b"", **options: Any
) -> list[Ran]:
    """Run commands beside one another; the last arguments of each are the server's address."""
    at = [] if server is None else ["--server", server.url]
    options = {"stdout": subprocess.PIPE} | options
    options["env"] = clean_environment() | options.get("env", {})
    with contextlib.ExitStack() as stack:
        running = []
        for command in commands:
            process: subprocess.Popen[Any] = subprocess.Popen(
                [*SESSILE, *command, *at],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **options,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            running.append(process)
        ends = [process.communicate(input, timeout=60) for process in running]
        return [
            Ran(command, process.returncode, *end)
            for command, process, end in zip(commands, running, ends, strict=True)
        ]


def contents(server: Process, session: str) -> list[str]:
    found = httpx2.get(f"{server.url}/chat/{session}/messages", timeout=30).json()
    return [message["content"] for message in found if message["role"] == "user"]


# Output -------------------------------------------------------------------------------------------


def test_a_full_disk_is_reported_in_one_line(server: Process, tmp_path: Path) -> None:
    store = ["--store", f"sqlite:///{server.folder}/sessile.db"]
    of_clients = [
        ["sessions", "ls"],
        ["sessions", "show", "s", "--json"],
        ["export", "s"],
        ["chat"],
    ]
    of_operators = [
        ["check", *store],
        ["backup", str(tmp_path / "backup.db"), *store],
        ["doctor", *store],
        ["serve", "--help"],
        ["--version"],
    ]
    with open("/dev/full", "wb") as full:
        ran = run_all(server, *of_clients, input=b"hello", stdout=full)
        ran += run_all(None, *of_operators, stdout=full, cwd=tmp_path)
    ran += run_all(server, *of_clients[1:3], stdout=None, preexec_fn=lambda: os.close(1))
    for end in ran:
        assert end.status == 1, end
        (line,) = end.err.decode().splitlines()
        assert line.startswith("sessile: cannot write to standard output: "), end


def test_a_server_whose_banner_cannot_be_written_serves(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        server = subprocess.Popen(
            [*SESSILE, "serve", "--port", "0"],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    with server:
        assert server.stderr is not None
        line = server.stderr.readline()
        server.terminate()
        assert server.wait(30) == 0
    assert line.startswith(b"sessile: the banner cannot be written: ")


def test_an_export_that_fails_leaves_the_good_file(server: Process, tmp_path: Path) -> None:
    good, link, pipe = tmp_path / "s.json", tmp_path / "link.json", tmp_path / "pipe"
    good.write_text("good")
    link.symlink_to(good)
    os.mkfifo(pipe)
    names = set(tmp_path.iterdir())
    command = ["export", "s", "--output", str(link)]
    tiny = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    (ran,) = run_all(server, command, preexec_fn=tiny)
    assert ran.err.decode() == f"sessile: cannot write {link}: File too large\n"
    assert (ran.status, good.read_text()) == (1, "good")
    assert set(tmp_path.iterdir()) == names
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    whole, piped = run_all(server, command, ["export", "s", "--output", str(pipe)])
    assert (whole.status, piped.status, link.is_symlink()) == (0, 0, True)
    assert json.loads(good.read_text()) == json.loads(os.read(reader, 65536))
    os.close(reader)
    assert pipe.is_fifo()


def test_output_is_shown_as_far_as_the_terminal_has_its_characters(server: Process) -> None:
    commands = (["sessions", "show", "s"], ["sessions", "ls"])
    for env, command in zip(NOT_UTF8, (*commands, commands[0]), strict=True):
        (ran,) = run_all(server, command, env=env)
        assert (ran.status, b"Traceback" in ran.err) == (0, False)
        assert b"Gr" in ran.out
    (ran,) = run_all(server, ["sessions", "ls", "--json"], env=NOT_UTF8[2])
    assert TEXT in {session["title"] for session in json.loads(ran.out)}


@pytest.mark.parametrize("env", [NOT_UTF8[0], NOT_UTF8[2]])
def test_a_store_is_opened_in_any_locale(store: Path, env: dict[str, str]) -> None:
    ran = run(store, "check", more=env)
    assert (ran.returncode, ran.stderr) == (0, "")


# Input --------------------------------------------------------------------------------------------

INPUTS: list[tuple[bytes, str, str | None]] = [
    (TEXT.encode(), "ascii", TEXT),
    (TEXT.encode("utf-8-sig"), "utf-8", TEXT),
    (TEXT.encode("utf-16"), "utf-8", TEXT),
    (b"\xfe\xff" + TEXT.encode("utf-16-be"), "latin-1", TEXT),
    ("Grüße".encode("latin-1"), "iso8859-1", "Grüße"),
    ("Grüße".encode("latin-1"), "utf-8", None),
    ("Grüße".encode("latin-1"), "ascii", None),
    (b"\xff\xfe\x00\xd8", "utf-8", None),
]


@pytest.mark.parametrize(("data", "encoding", "text"), INPUTS)
def test_input_in_any_encoding(
    monkeypatch: pytest.MonkeyPatch, data: bytes, encoding: str, text: str | None
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), encoding))
    if text is None:
        with pytest.raises(RemoteError, match="standard input is not UTF-8 text"):
            decoded(data)
    else:
        assert decoded(data) == text


def test_what_is_typed_is_utf8_whatever_the_terminal_says() -> None:
    for encoding in ("ascii", "utf-8"):
        assert recovered(TEXT.encode().decode(encoding, "surrogateescape")) == TEXT
        for data in (b"\xff\xfea", "Grüße".encode("latin-1")):
            with pytest.raises(RemoteError, match="not UTF-8"):
                recovered(data.decode(encoding, "surrogateescape"))


def test_piped_input_is_read_as_bytes(server: Process) -> None:
    (taken,) = run_all(server, ["chat", "t"], input=TEXT.encode("utf-16"), env=NOT_UTF8[0])
    assert (taken.status, contents(server, "t")) == (0, [TEXT])
    (refused,) = run_all(server, ["chat", "u"], input=b"\xff", env=NOT_UTF8[0])
    assert refused.status == 1
    (line,) = refused.err.decode().splitlines()
    assert line.startswith("sessile: standard input is not UTF-8 text"), line
    assert contents(server, "u") == []


def test_arguments_that_are_not_utf8_and_input_that_is_closed(server: Process) -> None:
    commands: list[list[str | bytes]] = [
        ["sessions", "show", b"\xff"],
        ["sessions", "ls", "--query", b"\xff"],
        ["chat", "closed"],
    ]
    for ran in run_all(server, *commands, preexec_fn=lambda: os.close(0)):
        assert (ran.status, ran.err.count(b"\n")) == (1, 1), ran


# Proxies ------------------------------------------------------------------------------------------

PROXIES = {
    "socks5://u:secret@127.0.0.1:1": "has a SOCKS proxy, for which a package is missing",
    "socks5h://127.0.0.1:1": "has a SOCKS proxy, for which a package is missing",
    "http://secret:port": "is not the valid URL of a proxy",
    "secret://x": "is not the valid URL of a proxy",
    "http://[::1": "is not the valid URL of a proxy",
}


@pytest.mark.parametrize(
    "name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"]
)
def test_a_proxy_never_stands_before_loopback_and_a_broken_one_is_named(
    server: Process, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    for proxy, sentence in PROXIES.items():
        monkeypatch.setenv(name, proxy)
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            with contextlib.closing(Remote(url)) as remote:
                assert remote.call("GET", "/info")["name"] == "sessile"
        with pytest.raises(RemoteError, match=sentence) as refused:
            Remote("https://chat.example.org")
        assert str(refused.value).startswith(f"{name} ")
        assert "secret" not in str(refused.value)
    monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    with pytest.raises(RemoteError, match="SSL_CERT_FILE"):
        Remote("https://chat.example.org")
