"""The command line: what it prints, what it accepts, and how it reports errors."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import httpx2
import pytest

from sessile import Turn, create_app
from sessile.cli.banner import banner
from sessile.settings import Settings, SettingsFields, from_environment
from sessile.wire.errors import SettingsError
from tests.serving import Process, clean_environment, process


def start_error(folder: Path, *arguments: str, **environment: str) -> str:
    """Run ``sessile serve``, which must not start, and return the one line of its error."""
    ended = subprocess.run(
        [sys.executable, "-m", "sessile", "serve", *arguments],
        cwd=folder,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


def test_a_client_command_does_not_import_the_server() -> None:
    code = "import sys, sessile.cli.chat; sys.exit('sessile.server' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_banner_shows_the_address_the_store_and_the_agent(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.banner == ["  store  SQLite sessile.db", "  agent  echo"]
        assert (tmp_path / "sessile.db").exists()
        assert server.terminate() == 0


async def silent(turn: Turn) -> str:
    return "."


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "for a model set OPENAI_API_KEY"),
        ({"OPENAI_API_KEY": ""}, "OPENAI_BASE_URL=http://127.0.0.1:11434/v1"),
        ({"OPENAI_API_KEY": "secret"}, "OPENAI_API_KEY is set: add --agent openai:MODEL"),
        ({"OPENAI_BASE_URL": "http://secret"}, "OPENAI_BASE_URL is set: add --agent openai:MODEL"),
        ({"ANTHROPIC_API_KEY": "secret"}, "ANTHROPIC_API_KEY is set: for its models"),
        ({"GROQ_API_KEY": "secret"}, "OPENAI_BASE_URL=https://api.groq.com/openai/v1"),
    ],
    ids=str,
)
def test_the_banner_says_how_to_use_a_model(
    tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    app = create_app(store=f"sqlite:///{tmp_path}/s.db")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        *_, line = banner(app, [listener], environ).splitlines()
        assert line.startswith("  echo repeats your text; ")
        assert says in line
        assert "secret" not in line
        app = create_app(agent=silent, store=f"sqlite:///{tmp_path}/s.db")
        assert "openai:MODEL" not in banner(app, [listener], environ)


def test_the_server_raises_its_limit_of_open_files(tmp_path: Path) -> None:
    few = ["bash", "-c", 'ulimit -Sn 256; exec "$@"', "-"]
    with Process(tmp_path, within=few) as server:
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        (soft, hard) = re.findall(r"Max open files\s+(\d+)\s+(\d+)", limits)[0]
        assert soft == hard != "256"


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = start_error(tmp_path, "--port", port)
    assert line == f"sessile: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    line = start_error(tmp_path, "--store", "sqlite:///no/such/folder/s.db")
    assert line == "sessile: cannot write the store no/such/folder/s.db: No such file or directory"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The permissions of a folder do not stop root, so root needs another file."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.geteuid() != 0:
        assert "cannot write the store" in start_error(folder)
        return
    # No user can create files in /proc.
    line = start_error(tmp_path, "--store", "sqlite:////proc/sessile.db")
    assert line.startswith("sessile: cannot write the store /proc/sessile.db: ")


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "s.db").mkdir()
    line = start_error(tmp_path, "--store", "sqlite:///s.db")
    assert line.startswith("sessile: cannot use the store s.db: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--store", "mongodb://x"], "unknown store mongodb://x"),
        (["--store", "sqlite:///"], "unknown store sqlite:///"),
        (["--store", "postgresql://u:secret@h/d"], "unknown store postgresql://u:***@h/d"),
        (["--bus", "smoke://signals"], "unknown bus smoke://signals"),
        (["--agent", "nobody"], "unknown agent 'nobody'"),
        (["--agent", "no_such_module:reply"], "cannot import the agent no_such_module:reply"),
        (["--agent", "json:no_such"], "json has no no_such"),
        (["json:dumps"], "must be `async def`"),
        (["a:b", "--agent", "echo"], "use either a:b or --agent echo, not both"),
        (["--agent", "openai:"], "needs a model"),
        (["--agent", "openai:m"], "needs OPENAI_API_KEY"),
        (["--host", "0.0.0.0"], "add --allow-remote"),
        (["--host", "no.such.host.invalid", "--allow-remote"], "cannot listen on"),
        (["--port", "70000"], "--port must be a whole number from 0 to 65535, not '70000'"),
        (["--port", "many"], "--port must be a whole number from 0 to 65535, not 'many'"),
        (["--queue-limit", "0"], "--queue-limit must be"),
        (["--log-level", "loud"], "--log-level must be debug, error, info or warning, not 'loud'"),
        (["--echo-delay", "nan"], "--echo-delay must be a number from 0 to 3600, not 'nan'"),
        (["--no-such-flag"], "unrecognized arguments"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings_that_cannot_be_used(tmp_path: Path, arguments: list[str], says: str) -> None:
    assert says in start_error(tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_a_flag_overrides_the_environment(tmp_path: Path) -> None:
    environment = {"SESSILE_STORE": "sqlite:///env.db", "SESSILE_ALLOW_HOST": "a.example,b.example"}
    with Process(tmp_path, **environment) as server:
        assert server.banner[0] == "  store  SQLite env.db"
        for host, status in (("b.example", 200), ("c.example", 403)):
            response = httpx2.get(server.url + "/info", headers={"Host": host})
            assert response.status_code == status
        server.terminate()
    with Process(tmp_path, "--store", "sqlite:///flag.db", **environment) as server:
        assert server.banner[0] == "  store  SQLite flag.db"


def test_environment_variables_are_converted_to_their_types() -> None:
    found = from_environment(
        {"SESSILE_PORT": "1", "SESSILE_ALLOW_REMOTE": "yes", "SESSILE_ECHO_DELAY": "0.5"}
    )
    assert found == {"port": 1, "allow_remote": True, "echo_delay": 0.5}
    with pytest.raises(SettingsError, match="SESSILE_PORT must be a whole number"):
        from_environment({"SESSILE_PORT": "x"})
    with pytest.raises(SettingsError, match="SESSILE_ALLOW_REMOTE must be true or false"):
        from_environment({"SESSILE_ALLOW_REMOTE": "maybe"})
    with pytest.raises(SettingsError, match="--max-body"):
        Settings(max_body=1)
    with pytest.raises(SettingsError, match="--allow-host must be a list of texts, not 'a'"):
        Settings(allow_host="a")  # type: ignore[arg-type]
    assert Settings(allow_host=["a"]).allow_host == ("a",)  # type: ignore[arg-type]


async def test_a_function_is_served_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("async def reply(turn):\n    return turn.content[::-1]\n")
    async with process(tmp_path, "mine:reply") as (_, chat):
        assert (await chat.send("s", "abc"))[-2].data["content"] == "cba"


async def test_an_open_host_prints_a_warning(tmp_path: Path) -> None:
    with Process(tmp_path, "--host", "0.0.0.0", "--allow-remote") as server:
        assert "no authentication" in server.banner[-1]


async def test_the_routes_for_operations(tmp_path: Path) -> None:
    async with process(tmp_path) as (_, chat):
        assert (await chat.http.get("/healthz")).json() == {"status": "ok"}
        assert (await chat.http.get("/readyz")).json() == {"status": "ok"}
        await chat.send("s", "x")
        metrics = (await chat.http.get("/metrics")).text
        assert "sessile_sessions_awake 1.0" in metrics
        assert "process_resident_memory_bytes" in metrics
        assert "Sessile" in (await chat.http.get("/")).text


def test_an_editor_sees_every_setting_of_create_app() -> None:
    expected = {name: kind for name, kind in get_type_hints(Settings).items() if name != "agent"}
    assert get_type_hints(SettingsFields) == expected
