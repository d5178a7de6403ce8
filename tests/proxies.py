"""nginx and Caddy with the configurations of docs/deploy.md."""

import os
import re
import socket
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import httpx2
from websockets.asyncio.client import connect

from tests.provide import PATH
from tests.serving import Client
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "deploy.md"
HOST = "chat.example.org"  # the name in the configurations
USER, PASSWORD = "alice", "open sesame"
# Of that password, with the lowest cost, because each process computes it again.
BCRYPT = "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"

# nginx has its files below a folder, and is the user "nobody" where it may choose.
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""
_CADDY = """
{{
    admin off
    default_bind 127.0.0.1
    auto_https off
    grace_period 50ms
}}
{site}
"""


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    """The command that starts nginx with the page's blocks; they are changed only in the address
    and in TLS."""
    site, path = blocks(PAGE, "nginx")
    site = _replaced(site, "listen 443 ssl;", f"listen 127.0.0.1:{port};")
    site, count = re.subn(r"ssl_certificate(_key)? .*;", "", site)
    assert count == 2
    site = _replaced(site, "/etc/nginx/sessile.passwd", f"{folder}/sessile.passwd")
    inside, end, rest = site.rpartition("}")
    text = _replaced(inside + path + end + rest, "127.0.0.1:8787", upstream)
    (folder / "sessile.passwd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    user = "user nobody nogroup;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, site=text, user=user))
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", f"{folder}/nginx.conf"]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    """The same for Caddy."""
    site, path = blocks(PAGE, "caddyfile")
    site = _replaced(site, f"\n{HOST} {{", f"\nhttp://{HOST}:{port} {{")
    site = _replaced(site, "HASH", BCRYPT)
    inside, end, rest = site.rpartition("}")
    text = _replaced(inside + path + end + rest, "127.0.0.1:8787", upstream)
    (folder / "Caddyfile").write_text(_CADDY.format(site=text))
    return ["caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


COMMANDS = {"nginx": nginx, "caddy": caddy}


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"{old!r} is not in the configuration"
    return text.replace(old, new)


class Proxy:
    """A proxy before a server; ``start`` and ``stop`` may follow each other."""

    def __init__(self, name: str, folder: Path, url: str) -> None:
        self.port = _free_port()
        self._folder = folder
        self._command = COMMANDS[name](folder, self.port, url.removeprefix("http://"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        environment = {"PATH": PATH, "HOME": str(self._folder)}
        with (self._folder / "out.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                executable=which(self._command[0], path=PATH),
                env=environment,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 30
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self._folder / "out.log").read_text())
            time.sleep(0.01)

    def leave_out(self, starts: tuple[str, ...]) -> None:
        """Remove the lines of the configuration that begin like this."""
        file = Path(self._command[self._command.index("-c") + 1])
        lines = file.read_text().splitlines()
        kept = [line for line in lines if not line.strip().startswith(starts)]
        assert len(lines) - len(kept) >= len(starts)
        file.write_text("\n".join(kept))

    def stop(self) -> None:
        """End it, and with it all its connections."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    @property
    def client(self) -> "Visitor":
        """A new client that knows the name and the password."""
        return Visitor(f"http://127.0.0.1:{self.port}")


class Visitor(Client):
    """A client of the proxy: it has the server's public name, and a password."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        port = int(url.rsplit(":", 1)[1].partition("/")[0])
        self._port = port
        self.http = httpx2.AsyncClient(
            base_url=url, timeout=30, auth=(USER, PASSWORD), headers={"Host": f"{HOST}:{port}"}
        )

    def below(self, path: str) -> "Visitor":
        """A client of what is below a path."""
        return Visitor(self.url + path)

    def connect(self, path: str, **options: Any) -> connect:
        url = self.url.replace("http://127.0.0.1", f"ws://{HOST}") + path
        key = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        options.setdefault("additional_headers", {"Authorization": f"Basic {key}"})
        return connect(
            url, host="127.0.0.1", port=self._port, compression=None, proxy=None, **options
        )


@contextmanager
def proxied(name: str, url: str, without: tuple[str, ...] = ()) -> Iterator[Proxy]:
    """A running proxy before the server of an address; its configuration is ``without`` the lines
    that begin like these."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)  # another user reads it
        proxy = Proxy(name, folder, url)
        if without:
            proxy.leave_out(without)
        try:
            proxy.start()
            yield proxy
        finally:
            proxy.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
