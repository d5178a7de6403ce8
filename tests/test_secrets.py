"""What an agent's process learns of the server: its environment and its files."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from sessile import create_app
from sessile.agents.acp.agent import ACPAgent
from sessile.agents.kit import environment
from sessile.agents.kit.environment import agent_environment
from sessile.settings import Settings
from sessile.wire.errors import SettingsError
from tests.serving import Process, client_of, process, serving, work_in
from tests.test_cli import start_error

AGENT = shlex.join([sys.executable, str(Path(__file__).parent / "acp_agent.py")])

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "secret-1",
    "DATABASE_URL": "postgresql://u:secret-2@h/d",
    "GITHUB_TOKEN": "secret-3",
    "SSH_AUTH_SOCK": "/secret-4",
    "NPM_CONFIG__AUTH": "secret-5",
    "SESSILE_SYSTEM_PROMPT": "secret-6",
}
KEYS = {"ANTHROPIC_API_KEY": "key-1", "OPENAI_API_KEY": "key-2", "GEMINI_API_KEY": "key-3"}


async def test_an_agents_process_gets_the_keys_of_models_and_no_other_secret(
    tmp_path: Path,
) -> None:
    (tmp_path / "work").mkdir()
    flags = ("--agent", f"acp:{AGENT}", "--directory", "work", "--agent-env", "MINE_*")
    given = SECRETS | KEYS | {"MINE_A": "mine-1", "http_proxy": "http://proxy", "LC_ALL": "C"}
    async with process(tmp_path, *flags, **given) as (_, chat):
        said = (await chat.send("s", "environment"))[-2].data["content"]
    assert "secret" not in said
    for expected in (
        "PATH=",
        "HOME=",
        "key-1",
        "key-2",
        "key-3",
        "mine-1",
        "http://proxy",
        "LC_ALL",
    ):
        assert expected in said


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
async def test_an_agent_cannot_read_the_environment_of_the_servers_process(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    flags = ("--agent", f"acp:{AGENT}", "--directory", "work")
    within = ("unshare", "--user", "--map-user=1000") if os.geteuid() == 0 else ()
    with Process(tmp_path, *flags, within=within, **SECRETS) as server:
        async with client_of(server) as chat:
            said = (await chat.send("s", "the server's environment"))[-2].data["content"]
            assert "process_open_fds" in (await chat.http.get("/metrics")).text
        assert server.terminate() == 0
    assert said == "session-1 received: Permission denied"


def test_names_and_prefixes_are_passed_on_and_the_servers_own_variables_never() -> None:
    environ = {"A": "1", "AB": "2", "BA": "3", "SESSILE_STORE": "4", "PATH": "5"}
    assert agent_environment(environ) == {"PATH": "5"}
    assert agent_environment(environ, ["A"]) == {"A": "1", "PATH": "5"}
    assert agent_environment(environ, ["A*"]) == {"A": "1", "AB": "2", "PATH": "5"}
    assert "SESSILE_STORE" not in agent_environment(environ, ["*"])
    assert len(agent_environment(environ, ["*"])) == 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("KEY=value", "--agent-env KEY is not valid; use the name"),
        ("a b", "--agent-env a b is not valid"),
        ("SESSILE_*", "never passed on"),
        ("SESSILE_STORE", "never passed on"),
    ],
)
def test_names_of_variables_that_cannot_be_passed_on(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "work").mkdir()
    line = start_error(tmp_path, "--agent", "acp:true", "--directory", "work", "--agent-env", name)
    assert said in line
    assert "value" not in line.partition(";")[0]


def test_the_page_of_agents_has_every_variable() -> None:
    page = (Path(__file__).parent.parent / "docs" / "agents.md").read_text()
    for name in environment.AGENTS + environment.PROVIDERS:
        assert f"`{name}`" in page or f"`{name.removesuffix('_API_KEY')}`" in page


# The store ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        ("--store", "sqlite:///sessile.db"),
        ("--directory", "work", "--store", "sqlite:///work/inner/sessile.db"),
        ("--directory", "work", "--store", "sqlite:///link/sessile.db"),
        ("--directory", "link", "--store", "sqlite:///sessile.db"),
        ("--directory", "work", "--store", "sqlite:///file.db"),
        ("--directory", "work", "--store", "sqlite:///work/out.db"),
        ("--directory", "/"),
    ],
    ids=["beside", "below", "linked folder", "link to here", "linked file", "link inside", "root"],
)
@pytest.mark.parametrize("agent", ["acp:true", "opencode", "opencode:http://localhost:1"])
def test_a_store_inside_the_agents_folder_is_refused(
    tmp_path: Path, flags: tuple[str, ...], agent: str
) -> None:
    folder = tmp_path / "here"
    (folder / "work" / "inner").mkdir(parents=True)
    (folder / "link").symlink_to(".." if "link" in flags else "work/inner")
    (folder / "file.db").symlink_to("work/real.db")
    (folder / "work" / "out.db").symlink_to(tmp_path / "out.db")
    settings = _settings("--agent", agent, *flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SettingsError) as refused:
            create_app(settings)
    assert "inside the folder" in str(refused.value)
    assert "--directory" in str(refused.value)
    assert "--store sqlite:////" in str(refused.value)
    assert not list(tmp_path.rglob("real.db")), "nothing is created"


def test_a_store_inside_the_agents_folder_ends_the_start_with_one_line(tmp_path: Path) -> None:
    line = start_error(tmp_path, "--agent", f"acp:{AGENT}", "--store", "sqlite:///sessile.db")
    assert "the store sessile.db is inside the folder" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "flags",
    [
        ("--directory", "work"),
        ("--directory", "work", "--store", "sqlite:///work2/sessile.db"),
        ("--store", "sqlite:///../sessile.db"),
    ],
)
def test_a_store_outside_the_agents_folder_is_used(tmp_path: Path, flags: tuple[str, ...]) -> None:
    folder = tmp_path / "here"
    for name in ("work", "work2"):
        (folder / name).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert create_app(_settings("--agent", "acp:true", *flags))


def test_the_default_store_of_an_agent_with_a_folder_is_among_the_users_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[str] = []
    for name in ("here", "elsewhere/here"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        for agent in ("acp:true", "opencode"):
            stores.append(create_app(_settings("--agent", agent)).settings.store)
    assert len(set(stores)) == 2, "one for each folder"
    data = Path(os.environ["XDG_DATA_HOME"]) / "sessile"
    assert all(re.fullmatch(rf"sqlite:///{data}/here-\w{{8}}\.db", store) for store in stores)
    assert data.stat().st_mode & 0o777 == 0o700
    (tmp_path / "here" / "sessile.db").touch()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SettingsError, match="inside the folder"):
        create_app(_settings("--agent", "acp:true"))


def test_the_store_of_an_application_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="inside the folder"):
        create_app(agent=ACPAgent("true", tmp_path), store=f"sqlite:///{tmp_path}/sessile.db")


def test_an_opencode_on_another_machine_does_not_reach_the_store(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert create_app(_settings("--agent", "opencode:http://192.0.2.1:4096"))


def _settings(*flags: str) -> Settings:
    pairs = zip(flags[::2], flags[1::2], strict=True)
    return Settings(**{name.removeprefix("--"): value for name, value in pairs})  # type: ignore[arg-type]


async def test_the_last_words_of_an_agents_process_are_logged_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It starts once, with the server, and fails when a turn needs it again."""
    mark, script = tmp_path / "mark", tmp_path / "agent.sh"
    script.write_text(
        f"""#!/bin/sh
        if [ -e {mark} ]; then echo "no route to 10.0.0.7 with sk-abcdefghijkl" >&2; exit 3; fi
        touch {mark}; exec {AGENT}
        """
    )
    script.chmod(0o755)
    agent = ACPAgent(str(script), work_in(tmp_path))
    async with serving(tmp_path, agent=agent) as chat:
        await agent.close()
        events = await chat.send("s", "hello")
        assert events[-2].data["error"] == "The agent did not start; the server's log says why."
        assert "10.0.0.7" not in str(events) + str(await chat.messages("s"))
    assert "ended with status 3: no route to 10.0.0.7 with [key]" in caplog.text
