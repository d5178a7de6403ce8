"""Open questions in real Chromium: forms, and what a reload and a restart of the server leave of them."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.serving import Process
from tests.web.browser import PHONE, Api, Tab, Visit, Visitor
from tests.web.test_access import faults

LARGE = 653247040368672768
MESSAGE = "Which table should I book?\nThe \u202eterrace is open."
SCHEMA = {
    "type": "object",
    "title": "A table at Luigi's",
    "description": "It is booked at once.",
    "properties": {
        "name": {"type": "string", "title": "Name", "description": "As on the card"},
        "guests": {"type": "integer", "title": "Guests", "minimum": 1, "default": 2},
        "budget": {"type": "number", "title": "Budget"},
        "order": {"type": "integer", "title": "Order", "default": LARGE},
        "terrace": {"type": "boolean", "title": "On the terrace"},
        "meal": {"enum": ["lunch", "dinner"], "title": "Meal"},
        "card": {"oneOf": [{"const": "v", "title": "Visa"}, {"const": "m"}], "title": "Card"},
        "diets": {"type": "array", "title": "Diets", "items": {"enum": ["vegan", "halal"]}},
        "wishes": {"type": "string", "title": "Wishes", "format": "multiline"},
    },
    "required": ["name", "guests", "meal"],
}
AGENT = """
import json, sessile

@sessile.agent(continues=True)
async def reply(turn):
    asked = json.loads(turn.content)
    call = sessile.ToolCallPart("form-1", "book_table", asked["input"], "pending")
    result = await turn.call(call, schema=asked.get("schema"))
    yield f"Error: {result.error}" if result.error else f"Output: {json.dumps(result.output)}"
"""


@contextmanager
def forms(folder: Path, port: str = "0") -> Iterator[Process]:
    """A server whose agent asks for what a message says."""
    (folder / "forms.py").write_text(AGENT)
    with Process(folder, "forms:reply", "--port", port) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with forms(tmp_path) as server:
        yield server


def ask(api: Api, schema: Any = None, given: Any = None) -> None:
    """Let the agent ask for an output."""
    asked = {"input": {"message": MESSAGE} if given is None else given}
    if schema is not None:
        asked["schema"] = schema
    with api.http.stream("POST", "/chat/s", json={"content": json.dumps(asked)}):
        pass  # its turn needs no client


def form(tab: Tab) -> Locator:
    return tab.page.get_by_role("region", name="book_table asks for input")


def output(tab: Tab) -> Any:
    tab.is_answered("Output: ")
    expect(form(tab)).to_have_count(0)
    return json.loads(tab.answers.last.locator(".markdown").inner_text().removeprefix("Output: "))


def test_a_form_asks_for_each_property(tab: Tab, api: Api) -> None:
    ask(api, SCHEMA)
    asked = form(tab.open("s"))
    expect(asked).to_contain_text("Which table should I book?\nThe ⟨U+202E⟩terrace is open.")
    expect(asked).to_contain_text("A table at Luigi's")
    expect(asked).to_contain_text("It is booked at once.")
    name = asked.get_by_role("textbox", name="Name")
    expect(name).to_have_accessible_description("As on the card")
    expect(asked.get_by_label("Guests")).to_have_value("2")
    # What is missing is said at its field, and nothing is sent.
    asked.get_by_role("button", name="Send").click()
    expect(name).to_be_focused()
    expect(name).to_have_accessible_description("As on the card Fill in this field.")
    expect(asked.get_by_role("group", name="Meal")).to_have_accessible_description(
        "Choose an option."
    )
    name.fill("Ada")
    asked.get_by_label("Budget").fill("12.50")
    asked.get_by_label("On the terrace").check()
    asked.get_by_role("radio", name="dinner").check()
    asked.get_by_label("Card").select_option("Visa")
    asked.get_by_role("checkbox", name="halal").check()
    asked.get_by_label("Wishes").fill("By the window")
    asked.get_by_label("Wishes").press("End")
    asked.get_by_label("Wishes").press("Enter")
    asked.get_by_label("Wishes").press_sequentially("please")
    asked.get_by_role("button", name="Send").click()
    assert output(tab) == {
        "name": "Ada",
        "guests": 2,
        "budget": 12.5,
        "order": LARGE,
        "terrace": True,
        "meal": "dinner",
        "card": "v",
        "diets": ["halal"],
        "wishes": "By the window\nplease",
    }


def test_what_the_server_refuses_can_be_corrected(tab: Tab, api: Api) -> None:
    ask(api, SCHEMA)
    asked = form(tab.open("s"))
    asked.get_by_role("textbox", name="Name").fill("Ada")
    asked.get_by_role("radio", name="lunch").check()
    guests = asked.get_by_label("Guests")
    guests.fill("0")
    guests.press("Enter")
    expect(asked.get_by_role("alert")).to_contain_text("at `output/guests`, 0 is less than")
    expect(guests).to_be_focused()
    expect(guests).to_have_value("0")
    expect(asked.get_by_role("textbox", name="Name")).to_have_value("Ada")
    expect(asked.get_by_role("radio", name="lunch")).to_be_checked()
    guests.fill("3")
    guests.press("Enter")
    assert output(tab)["guests"] == 3


@pytest.mark.parametrize(
    "schema", [None, {"type": "object", "properties": {"a": {"type": "object"}}}]
)
def test_an_output_that_no_form_can_ask_for_is_written_as_json(
    tab: Tab, api: Api, schema: Any
) -> None:
    ask(api, schema, {"order": LARGE})
    asked = form(tab.open("s"))
    expect(asked.get_by_label("order", exact=True)).to_have_text(str(LARGE))
    expect(asked.get_by_label("JSON Schema")).to_have_count(0 if schema is None else 1)
    field = asked.get_by_role("textbox", name="Answer as JSON")
    field.fill("{a: 1}")
    asked.get_by_role("button", name="Send").click()
    expect(asked).to_contain_text("This is not JSON: ")
    expect(field).to_be_focused()
    expect(field).to_have_value("{a: 1}")
    if schema is not None:
        field.fill('{"a": 1}')
        asked.get_by_role("button", name="Send").click()
        expect(asked.get_by_role("alert")).to_contain_text("`output/a`")
        expect(field).to_be_focused()
    field.fill(f'{{"a":\n{{"b": {LARGE}}}}}')
    asked.get_by_role("button", name="Send").click()
    assert output(tab) == {"a": {"b": LARGE}}


@pytest.mark.parametrize(
    ("schema", "role", "expected"),
    [
        ({"type": "string", "title": "Colour"}, "textbox", "7"),
        ({"type": "integer", "title": "Colour"}, "textbox", 7),
        ({"type": "boolean", "title": "Colour"}, "checkbox", True),
        ({"enum": [6, 7], "title": "Colour"}, "radio", 7),
        ({"enum": [*range(1, 9)], "title": "Colour"}, "combobox", 7),
    ],
)
def test_a_single_value_is_asked_for(
    tab: Tab, api: Api, schema: Any, role: Any, expected: Any
) -> None:
    ask(api, schema)
    asked = form(tab.open("s"))
    if role == "textbox":
        asked.get_by_role("textbox", name="Colour").fill("7")
    elif role == "combobox":
        asked.get_by_role("combobox", name="Colour").select_option("7")
    else:
        asked.get_by_role(role, name="7" if role == "radio" else "Colour").check()
    asked.get_by_role("button", name="Send").click()
    assert output(tab) == expected


def test_a_form_can_be_declined(tab: Tab, api: Api) -> None:
    ask(api, SCHEMA)
    tab.open("s")
    expect(tab.answers.last.locator(".badge")).to_have_text("waiting")
    form(tab).get_by_role("button", name="Decline").click()
    tab.is_answered("Error: The user declined to answer.")
    expect(form(tab)).to_have_count(0)
    expect(tab.answers.last.locator(".badge")).to_have_text("failed")
    tab.answers.last.locator("summary").click()
    expect(tab.answers.last).to_contain_text("The question was answered.")


def test_a_question_that_another_client_answers_disappears(visit: Visit, api: Api) -> None:
    one, two = visit().tab().open("s"), visit().tab().open("s")
    ask(api, SCHEMA)
    form(one).get_by_role("textbox", name="Name").fill("half an ans")
    expect(form(two)).to_be_visible()
    [asked] = api.http.get("/chat/s/questions").json()
    path = f"/chat/s/questions/{asked['id']}"
    answer = {"name": "Bob", "guests": 1, "meal": "lunch"}
    assert api.http.post(path, json={"output": answer}).status_code == 200
    for tab in (one, two):
        assert output(tab) == answer


@pytest.mark.parametrize("crashes", [True, False], ids=["kill -9", "SIGTERM"])
def test_a_question_is_open_after_a_reload_and_a_restart(
    browser: Browser, tmp_path: Path, crashes: bool
) -> None:
    with forms(tmp_path) as server:
        api = Api(server.url)
        with api.http:
            ask(api, SCHEMA)
        visitor = Visitor(browser, server.url)
        tab = visitor.tab().open("s")
        expect(tab.sidebar.locator("li.session")).to_contain_text("waiting for you")
        tab.page.reload()
        form(tab).get_by_role("textbox", name="Name").fill("Ada")
        expect(tab.stop).to_be_visible()
        expect(tab.page.get_by_text("Continuing after a restart")).to_have_count(0)
        server.kill() if crashes else server.terminate()
        expect(tab.connection).to_have_text("Reconnecting…")
        form(tab).get_by_role("radio", name="lunch").check()
        form(tab).get_by_role("button", name="Send").click()
        expect(form(tab).get_by_role("alert")).to_contain_text("The server does not answer.")
        port = server.url.rpartition(":")[2]
    with forms(tmp_path, port):
        expect(tab.connection).to_have_text("Connected")
        # On SIGTERM the server lets go of the agent first, so that nothing is cut off.
        note = tab.page.get_by_text("Continuing after a restart")
        expect(note).to_have_count(1 if crashes else 0)
        # What was written is still there.
        form(tab).get_by_role("button", name="Send").click()
        assert output(tab)["name"] == "Ada"
        expect(tab.page.get_by_text("Continuing after a restart")).to_have_count(0)
        visitor.leave()


def test_what_is_written_into_a_form_stays_when_it_is_scrolled_out_of_view(
    tab: Tab, api: Api
) -> None:
    api.fill("s", 200)
    ask(api, SCHEMA)
    tab.open("s")
    name = form(tab).get_by_role("textbox", name="Name")
    name.fill("Ada")
    # These keys move within the text, and do not scroll the conversation.
    name.press("Home")
    name.press_sequentially("Dr. ")
    expect(name).to_have_value("Dr. Ada")
    tab.page.get_by_role("log").press("Home")
    expect(form(tab)).to_have_count(0)
    tab.page.get_by_role("log").press("End")
    expect(name).to_have_value("Dr. Ada")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_form_fits_on_a_phone_and_can_be_used_without_a_mouse(
    visit: Visit, api: Api, colours: str
) -> None:
    ask(api, {**SCHEMA, "properties": {**SCHEMA["properties"], "w" * 90: {"type": "string"}}})  # type: ignore[dict-item]
    tab = visit(size=PHONE, color_scheme=colours).tab().open("s")
    asked = form(tab)
    asked.get_by_role("button", name="Send").click()
    expect(asked.get_by_text("Fill in this field.")).to_be_visible()
    assert faults(tab) == []
    assert tab.page.evaluate("document.querySelector('.scroller').scrollWidth <= innerWidth")
    for box in asked.locator("input, select, textarea").all():
        assert box.evaluate("box => box.getBoundingClientRect().right <= innerWidth")
    name = asked.get_by_role("textbox", name="Name")
    expect(name).to_be_focused()
    tab.page.keyboard.type("Ada")
    for key in ("Tab", "Tab", "Tab", "Tab", "Space", "Tab", "ArrowDown"):
        tab.page.keyboard.press(key)
    expect(asked.get_by_role("radio", name="dinner")).to_be_checked()
    name.press("Enter")
    filled = output(tab)
    expect(tab.answers.last.locator("summary")).to_be_focused()
    assert (filled["name"], filled["terrace"], filled["meal"]) == ("Ada", True, "dinner")


def test_a_note_with_an_answer_is_shown(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "echo").mkdir()
    with Process(tmp_path / "echo") as server:
        visitor = Visitor(browser, server.url)
        tab = visitor.tab().open("s")
        tab.say("[[ask]] please")
        asked = tab.page.get_by_role("region", name="echo asks for permission")
        asked.get_by_label("Note to the agent").fill("not today")
        asked.get_by_role("button", name="Deny").click()
        tab.is_answered("please")
        tab.answers.last.locator("summary").click()
        expect(tab.answers.last.get_by_label("Note to the agent")).to_have_text("not today")
        tab.say("[[call]] me")
        asked = tab.page.get_by_role("region", name="echo asks for input")
        expect(asked.get_by_label("text", exact=True)).to_have_text("[[call]] me")
        asked.get_by_role("textbox", name="Answer as JSON").fill('"here"')
        asked.get_by_role("button", name="Send").click()
        tab.is_answered(re.compile("call.. me"))
        visitor.leave()
