"""The Markdown export: whatever a session has in it, nothing of it leaks into what follows."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sessile.http.markdown import PARSED, contained, fenced, inline, link, quoted
from tests.serving import Client

_markdown = MarkdownIt("commonmark")  # as it is shown, with HTML


VOID = ("br", "hr", "img")


class Outline(HTMLParser):
    """The headings of a page, and how deep in other elements each is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._open: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.feed(_markdown.render(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and re.fullmatch("h[1-6]", self._open[-1]):
            self.headings.append((len(self._open), data))


def ends(text: str) -> bool:
    """Whether a heading after a text is one, and stands in nothing else."""
    return (1, "the end") in Outline(f"{text}\n\n## the end\n").headings


LEAKS = [
    "```py\nx = 1",
    "~~~~\n```\n~~~",
    "- a\n  ```\n  x\n```\nafter",
    "- ```\n```",
    "1. a\n\n   ~~~\n   b",
    "> ```\n> a\n```",
    "   ```\nx",
    "````\n```\n",
    "<details><summary>more</summary>",
    "words <details> more",
    "<!-- a comment",
    "words <!-- a comment",
    "<script>\n# x",
    "<pre>\n```\n<b>\n",
    "<div>\n\n```\nx",
    "</div></blockquote></body>",
    "<style>",
    "<![CDATA[ x",
    "<?php",
    "<textarea>\n\n`",
    "List<String> and `List<Integer>` and ``a ` <b>``",
    "\\<b> \\\\<b> `<i>",
    "[a](<b> <c)",
    "```\r\nx\r# y",
    "<a title='>'>",
    "\0```\n<b",
    "`\\` <b> `",
    "\\`` <b> ` <i> ``",
]


@pytest.mark.parametrize("text", LEAKS)
def test_a_text_ends_by_itself(text: str) -> None:
    for contain in (contained, quoted, fenced, inline):
        assert ends(contain(text)), contain(text)
    for line in (f"# {inline(text)}", f"**{inline(text)}** x", link(text, text)):
        assert ends(line), line
        assert "\n" not in line


@given(
    st.lists(
        st.sampled_from(
            [
                *"`<>-#x|\\\n\t ",
                "```",
                "~~~",
                "````",
                "<b>",
                "</b>",
                "<!--",
                "-->",
                "<pre>",
                "<div>",
                "1. ",
                "- ",
                "> ",
                "[a]: ",
                "\n\n",
                "  ",
                "    ",
            ]
        ),
        max_size=30,
    ).map("".join)
)
@example("- <pre>\n\n  ```\n")
def test_any_text_ends_by_itself(text: str) -> None:
    assert ends(contained(text)), contained(text)
    assert ends(quoted(text))


def test_a_text_that_ends_is_not_changed() -> None:
    for text in (
        "words",
        "```py\nif a < b and c > d: <b>\n```\nand `<b>`, a < b, <https://example.org>",
        "- a\n\n  ```\n  x\n  ```\n- b",
        "# a\n\n> b\n\n---\n\n| a | b |\n|---|---|\n| `<c>` | 1 |",
    ):
        assert contained(text) == text
    assert contained("List<String>, `List<String>`") == "List\\<String>, `List<String>`"
    assert contained("a\n```\nx") == "a\n```\nx\n```"


def test_a_very_long_text_is_shown_as_it_is_written() -> None:
    text = "```\n" + "x" * PARSED
    assert contained(text) == f"````markdown\n{text}\n````"
    assert contained("```x\n" * 200_000).startswith("````markdown\n```x\n")


async def test_nothing_of_a_session_is_a_heading_of_its_export(chat: Client) -> None:
    leak = "a\n```\n# LEAK\n~~~\n<details><!--\n---\n"
    call = {"type": "tool-call", "toolCallId": "1", "toolName": leak, "toolInput": {leak: leak}}
    parts: list[dict[str, Any]] = [
        {"type": "text", "content": "```py\nx = 1"},
        {"type": "reasoning", "content": leak},
        call | {"state": "complete", "toolOutput": leak},
        call | {"state": "error", "error": leak, "toolCallId": "2"},
        {"type": "tool-result", "toolName": leak, "toolOutput": leak, "state": leak},
        {"type": "file", "mediaType": leak, "url": f"http://x/){leak}", "filename": leak},
        {"type": "file", "mediaType": leak, "url": leak},
        {"type": "source", "url": leak, "title": leak},
        {"type": "source", "url": leak},
        {"type": "data", "name": leak, "data": leak},
        {"type": "text", "content": leak},
    ]
    await chat.http.post("/sessions", json={"id": "s", "title": leak})
    for part in parts:
        body = {"role": "assistant", "parts": [{"type": "text", "content": "x"}, part]}
        stored = await chat.http.post("/sessions/s/messages", json=body)
        assert stored.status_code == 201, stored.text
    await chat.http.post("/sessions/s/messages", json={"content": "the last"})
    path = "/sessions/s/export?format=markdown"
    text = (await chat.http.get(path)).text
    found = Outline(text).headings
    assert [heading for depth, heading in found if depth == 1 and "LEAK" in heading] == [
        "a ``` # LEAK ~~~ <details><!-- ---"
    ], "only the title"
    assert len([1 for depth, heading in found if depth == 1 and " · " in heading]) == 12
    assert text.endswith("\n\nthe last\n")
    assert (await chat.http.get(path)).text == text
