"""Accessibility: on a phone, with dark colours, and with a screen reader (axe)."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.serving import LONG
from tests.web.browser import DESKTOP, PHONE, Api, Tab, Visit

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


def faults(tab: Tab) -> list[Any]:
    """The serious problems that axe finds."""
    # The content security policy blocks scripts of a test, but not those of the debugger.
    tab.page.evaluate(AXE.read_text() + "; null")
    found = tab.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        (fault["id"], fault["help"], [node["html"][:200] for node in fault["nodes"]])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(
    visit: Visit, api: Api, colours: str, size: tuple[int, int]
) -> None:
    tab = visit(size=size, color_scheme=colours).tab().open()
    assert faults(tab) == []
    plan = {"type": "data", "name": "plan", "data": [{"content": "a", "status": "completed"}]}
    image = {"type": "file", "mediaType": "image/gif", "url": GIF, "filename": "a dot"}
    call = {
        "type": "tool-call",
        "toolCallId": "1",
        "toolName": "bash",
        "toolInput": {"command": "ls"},
        "state": "error",
        "error": "no",
    }
    text = (
        "# A title\n\n[a link](https://example.org)\n\n- [x] done\n\n```python\nif x: pass # y\n```"
    )
    text += "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> said\n\n1. one\n2. two"
    api.store("s", "user", image, {"type": "text", "content": "question"})
    reasoning = {"type": "reasoning", "content": "hm"}
    source = {"type": "source", "url": "https://example.org"}
    parts: list[dict[str, Any]] = [
        reasoning,
        call,
        plan,
        source,
        image,
        {"type": "text", "content": text},
    ]
    api.store("s", "assistant", *parts, metadata={"usage": {"inputTokens": 1}})
    api.send("s", "[[fail]] a b")
    api.send("other", "words")
    tab.open("s")
    expect(tab.answers.first.locator(".hljs-keyword").first).to_be_visible()
    for block in tab.answers.first.locator("details").all():
        block.locator("summary").click()
    assert faults(tab) == []
    # While a question is open, a message is queued.
    tab.say("[[ask]]")
    expect(tab.page.get_by_role("region", name="echo asks")).to_be_visible()
    tab.say("later")
    expect(tab.page.get_by_label("Queued messages")).to_be_visible()
    assert faults(tab) == []
    tab.button("Deny").click()
    tab.is_answered("later")
    if size == PHONE:
        tab.button("Sessions").click()
        expect(tab.sidebar).to_be_in_viewport()
    tab.page.get_by_role("searchbox").fill("words")
    expect(tab.page.get_by_role("region", name="Matching messages")).to_be_visible()
    assert faults(tab) == []
    tab.page.get_by_role("searchbox").fill("")
    tab.choose("words", "Rename")
    assert faults(tab) == []
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Control+/")
    assert faults(tab) == []


GIF = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def test_a_phone_has_the_sessions_behind_a_button(visit: Visit, api: Api) -> None:
    api.send("s", "x" * 400 + "\n\n```\n" + "y" * 400 + "\n```")
    api.send("other", "words")
    tab = visit(size=PHONE, has_touch=True, is_mobile=True).tab().open("s")
    expect(tab.answers).to_have_count(1)
    # A phone makes the window as wide as its content.
    assert tab.page.evaluate("[innerWidth, innerHeight]") == list(PHONE)
    expect(tab.sidebar).not_to_be_in_viewport()
    tab.button("Sessions").tap()
    expect(tab.sidebar).to_be_in_viewport()
    tab.session("words").get_by_role("link").tap()
    expect(tab.sidebar).not_to_be_in_viewport()
    tab.is_answered("words")
    # On a phone, Enter starts a new line; a button sends the message.
    tab.composer.fill("one")
    tab.composer.press("Enter")
    tab.composer.press("x")
    expect(tab.composer).to_have_value("one\nx")
    tab.button("Send the message").tap()
    tab.is_answered("one x")
    expect(tab.answers.last.get_by_role("button", name="Copy")).to_be_in_viewport()


def test_the_page_fills_its_window_with_any_content(visit: Visit, api: Api) -> None:
    api.send("s", "short")
    tab = visit().tab()
    for session in ("s", ""):
        tab.open(session)
        bottom = tab.page.locator(".sidebar-bottom").bounding_box()
        assert bottom
        assert round(bottom["y"] + bottom["height"]) == DESKTOP[1]
        composer = tab.page.locator(".bottom").bounding_box()
        assert composer
        assert round(composer["y"] + composer["height"]) == DESKTOP[1]


def test_colours_follow_the_system_or_the_choice(visit: Visit) -> None:
    visitor = visit(color_scheme="dark")
    tab, other = visitor.tab().open(), visitor.tab().open()
    shade = "getComputedStyle(document.body).backgroundColor"
    dark = tab.page.evaluate(shade)
    tab.button("Colours: system").click()
    for watcher in (tab, other):
        expect(watcher.button("Colours: light")).to_be_visible()
        assert watcher.page.evaluate(shade) == "rgb(255, 255, 255)"
    tab.page.reload()
    assert tab.page.evaluate(shade) == "rgb(255, 255, 255)"
    tab.button("Colours: light").click()
    assert tab.page.evaluate(shade) == dark != "rgb(255, 255, 255)"


def test_screen_readers_announce_that_the_answer_is_complete(tab: Tab) -> None:
    tab.open("s")
    status = tab.page.locator(".unseen")
    tab.say(LONG[:200])
    expect(status).to_have_text("The answer is complete.")
    tab.say("[[ask]]")
    expect(status).to_have_text("The agent asks for permission.")
    tab.button("Deny").click()
    tab.is_answered(re.compile("ask"))
