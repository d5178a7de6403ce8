"""`sessile chat` asks what agents ask: for permission, and for outputs field by field."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Client, Process, client_of
from tests.test_terminal import SESSILE, Terminal, chat, run_piped

SCHEMA = {
    "type": "object",
    "title": "A table",
    "properties": {
        "name": {"type": "string", "title": "Name", "description": "as on the card"},
        "guests": {"type": "integer", "title": "Guests", "minimum": 1, "default": 2},
        "budget": {"type": "number", "title": "Budget"},
        "terrace": {"type": "boolean", "title": "On the terrace"},
        "meal": {"enum": ["lunch", "dinner"], "title": "Meal", "default": "dinner"},
        "diets": {"type": "array", "title": "Diets", "items": {"enum": ["vegan", "halal", 3]}},
        "wishes": {"type": "string", "title": "Wishes", "format": "multiline"},
    },
    "required": ["name", "guests", "terrace"],
}
AGENT = """
import json, sessile

@sessile.agent(continues=True)
async def reply(turn):
    asked = json.loads(turn.content)
    call = sessile.ToolCallPart("form-1", "book_table", {"message": "Which table?"}, "pending")
    result = await turn.call(call, schema=asked)
    yield f"Error: {result.error}" if result.error else f"Output: {json.dumps(result.output)}"
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(tmp_path)
    yield found
    found.end()


@contextmanager
def forms(folder: Path, *flags: str) -> Iterator[Process]:
    """A server whose agent asks for an output by the schema in a message."""
    (folder / "forms.py").write_text(AGENT)
    with Process(folder, "forms:reply", *flags) as server:
        yield server


async def ask(client: Client, schema: Any) -> None:
    """Let the agent ask, without a client that follows."""
    path, body = "/chat/s", {"content": json.dumps(schema)}
    response = await client.http.post(path, json=body, headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    while not (await client.http.get("/chat/s/questions")).json():
        await asyncio.sleep(0.02)


async def test_an_output_is_asked_for_field_by_field(terminal: Terminal, tmp_path: Path) -> None:
    with forms(tmp_path) as server:
        async with client_of(server) as client:
            await ask(client, SCHEMA)
        terminal.run(*chat(server, "s", "--history", "0"))
        await terminal.shows(r"book_table asks for input; /decline declines\.\n  Which table\?")
        await terminal.shows(r"  A table\n  Name \(as on the card\):$")
        terminal.key("Enter")
        await terminal.shows(r"An answer is needed\.\n  Name \(as on the card\):$")
        terminal.type("Ada")
        await terminal.shows(r"Guests, a whole number \[2\]:$")
        terminal.type("some")
        await terminal.shows(r"Enter a whole number\.\n  Guests, a whole number \[2\]:$")
        terminal.type("0")
        await terminal.shows(r"Budget, a number \(optional\):$")
        terminal.type("12.5")
        await terminal.shows(r"On the terrace, \[y\]es or \[n\]o:$")
        terminal.type("perhaps")
        await terminal.shows(r"Answer yes or no\.\n.*\[n\]o:$")
        terminal.type("y")
        await terminal.shows(r"Meal\n    1\. lunch\n    2\. dinner\n  a number of the list \[2\]:$")
        terminal.key("Enter")
        await terminal.shows(r"3\. 3\n  numbers of the list with commas \(optional\):$")
        terminal.type("1, 4")
        await terminal.shows(r"Answer with a number from 1 to 3\.\n.*\(optional\):$")
        terminal.type("1,3")
        await terminal.shows(r"Wishes, ends with an empty line \(optional\):$")
        terminal.type("  by the window")
        terminal.type("please")
        terminal.key("Enter")
        # The server refuses it, and what was typed is the default of the next try.
        await terminal.shows(
            r"`output/guests`, 0\s+is less than.*Name \(as on the card\) \[Ada\]:$"
        )
        terminal.key("Enter")
        await terminal.shows(r"Guests, a whole number \[0\]:$")
        terminal.type("3")
        for prompt in (
            r"\[12\.5\]",
            r"\[n\]o \[y\]",
            r"\[2\]",
            r"\[1,3\]",
            r"\[  by the window …\]",
        ):
            await terminal.shows(prompt.replace("[  ", "[ ?") + ":$")
            terminal.key("Enter")
        await terminal.shows(r"Output: .*\n›$")
        async with client_of(server) as client:
            content = (await client.messages("s"))[-1]["content"]
        assert json.loads(content.removeprefix("Output: ")) == {
            "name": "Ada",
            "guests": 3,
            "budget": 12.5,
            "terrace": True,
            "meal": "dinner",
            "diets": ["vegan", 3],
            "wishes": "  by the window\nplease",
        }


@pytest.mark.parametrize("stopped_by", ["kill -9", "SIGTERM"])
async def test_a_question_is_asked_after_a_restart(
    terminal: Terminal, tmp_path: Path, stopped_by: str
) -> None:
    schema = {"type": "string", "title": "Colour"}
    with forms(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        async with client_of(server) as client:
            await ask(client, schema)
        terminal.run(*chat(server, "s", "--history", "0"))
        await terminal.shows(r"Colour:$")
        server.kill() if stopped_by == "kill -9" else server.terminate()
        terminal.type("blue")
        await terminal.shows(r"no server answers at.*Colour \[blue\]:$")
        terminal.key("C-d")
        await terminal.shows("The question stays open.*ended with 0")
    with forms(tmp_path, "--port", port) as server:
        other = Terminal(tmp_path / "other")
        (tmp_path / "other").mkdir()
        try:
            other.run(*chat(server, "s", "--history", "0"))
            await other.shows(r"Colour:$")
            other.type("red")
            screen = await other.shows(r'Output: "red"\n+›$')
            # On SIGTERM the server lets go of the agent first, so that nothing is cut off.
            note = "The server was restarted; the answer is continued."
            assert (note in screen) == (stopped_by == "kill -9")
        finally:
            other.end()


async def test_a_terminal_that_stays_goes_on_after_a_restart(
    terminal: Terminal, tmp_path: Path
) -> None:
    with forms(tmp_path) as server:
        port = server.url.rpartition(":")[2]
        terminal.run(*chat(server, "s"))
        await terminal.shows("›$")
        terminal.type('{"type": "integer"}')
        await terminal.shows("Answer, a whole number:$")
        server.kill()
    with forms(tmp_path, "--port", port) as server:
        async with client_of(server) as client:
            while (await client.value("s"))["status"] != "waiting":
                await asyncio.sleep(0.02)
        terminal.type("7")
        screen = await terminal.shows(r"Output: 7\n+›$")
        assert screen.count("The server was restarted; the answer is continued") == 1
        assert screen.count("Answer, a whole number:") == 1


async def test_a_question_that_waited_long_is_asked_with_what_was_said_before_it(
    terminal: Terminal, tmp_path: Path
) -> None:
    """The server has let go of the agent, and keeps only the answer as it stands."""
    (tmp_path / "forms.py").write_text(
        AGENT.replace("    result", "    if not turn.unfinished: yield 'Let me see.'\n    result")
    )
    with Process(tmp_path, "forms:reply", "--park-after", "0.1") as server:
        async with client_of(server) as client:
            await ask(client, {"enum": ["red", "blue"]})
            await asyncio.sleep(0.5)
        server.kill()
    with Process(tmp_path, "forms:reply", "--park-after", "0.1") as server:
        terminal.run(*chat(server, "s", "--history", "0"))
        await terminal.shows(r"Let me see\..*Answer\n    1\. red\n    2\. blue\n.*:$")
        terminal.type("blue")
        await terminal.shows('Output: "blue"\n+›$')


async def test_any_json_can_be_typed_and_a_question_declined(
    terminal: Terminal, tmp_path: Path
) -> None:
    with forms(tmp_path) as server:
        terminal.run(*chat(server, "s"))
        await terminal.shows("›$")
        terminal.type('{"type": "object", "properties": {"a": {"type": "object"}}}')
        await terminal.shows(r'must match this JSON Schema: \{"type".*Answer as JSON:$')
        terminal.type("a: 1")
        terminal.key("Enter")
        await terminal.shows(r"This is not JSON: .*Answer as JSON:$")
        terminal.type('{"a": ')
        terminal.type('{"b": 653247040368672768}}')
        await terminal.shows(r'Output: \{"a": \{"b": 653247040368672768\}\}\n+›$')
        terminal.type('{"type": "object", "properties": {}}')
        await terminal.shows("Enter sends the answer:$")
        terminal.key("Enter")
        await terminal.shows(r"Output: \{\}\n+›$")
        terminal.type('{"type": "string", "maxLength": 900}')
        await terminal.shows("Answer, ends with an empty line:$")
        terminal.type("half")
        terminal.type("/decline")
        await terminal.shows(r"Error: The user declined to answer\.\n+›$")


async def test_an_output_that_another_client_gives_is_no_longer_waited_for(
    terminal: Terminal, tmp_path: Path
) -> None:
    with forms(tmp_path) as server:
        terminal.run(*chat(server, "s"))
        await terminal.shows("›$")
        terminal.type('{"type": "string"}')
        await terminal.shows("Answer:$")
        async with client_of(server) as client:
            [asked] = (await client.http.get("/chat/s/questions")).json()
            path = f"/chat/s/questions/{asked['id']}"
            assert (await client.http.post(path, json={"output": "theirs"})).is_success
        await terminal.shows(r'Another client answered\..*Output: "theirs"\n+›$')


async def test_a_program_gets_the_id_of_a_question(tmp_path: Path) -> None:
    with Process(tmp_path) as server:
        async with client_of(server) as client:
            for mark, body in (("ask", {"approve": False}), ("call", {"output": 1})):
                text = f"[[{mark}]] hello"
                running = asyncio.create_task(
                    asyncio.to_thread(
                        run_piped, [*SESSILE, "chat", "s", "--server", server.url], text
                    )
                )
                while not (found := (await client.http.get("/chat/s/questions")).json()):
                    await asyncio.sleep(0.02)
                path = f"/chat/s/questions/{found[0]['id']}"
                assert (await client.http.post(path, json=body)).is_success
                status, out, err = await running
                assert (status, text in out) == (0, True)
                assert f"question {found[0]['id']} in session s" in err
                assert f"POST {path}" in err
