"""The list of sessions: what it shows of other sessions, and the actions in it."""

import re

from playwright.sync_api import expect

from tests.serving import LONG
from tests.web.browser import Api, Release, Tab, Visit


def test_the_list_shows_titles_running_turns_and_new_answers(
    tab: Tab, api: Api, release: Release
) -> None:
    api.send("old", "an old question")
    tab.open("here")
    expect(tab.session("an old question")).not_to_have_class(re.compile("unread"))
    # Another client sends a message to another session.
    with api.http.stream("POST", "/chat/other", json={"content": f"word0 [[hold]] {LONG[:200]}"}):
        expect(tab.session("word0")).to_contain_text("running")
        assert tab.page.title() == "Sessile"
        release()
    expect(tab.session("word0")).to_contain_text("new")
    expect(tab.page).to_have_title("(1) Sessile")
    # Reading it removes the mark, also in the other tabs of this browser.
    tab.session("word0").get_by_role("link").click()
    tab.is_answered("word1")
    expect(tab.session("word0")).not_to_contain_text("new")
    expect(tab.page).to_have_title(re.compile("^word0"))
    tab.page.reload()
    expect(tab.connection).to_have_text("Connected")
    expect(tab.session("word0")).not_to_contain_text("new")


def test_an_answer_that_ends_while_another_session_is_open_is_marked(
    visit: Visit, release: Release
) -> None:
    visitor = visit()
    tab = visitor.tab().open("one")
    tab.say(f"word0 [[hold]] {LONG[:200]}")
    expect(tab.answers.last).to_contain_text("word1 ")
    tab.button("New chat").click()
    expect(tab.page.get_by_role("heading", name="New chat")).to_be_visible()
    expect(tab.session("word0")).to_contain_text("running")
    release()
    expect(tab.session("word0")).to_contain_text("new")


def test_titles_and_messages_are_searched(tab: Tab, api: Api) -> None:
    api.send("one", "apples and pears")
    api.send("two", "a longer talk")
    api.send("two", "which mentions an <b>Übergröße</b> late")
    tab.open()
    expect(tab.sidebar.locator("li.session")).to_have_count(2)
    tab.page.keyboard.press("Control+k")
    search = tab.page.get_by_role("searchbox")
    expect(search).to_be_focused()
    search.fill("pears")
    expect(tab.sidebar.locator("li.session")).to_have_count(1)
    search.fill("ubergroße mentions")
    found = tab.page.get_by_role("region", name="Matching messages")
    expect(found.get_by_role("link").first).to_contain_text("a longer talk")
    expect(found.locator("mark").first).to_have_text(re.compile("mentions|Übergröße"))
    search.press("ArrowDown")
    expect(found.get_by_role("link").first).to_be_focused()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".message.marked")).to_contain_text("Übergröße")
    search.fill("")
    expect(tab.sidebar.locator("li.session")).to_have_count(2)


def test_a_link_to_a_message_far_back_scrolls_to_it(tab: Tab, api: Api) -> None:
    api.fill("long", 1000)
    tab.open("long/m17")
    marked = tab.page.locator(".message.marked")
    expect(marked).to_contain_text("message 17")
    expect(marked).to_be_in_viewport()
    # From there, the user can scroll anywhere.
    log = tab.page.get_by_role("log")
    log.press("Home")
    expect(log).to_have_attribute("data-count", "1000")
    expect(tab.page.locator('[data-id="m1"]')).to_be_in_viewport()
    api.http.delete("/sessions/long/messages/m500")
    tab.open("long/m500")
    expect(tab.page.get_by_role("alert")).to_have_text("This message no longer exists.")


def test_a_session_is_renamed_forked_archived_and_deleted(visit: Visit, api: Api) -> None:
    api.send("s", "a question")
    api.send("s", "another question")
    tab, other = visit().tab().open("s"), visit().tab().open("s")
    tab.choose("a question", "Rename")
    dialog = tab.page.get_by_role("dialog", name="Rename")
    dialog.get_by_role("textbox").fill("Fruit & veg")
    dialog.get_by_role("button", name="Rename").click()
    for watcher in (tab, other):
        expect(watcher.page.get_by_role("heading", level=1)).to_have_text("Fruit & veg")
        expect(watcher.session("Fruit & veg")).to_have_count(1)
        expect(watcher.session("Fruit & veg")).not_to_contain_text("new")

    # A fork from a message has the messages before it.
    tab.answers.first.hover()
    tab.answers.first.get_by_role("button", name="Fork from here").click()
    expect(tab.page).not_to_have_url(re.compile("/#/s$"))
    expect(tab.articles).to_have_count(2)
    expect(tab.session("Fruit & veg")).to_have_count(2)
    fork = tab.page.url.rpartition("/")[2]
    assert [m["content"] for m in api.messages(fork)] == ["a question", "a question"]

    tab.open("s")
    current = tab.sidebar.locator("li.session.current")
    tab.choose(current, "Archive")
    expect(tab.session("Fruit & veg")).to_have_count(1)
    tab.button("Archive").click()
    expect(tab.session("Fruit & veg")).to_have_count(1)
    assert api.http.get("/sessions/s").json()["archived"] is True
    tab.choose("Fruit & veg", "Unarchive")
    expect(tab.sidebar).to_contain_text("No archived sessions.")
    tab.button("Archive").click()

    # Deleting asks for confirmation; other tabs with the session see that it is gone.
    tab.choose(current, "Delete")
    tab.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert api.http.get("/sessions/s").status_code == 200
    tab.choose(current, "Delete")
    tab.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("New chat")
    expect(tab.session("Fruit & veg")).to_have_count(1)
    expect(other.articles).to_have_count(0)
    expect(other.page.get_by_role("heading", level=1)).to_have_text("New chat")
    assert api.http.get("/sessions/s").status_code == 404


def test_an_export_is_a_file(tab: Tab, api: Api) -> None:
    api.send("s", "a question")
    tab.open("s")
    with tab.page.expect_download() as download:
        tab.choose("a question", "Export as Markdown")
    assert download.value.path().read_text().startswith("# a question\n")


def test_more_sessions_than_fit_on_a_page(tab: Tab, api: Api) -> None:
    for number in range(120):
        assert api.http.post("/sessions", json={"title": f"session {number}"}).status_code == 201
    tab.open()
    items = tab.sidebar.locator("li.session")
    expect(items).to_have_count(50)
    tab.button("Show more").click()
    expect(items).to_have_count(100)
    tab.button("Show more").click()
    expect(items).to_have_count(120)
    expect(tab.button("Show more")).to_have_count(0)
    # They stay when the list is refreshed.
    with tab.page.expect_response(re.compile(r"/sessions\?")):
        pass
    expect(items).to_have_count(120)
    expect(items.first).to_contain_text("session 119")


def test_everything_can_be_reached_with_the_keyboard(tab: Tab, api: Api) -> None:
    for name in ("one", "two", "three"):
        api.send(name, f"question {name}")
    tab.open("three")
    tab.is_answered("question three")
    tab.page.keyboard.press("Alt+ArrowDown")
    tab.is_answered("question two")
    tab.page.keyboard.press("Alt+ArrowUp")
    tab.is_answered("question three")
    tab.page.keyboard.press("Control+Shift+o")
    expect(tab.page.get_by_role("heading", name="New chat")).to_be_visible()
    expect(tab.composer).to_be_focused()
    tab.page.keyboard.press("Control+/")
    dialog = tab.page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    # Shift+Enter starts a new line, and the arrow keys move in a menu.
    tab.composer.press("a")
    tab.composer.press("Shift+Enter")
    tab.composer.press("b")
    expect(tab.composer).to_have_value("a\nb")
    tab.composer.fill("")
    item = tab.session("question one")
    item.get_by_role("link").focus()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    expect(item.get_by_role("menuitem", name="Rename")).to_be_focused()
    tab.page.keyboard.press("ArrowDown")
    expect(item.get_by_role("menuitem", name="Fork")).to_be_focused()
    tab.page.keyboard.press("ArrowUp")
    tab.page.keyboard.press("ArrowUp")
    expect(item.get_by_role("menuitem", name="Delete")).to_be_focused()
    tab.page.keyboard.press("Escape")
    expect(item.get_by_role("button")).to_be_focused()
