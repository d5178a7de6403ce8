"""The examples and the statements of the documentation are correct."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openapi_spec_validator import validate

from sessile.settings import TABLE
from sessile.wire import errors
from tests.serving import Client, Process, clean_environment, frames, running, serving

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def python_files(page: Path) -> dict[str, str]:
    """The Python examples, by the file name in their first line."""
    found = {}
    for block in blocks(page, "python"):
        name = re.match(r"# file: (\S+)\n", block)
        assert name, f"an example without a file name: {block}"
        found[name[1]] = block
    return found


async def test_the_console_of_the_readme(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        await console(ROOT / "README.md", server.url, tmp_path)


async def test_the_console_of_operating(store: Path) -> None:
    await console(ROOT / "docs" / "operating.md", "", store)


async def console(page: Path, url: str, folder: Path, about: str = "") -> None:
    """Every command of a page prints the output shown below it; … stands for any text."""
    ran_some = False
    for block in blocks(page, "console"):
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            if about in command:
                local = command.replace("http://localhost:8787", url)
                local = local.replace("uv run sessile", f"{sys.executable} -m sessile")
                assert local != command
                ran = await asyncio.to_thread(shell, local, folder)
                # A stream has a comment after 15 seconds of silence, on a busy machine.
                expected, shown = (text.replace(":\n\n", "") for text in (expected, ran.stdout))
                pattern = ".*".join(re.escape(piece) for piece in expected.strip().split("…"))
                assert re.fullmatch(pattern, shown.strip(), re.DOTALL), ran.stdout
                ran_some = True
    assert ran_some


def shell(command: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_the_agent_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(python_files(ROOT / "README.md")["agent.py"])
    with Process(tmp_path, "agent:reply") as server:
        client = Client(server.url)
        async with client.http:
            await client.send("s", "quiet")
            answer = (await client.send("s", "please"))[-2].data
    assert answer["content"] == "You said: PLEASE"
    assert answer["parts"][0]["content"] == "They have said 2 things before. "
    assert answer["parts"][1]["toolOutput"] == "PLEASE"


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
async def test_the_application_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str
) -> None:
    for name, text in python_files(ROOT / "README.md").items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("agent", "app"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import app as example  # type: ignore[import-not-found]

    application: Any = example.app
    if framework == "starlette":
        said = re.search(r"`(Starlette\(.*?\))`\.", (ROOT / "README.md").read_text())
        assert said
        from starlette.applications import Starlette
        from starlette.routing import Mount

        application = eval(said[1], {"Starlette": Starlette, "Mount": Mount, "chat": example.chat})
    async with running(application) as url:
        client = Client(url + "/ai")
        async with client.http, client.socket("s") as socket:
            if framework == "fastapi":
                response = await client.http.post(f"{url}/welcome/s")
                assert response.json()["count"] == 1
            events = await client.send("s", "hello")
            assert events[-2].data["content"] == "You said: HELLO"
            seen = await frames(socket)
            assert seen[0]["type"] == "hello"
            page = await client.http.get("/chat/s/messages?limit=1")
            assert page.headers["link"].startswith("<../../chat/s/messages?")
            document = (await client.http.get("/openapi.json")).json()
            assert document["servers"] == [{"url": "/ai"}]
            assert (await client.http.get("/nowhere")).json()["code"] == "not_found"
    for name in ("agent", "app"):
        sys.modules.pop(name, None)


def clone(folder: Path) -> None:
    """Copy the files that a clone of the project would have."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


@pytest.mark.timeout(300)
def test_the_first_command_of_the_readme_in_a_clean_clone(tmp_path: Path) -> None:
    command = blocks(ROOT / "README.md", "sh")[0].strip()
    assert command == "pip install uv && uv run sessile serve"
    clone(tmp_path / "clone")
    # There is no Node.js except the one of the PyPI package.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "node").symlink_to("/bin/false")
    script = f"uv venv --quiet --seed bare && . bare/bin/activate && cd clone && {command}"
    environment = clean_environment() | {
        "SESSILE_PORT": "0",
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
    }
    environment.pop("VIRTUAL_ENV", None)
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        ) as server,
    ):
        assert server.stdout is not None
        said = ""
        for line in server.stdout:
            said += line
            if "agent  echo" in line:
                break
        try:
            assert " on http://127.0.0.1:" in said, (tmp_path / "log").read_text()
            assert shows_the_page(said.split(" on ")[1].split()[0])
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def shows_the_page(url: str) -> bool:
    """Whether a server has the web interface, with all the files that it loads."""
    with httpx2.Client(base_url=url) as http:
        front = http.get("/").text
        loaded = re.findall(r'(?:src|href)="\./([^"]+)"', front)
        return len(loaded) == 3 and all(http.get(f"/{name}").status_code == 200 for name in loaded)


def test_every_other_command_in_the_docs_exists() -> None:
    recipes = shell("uv run just --summary", ROOT).stdout.split()
    flags = shell(f"{sys.executable} -m sessile serve --help", ROOT).stdout
    for page in PAGES:
        for line in "".join(blocks(page, "sh")).splitlines():
            if recipe := re.search(r"uv run just ([\w-]+)", line):
                assert recipe[1] in recipes
            elif "sessile serve" in line:
                for flag in re.findall(r"--[a-z-]+", re.sub('".*?"', "", line)):
                    assert flag in flags, line
            elif client := re.search(
                r"uv run sessile ((?:chat|sessions \w+|export|import|backup|check|doctor)\b)", line
            ):
                # What they do is tested in tests/test_terminal.py, test_operate.py, test_doctor.py.
                help = shell(f"{sys.executable} -m sessile {client[1]} --help", ROOT).stdout
                for flag in re.findall(r"--[a-z-]+", line):
                    assert flag in help, line
            else:
                raise AssertionError(f"{page.name}: nothing tests {line!r}")


def test_the_settings_page_has_every_setting_and_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for setting in TABLE:
        default = setting.default
        shown = {False: "off", (): "none", "": "none"}.get(default, f"`{default}`")
        if default == 0 and not isinstance(default, bool):
            shown = f"`{default}`"
        row = f"| `{setting.flag}` | `{setting.variable}` | {shown} |"
        assert row in page, row


def test_the_protocol_page_has_every_code() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()

    def codes(error: type[errors.SessileError]) -> set[str]:
        return {error.code}.union(*(codes(child) for child in error.__subclasses__()))

    local = {"settings_error", "agent_error", "remote_error", "backup_failed"}
    silent = {"conflict", "unavailable"} | local
    for code in codes(errors.SessileError) - silent:
        assert f"`{code}`" in page, code
    drawn = errors.__doc__ or ""
    for code in codes(errors.SessileError) - local:
        assert code in drawn


@pytest.mark.parametrize("name", ["design.md", "security.md"])
def test_every_test_named_on_a_page_exists(name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    files = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "src/sessile/testing").glob("*.py")]
    tests = "".join(file.read_text() for file in files)
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in tests} == set()


def test_links_lead_to_something_that_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", page.read_text()):
            target = "".join(target)
            if not target.startswith(("http://", "https://", "#")):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


async def test_the_openapi_document_is_valid_and_has_every_route(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        document = (await chat.http.get("/openapi.json")).json()
        validate(document)
        protocol = (ROOT / "docs" / "protocol.md").read_text()
        for path in document["paths"]:
            said = re.sub(r"\{(\w+?)_id\}", r"{*}", path)
            written = re.sub(r"\{\w+\}", r"{*}", protocol)
            assert said in written, f"{path} is not in docs/protocol.md"
        page = await chat.http.get("/docs")
        for source in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert (await chat.http.get(f"/{source}")).status_code == 200
        assert "http" not in re.sub(r"<!doctype[^>]*>", "", page.text), "loaded from another server"
