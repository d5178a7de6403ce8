"""A log has lines that nobody can forge, no keys, and nothing that users wrote."""

import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessile import AgentError, Turn
from sessile.logs import Formatter, fit
from sessile.redact import CONTENT, without_content
from tests.serving import kinds, process, serving

FORGED = "\nINFO sessile: all is well\x1b[2J\x1b]0;owned\x07\u2028\u202e\r\x9b1m"
SECRET_SENTENCE = "my diagnosis is none of your business, dear reader of logs"

AGENT = """
import json
from sessile import AgentError


class Wrong(Exception):
    pass


async def reply(turn):
    yield "so "
    if "shown" in turn.content:
        raise AgentError("Shown.", details="the bank said: " + turn.content)
    try:
        json.loads("{")
    except ValueError as error:
        error.add_note("a note" + turn.content)
        raise Wrong("it was: " + repr(turn.content) + turn.content + " with sk" + "-abcdefghijkl") from error
"""


@pytest.mark.parametrize("said", ["raised ", "shown "])
async def test_an_agents_exception_forges_no_line_and_shows_no_content(
    tmp_path: Path, said: str
) -> None:
    (tmp_path / "mine.py").write_text(AGENT)
    async with process(tmp_path, "mine:reply", "--log-level", "info") as (_, chat):
        events = await chat.send("s", said + SECRET_SENTENCE + FORGED)
        assert kinds(events)[-2] == "error"
        assert SECRET_SENTENCE not in str(events[-2].data)
    log = (tmp_path / "stderr.log").read_bytes().decode()
    assert "mine:reply" in log
    assert CONTENT in log
    assert SECRET_SENTENCE[:30] not in log
    assert "sk-abc" not in log
    assert not any(line.startswith("INFO sessile: all") for line in log.splitlines())
    assert all(char.isprintable() or char == "\n" for char in log)
    if said == "raised ":
        assert 'mine.py", line 15, in reply' in log, "the traceback is readable"
        assert "mine.Wrong: it was: " in log
        assert "json.decoder.JSONDecodeError: Expecting property name" in log


async def test_an_agents_details_are_logged_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(turn: Turn) -> AsyncGenerator[str, None]:
        yield "so "
        raise AgentError("The bank is closed.", details="10.0.0.7 answered Bearer abcdef123456")

    async with serving(tmp_path, agent=fails) as chat:
        events = await chat.send("s", "go")
        assert events[-2].data["error"] == "The bank is closed."
        assert "10.0.0.7" not in str(events) + str(await chat.messages("s"))
    (record,) = [record for record in caplog.records if "bank" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "10.0.0.7 answered [key]" in record.getMessage()


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-ab***********wxyz.",
        "Authorization: Bearer eyJhbGciOi.J9",
        'x-api-key="abcdef0123"',
        "GET https://user:hunter22@host/v1?key=AIzaSyA1234567890abcdef",
    ],
)
def test_keys_are_removed(text: str) -> None:
    found = fit(text)
    assert "[key]" in found
    for secret in ("sk-ab", "wxyz", "eyJ", "abcdef0123", "hunter22", "AIza"):
        assert secret not in found


@given(st.text())
def test_every_text_is_one_printable_line(text: str) -> None:
    assert fit(text).isprintable()
    assert len(fit(text)) <= 12 * 501


@given(st.text("abc \n'\"é", min_size=20, max_size=60), st.sampled_from([str, repr, ascii]))
def test_a_users_text_is_removed_however_it_is_quoted(
    content: str, quote: Callable[[str], str]
) -> None:
    text = without_content(f"before {quote(content)} after", content)
    whole = quote(content)
    assert not any(whole[at : at + 22] in text for at in range(1, len(whole) - 23))


def test_a_short_text_of_a_user_is_removed_as_a_word() -> None:
    assert without_content("no good for go", "go") == "no good for [content]"
    assert without_content("no good", "  ") == "no good"


def test_groups_and_broken_exceptions_are_formatted() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError("never")

    loop = ValueError("in a circle\n")
    loop.__context__ = KeyError("x\n")
    loop.__context__.__context__ = loop
    for error in (Broken(), loop, ExceptionGroup("both\n", [loop, TypeError("\x1b")])):
        record = logging.LogRecord(
            "n", logging.ERROR, "p", 1, "m %s", ("\n",), (type(error), error, None)
        )
        said = Formatter("%(levelname)s %(message)s").format(record)
        assert said.startswith("ERROR m \\n\n")
        assert type(error).__name__ in said
        assert "\x1b" not in said


def test_the_line_of_an_error_at_the_start_is_one_line(tmp_path: Path) -> None:
    from tests.test_cli import start_error

    (tmp_path / "work").mkdir()
    agent = tmp_path / "agent.sh"
    agent.write_text("#!/bin/sh\nprintf 'one\\n\\033[2Jtwo\\n' >&2\nexit 3\n")
    agent.chmod(0o755)
    line = start_error(tmp_path, "--agent", f"acp:{agent}", "--directory", "work")
    assert "ended with status 3: one / \\x1b[2Jtwo" in line
