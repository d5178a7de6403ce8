"""The wheel installs in an empty environment and serves, with and without the web interface."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import httpx2
import pytest

from tests.serving import Process, clean_environment
from tests.test_docs import ROOT, clone, shows_the_page


def nowhere(home: Path) -> dict[str, str]:
    """An environment without a registry or a cache for npm, but with the cache of uv."""
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True)
    return {
        "HOME": str(home),
        "UV_CACHE_DIR": cache.stdout.strip(),
        "npm_config_registry": "http://127.0.0.1:1",
        "npm_config_fetch_retries": "0",
    }


def run(*command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=clean_environment() | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def empty_environment(folder: Path) -> Path:
    """Create an empty environment and return its Python."""
    run("uv", "venv", "--quiet", "--python", sys.executable, folder / "empty")
    return folder / "empty" / "bin" / "python"


@pytest.mark.timeout(300)
def test_a_wheel_installs_in_an_empty_environment_and_serves(tmp_path: Path) -> None:
    run("uv", "build", "--wheel", "--out-dir", tmp_path, "--quiet")
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()
    assert "sessile/py.typed" in names
    assert "sessile/store/sqlite/queries.sql" in names
    assert "sessile/web/licenses.md" in names  # of the packages in the web interface
    assert "sessile/store/sqlite/migrations/0001.sql" in names
    assert not [name for name in names if name.startswith(("tests", "web", "hatch"))]

    python = empty_environment(tmp_path)
    run("uv", "pip", "install", "--quiet", "--python", python, wheel)
    with Process(tmp_path, python=python) as server:
        assert server.banner == ["  store  SQLite sessile.db", "  agent  echo"]
        assert shows_the_page(server.url)
        assert server.terminate() == 0
    with pytest.raises(RuntimeError, match=r"pip install 'sessile\[openai\]'"):
        Process(tmp_path, "--agent", "openai:m", python=python)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("why", ["unwanted", "failed"])
def test_a_server_without_the_web_interface_says_so_and_works(tmp_path: Path, why: str) -> None:
    """A wheel may omit the web interface, and a checkout without a network cannot build it."""
    python = empty_environment(tmp_path)
    into = ("uv", "pip", "install", "--quiet", "--python", python)
    clone(tmp_path / "clone")
    if why == "unwanted":
        run(*into, tmp_path / "clone", SESSILE_BUILD_WEB="0")
    else:
        run(*into, "--editable", tmp_path / "clone", **nowhere(tmp_path))
    with Process(tmp_path, python=python) as server:
        assert "  web    not built; run `uv run just web` in a clone to build it" in server.banner
        with httpx2.Client(base_url=server.url) as http:
            front = http.get("/")
            assert (front.status_code, "without its web client" in front.text) == (200, True)
            assert http.get("/assets/index.js").status_code == 404
            assert http.post("/chat/s", json={"content": "Hello"}).status_code == 200
            assert len(http.get("/chat/s/messages").json()) == 2


@pytest.mark.timeout(300)
def test_a_wheel_is_not_built_when_the_web_interface_cannot_be_built(tmp_path: Path) -> None:
    clone(tmp_path / "clone")
    built = subprocess.run(
        ["uv", "build", "--wheel", "--out-dir", tmp_path / "dist", tmp_path / "clone"],
        env=clean_environment() | nowhere(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode != 0
    assert "SESSILE_BUILD_WEB=0 skips it" in built.stderr
    assert not os.path.exists(tmp_path / "dist") or not list((tmp_path / "dist").glob("*.whl"))
