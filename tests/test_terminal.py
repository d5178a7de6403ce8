"""`sessile chat` as people use it, in a real terminal (tmux), and as programs use it."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import LONG, Process, clean_environment, client_of

SESSILE = [sys.executable, "-m", "sessile"]


class Terminal:
    """A terminal of 100 by 40 that runs a command."""

    def __init__(self, folder: Path) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._folder = folder

    def run(self, *command: str) -> None:
        line = shlex.join(command) + "; echo ended with $?; sleep 1000"
        size = ["-x", "100", "-y", "40"]
        self._call("new-session", "-d", *size, "-c", str(self._folder), line)

    def type(self, text: str) -> None:
        self.keys(text)
        self.key("Enter")

    def paste(self, text: str) -> None:
        """Paste as terminals do: in brackets, if the program asked for them."""
        (self._folder / "pasted").write_text(text)
        self._call("load-buffer", str(self._folder / "pasted"))
        self._call("paste-buffer", "-p")

    def keys(self, text: str) -> None:
        """Type without the Enter key."""
        self._call("send-keys", "-l", text)

    def key(self, name: str) -> None:
        self._call("send-keys", name)

    async def shows(self, pattern: str) -> str:
        """Wait until the screen matches the pattern, and return the screen."""
        screen = ""
        try:
            async with asyncio.timeout(20):
                while not re.search(pattern, screen, re.DOTALL):
                    await asyncio.sleep(0.02)
                    lines = self._call("capture-pane", "-p", "-S", "-200").splitlines()
                    screen = "\n".join(line.rstrip() for line in lines).rstrip()
        except TimeoutError:
            raise AssertionError(f"{pattern} is not on the screen:\n{screen}") from None
        return screen

    def picture(self) -> str:
        """The screen with its colours, as ANSI escape sequences."""
        return self._call("capture-pane", "-p", "-e")

    def end(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)

    def _call(self, *arguments: str) -> str:
        run = subprocess.run(
            [*self._tmux, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=clean_environment() | {"LANG": "C.UTF-8", "TERM": "screen-256color"},
        )
        return run.stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(tmp_path)
    yield found
    found.end()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with Process(tmp_path, "--echo-delay", "0.03") as process:
        yield process


def chat(server: Process, session: str, *flags: str) -> list[str]:
    return [*SESSILE, "chat", session, "--server", server.url, *flags]


def run_piped(arguments: list[str], text: str = "", **environment: str) -> tuple[int, str, str]:
    run = subprocess.run(
        arguments,
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment() | environment,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


async def test_a_conversation_with_markdown_and_a_tool(terminal: Terminal, server: Process) -> None:
    terminal.run(*chat(server, "s"))
    await terminal.shows("Session s. Ctrl-C stops an answer, Ctrl-D ends.\n›$")
    terminal.type("[[tool]] Some **bold** words and `code`.")
    screen = await terminal.shows(r"words and code\..*\n›$")
    assert "⚙ echo text: [[tool]] Some **bold** words" in screen
    assert "✓ [[tool]] Some" in screen
    assert "Some bold words and code." in screen
    terminal.key("C-d")
    await terminal.shows("Continue with: sessile chat s\nended with 0")


async def test_ctrl_c_stops_the_answer_and_not_the_chat(
    terminal: Terminal, server: Process
) -> None:
    terminal.run(*chat(server, "s"))
    await terminal.shows("›$")
    terminal.type(LONG)
    await terminal.shows(r"word3\b")
    async with client_of(server) as client:
        while not len((await client.messages("s"))[1:]):
            await asyncio.sleep(0.01)
        terminal.key("C-c")
        await terminal.shows(r"\[stopped\]\n+›$")
        assert (await client.messages("s"))[-1]["status"] == "stopped"
    terminal.type("and on")
    await terminal.shows("and on\n+›$")


async def test_approval_is_asked_at_the_prompt(terminal: Terminal, server: Process) -> None:
    terminal.run(*chat(server, "s"))
    await terminal.shows("›$")
    terminal.type("[[ask]] first")
    await terminal.shows(r"May echo run\? \[y\]es, \[n\]o, \[a\]lways:$")
    terminal.type("perhaps")
    await terminal.shows(r"lways: perhaps\n.*lways:$")
    terminal.type("n")
    await terminal.shows("✗ Permission was denied.*first\n+›$")
    terminal.type("[[ask]] second")
    await terminal.shows(r"second\n.*lways:$")
    terminal.type("a")
    await terminal.shows(r"✓ \[\[ask\]\] second.*second\n+›$")
    terminal.type("[[ask]] third")
    screen = await terminal.shows(r"✓ \[\[ask\]\] third.*third\n+›$")
    assert screen.count("May echo run?") == 3


@pytest.mark.parametrize(
    "text",
    [
        'Why?\n\nTraceback:\n  File "a.py", line 4\n    x = 1/0\nZeroDivisionError\n',
        "    indented\n\tand a tab\n\n\nend",
        "\n".join(f"line {number} of a long paste" for number in range(3000)),
    ],
    ids=["a traceback", "indented", "long"],
)
async def test_what_is_pasted_is_one_message_exactly_as_it_was(
    terminal: Terminal, server: Process, text: str
) -> None:
    terminal.run(*chat(server, "s"))
    await terminal.shows("›$")
    terminal.paste(text)
    terminal.key("Enter")
    async with client_of(server) as client:
        while not (messages := await client.messages("s")):
            await asyncio.sleep(0.02)
    assert messages[0]["content"] == text
    assert [message["role"] for message in messages if message["role"] == "user"] == ["user"]


async def test_a_question_that_ends_elsewhere_is_no_longer_waited_for(
    terminal: Terminal, server: Process
) -> None:
    terminal.run(*chat(server, "s"))
    async with client_of(server) as client:

        async def question() -> str:
            """The id of the question that the terminal asks."""
            await terminal.shows("lways:$")
            part = (await client.messages("s"))[-1]["parts"][0]
            return f"/chat/s/questions/{part['question']['id']}"

        await terminal.shows("›$")
        terminal.type("[[ask]] first")
        path = await question()
        terminal.keys("ye")
        await terminal.shows("lways: ye$")
        await client.http.post(path, json={"approve": True})
        await terminal.shows(r"Another client gave permission\..*✓ .*first\n+›$")
        terminal.type("[[ask]] second")
        await client.http.post(await question(), json={"approve": False})
        await terminal.shows(r"Another client denied permission\..*denied\..*second\n+›$")
        terminal.type("[[ask]] third")
        await question()
        assert await client.stop("s")
        await terminal.shows(r"The question .*\[stopped\]\n+›$")
        terminal.type("[[ask]] fourth")
        await question()
        terminal.key("C-c")
        await terminal.shows(r"fourth.*\[stopped\]\n+›$")
        terminal.type("[[ask]] fifth")
        path = await question()
        terminal.key("C-d")
        await terminal.shows(
            r"The question stays open\.\nContinue with: sessile chat s\nended with"
        )
        assert (await client.http.post(path, json={"approve": True})).is_success


async def test_a_user_who_comes_back_sees_the_history_and_the_running_answer(
    terminal: Terminal, server: Process
) -> None:
    async with client_of(server) as client:
        await client.send("s", "an old question")
        running = asyncio.create_task(client.send("s", LONG))
        while len(await client.messages("s")) < 4:
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(client.send("s", "one that waits"))
        while len(await client.messages("s")) < 5:
            await asyncio.sleep(0.01)
        terminal.run(*chat(server, "s"))
        await terminal.shows(r"› an old question\nan old question\n.*word3\b")
        terminal.key("C-c")
        await terminal.shows(r"\[stopped\]")
        await asyncio.gather(running, waiting)


async def test_the_chat_waits_for_a_server_that_goes_away_and_comes_back(
    terminal: Terminal, tmp_path: Path
) -> None:
    with Process(tmp_path, "--echo-delay", "0.03", "--on-crash", "retry") as server:
        port = server.url.rpartition(":")[2]
        terminal.run(*chat(server, "s"))
        await terminal.shows("›$")
        terminal.type(" ".join(f"word{n}" for n in range(60)))
        await terminal.shows(r"word5\b")
        async with client_of(server) as client:
            while len((await client.messages("s"))[-1]["content"]) < 20:
                await asyncio.sleep(0.01)
        server.kill()
    with Process(tmp_path, "--echo-delay", "0.01", "--port", port, "--on-crash", "mark"):
        screen = await terminal.shows(r"\[interrupted\]\n+›$|word59\s*\n+›$")
        assert "interrupted" in screen
        terminal.type("there again")
        await terminal.shows("there again\n+there again\n+›$")


async def test_hostile_text_has_no_effect_on_the_terminal(
    terminal: Terminal, server: Process
) -> None:
    evil = (
        "before \x1b[2J\x1b]0;owned\x07\x1b[31m \u202eafter \x9b5A [link](javascript:alert(1)) end"
    )
    async with client_of(server) as client:
        await client.send("s", evil)
    terminal.run(*chat(server, "s"))
    screen = await terminal.shows("before .*after.*end.*\n›$")
    assert "\x1b" not in screen
    status, out, _ = run_piped([*SESSILE, "sessions", "show", "s", "--server", server.url])
    assert (status, re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)) == (0, [])


async def test_a_program_gets_plain_text_or_json_and_a_status(server: Process) -> None:
    assert run_piped(chat(server, "s"), "Hello **you**") == (0, "Hello **you**\n", "")
    status, out, _ = run_piped(chat(server, "s", "--json"), "again", NO_COLOR="1")
    events = [json.loads(line) for line in out.splitlines()]
    assert (status, events[0]["type"], events[-1]["type"]) == (0, "ack", "assistant")
    status, out, _ = run_piped(chat(server, "s"), "[[fail]] a b")
    assert (status, "[error: The agent failed" in out) == (1, True)
    assert run_piped(chat(server, "s"), " ")[0] == 1
    status, out, err = run_piped([*SESSILE, "chat", "--server", "http://127.0.0.1:1"], "x")
    assert (status, out) == (1, "")
    assert "is `sessile serve` running?" in err
    assert run_piped([*SESSILE, "chat", "not/an id", "--server", server.url], "x")[0] == 1


async def test_sessions_are_listed_shown_archived_and_deleted(server: Process) -> None:
    def sessions(*arguments: str) -> tuple[int, str, str]:
        return run_piped([*SESSILE, "sessions", *arguments], SESSILE_SERVER=server.url)

    async with client_of(server) as client:
        for id in ("one", "two"):
            await client.send(id, f"hello {id}")
    status, out, _ = sessions("ls")
    assert status == 0
    assert [line.split("\t")[0::4] for line in out.splitlines()] == [
        ["two", "hello two"],
        ["one", "hello one"],
    ]
    assert [s["id"] for s in json.loads(sessions("ls", "--json", "--query", "one")[1])] == ["one"]
    assert sessions("show", "one")[1] == "› hello one\nhello one\n"
    assert len(json.loads(sessions("show", "one", "--json")[1])["messages"]) == 2
    status, out, err = sessions("archive", "two", "nobody")
    assert (status, out, err) == (1, "two\n", "sessile: nobody: The session does not exist.\n")
    assert sessions("ls")[1].startswith("one\t")
    assert sessions("ls", "--archived")[1].startswith("two\t")
    assert sessions("archive", "--undo", "two")[0] == 0
    assert sessions("rm", "one", "two")[1] == "one\ntwo\n"
    assert sessions("ls") == (0, "", "")
    assert sessions("show", "one")[0] == 1


@pytest.mark.parametrize("format", ["json", "sqlite"])
async def test_an_export_can_be_imported_again(
    server: Process, tmp_path: Path, format: str
) -> None:
    def sessile(*arguments: str) -> tuple[int, str, str]:
        return run_piped([*SESSILE, *arguments, "--server", server.url])

    async with client_of(server) as client:
        await client.send("one", "hello")
        file = str(tmp_path / "one.export")
        assert sessile("export", "one", "--format", format, "--output", file) == (0, "", "")
        assert sessile("import", file, "--id", "copy") == (0, "copy\n", "")
        original, copy = await client.messages("one"), await client.messages("copy")
        assert [m["content"] for m in original] == [m["content"] for m in copy]
    status, _, err = sessile("import", file)
    assert (status, err) == (1, "sessile: A session with this id already exists. Use another id.\n")
    assert sessile("import", "nowhere.json")[0] == 1
    assert sessile("export", "nobody", "--output", file)[0] == 1
    assert [name for name in os.listdir(tmp_path) if name.startswith("one.")] == ["one.export"]
    assert sessile("export", "one", "--format", "markdown")[1].startswith("# hello\n")
    status, _, err = sessile("export", "one", "--output", "/no/such/file")
    assert (status, err) == (1, "sessile: cannot write /no/such/file: No such file or directory\n")


def test_a_pipe_that_closes_early_is_not_an_error(server: Process) -> None:
    command = shlex.join([*SESSILE, "export", "one", "--server", server.url])
    filled = shlex.join(chat(server, "one"))
    script = f"head -c 300000 /dev/zero | tr '\\0' x | {filled} > /dev/null; {command} | head -c 10; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode in (0, -signal.SIGPIPE, 128 + signal.SIGPIPE)
    assert "Traceback" not in run.stderr
