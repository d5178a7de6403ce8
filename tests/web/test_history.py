"""A long session: scrolling back to its start, and keeping the reader's position."""

import re
from typing import Any

from playwright.sync_api import expect

from tests.serving import LONG
from tests.web.browser import Api, Release, Tab, Visit, filling

COUNT = 2_000

# What a frame shows: the messages in sight with their distance from the top in pixels, whether the
# end is in sight, and how many messages the page has. The browser measures this when it paints:
# between frames, new rows are placed by their estimated heights, which no user sees.
LOOK = """() => new Promise((done) => {
    const scroller = document.querySelector('.scroller');
    const seen = new Map();
    const watcher = new IntersectionObserver((entries) => {
        for (const entry of entries) seen.set(entry.target, entry);
        watcher.disconnect();
        changes.disconnect();
        const shown = [...seen.values()].filter((entry) => entry.isIntersecting);
        const number = (entry) => Number(entry.target.dataset.id.slice(1));
        const numbered = shown.filter((entry) => number(entry) > 0);
        const last = [...document.querySelectorAll('article')].at(-1);
        const end = shown.find((entry) => entry.target === last);
        done({
            seen: numbered.map(number).sort((a, b) => a - b),
            tops: numbered.map((entry) => [number(entry), entry.boundingClientRect.top]),
            end: !!end && end.boundingClientRect.bottom <= end.rootBounds.bottom,
            drawn: seen.size,
        });
    }, { root: scroller });
    const watch = () => {
        for (const article of scroller.querySelectorAll('article')) watcher.observe(article);
    };
    const changes = new MutationObserver(watch);
    // The effect of a wheel event is drawn after two frames.
    requestAnimationFrame(() => requestAnimationFrame(() => {
        changes.observe(scroller, { childList: true, subtree: true });
        watch();
    }));
})"""


def look(tab: Tab) -> dict[str, Any]:
    found: dict[str, Any] = tab.page.evaluate(LOOK)
    return found


def test_thousands_of_messages_can_be_scrolled_to_the_start(visit: Visit, api: Api) -> None:
    api.fill("long", COUNT)
    tab = visit(size=(1200, 2400)).tab().open("long")
    expect(tab.page.get_by_text(f"message {COUNT}", exact=True)).to_be_in_viewport()
    before = look(tab)
    assert before["seen"][-1] == COUNT
    tab.page.mouse.move(700, 400)
    drawn = read = 0
    while before["seen"][0] > 1:
        tab.page.mouse.wheel(0, -1800)
        now = look(tab)
        # The messages in sight have no gaps and continue the previous ones: nothing jumps.
        first, last = now["seen"][0], now["seen"][-1]
        assert now["seen"] == list(range(first, last + 1))
        assert first <= before["seen"][0]
        assert last >= before["seen"][0] - 1, f"{last} to {before['seen'][0]} was jumped over"
        drawn = max(drawn, now["drawn"])
        before = now
        read += 1
        assert read < 10_000
    assert drawn < 120, "messages out of sight are on the page"
    expect(tab.button("Load earlier messages")).to_have_count(0)
    expect(tab.page.locator('[data-id="m1"]')).to_be_in_viewport()
    expect(tab.page.get_by_role("log")).to_have_attribute("data-count", str(COUNT))
    tab.button("To the newest message").click()
    expect(tab.page.get_by_text(f"message {COUNT}", exact=True)).to_be_in_viewport()


def test_a_button_loads_earlier_messages(tab: Tab, api: Api) -> None:
    api.fill("long", 300)
    tab.open("long")
    log = tab.page.get_by_role("log")
    expect(log).to_have_attribute("data-count", "50")
    log.press("Home")
    expect(log).to_have_attribute("data-count", "150")
    tab.button("Load earlier messages").press("Enter")
    expect(log).to_have_attribute("data-count", "250")


def test_a_reader_further_up_is_not_scrolled_down(tab: Tab, api: Api, release: Release) -> None:
    api.fill("s", 60)
    tab.open("s").say(f"[[hold]] {LONG[:900]}")
    expect(tab.answers.last).to_contain_text("word1 ")
    # At the end, new text stays in sight.
    expect(tab.answers.last).to_contain_text(re.compile("word4[0-9]"))
    assert look(tab)["end"]
    tab.page.mouse.move(700, 400)
    tab.page.mouse.wheel(0, -1500)
    before = dict(look(tab)["tops"])
    with tab.page.expect_response(re.compile(r"/sessions\?")):
        pass
    now = look(tab)
    assert dict(now["tops"]) == before
    assert not now["end"]
    tab.button("To the newest message").click()
    release()
    tab.is_answered(LONG[:900].split()[-1])
    assert look(tab)["end"]


def test_an_open_tool_block_stays_open_while_it_is_out_of_sight(tab: Tab, api: Api) -> None:
    api.send("s", "[[tool]] first")
    for number in range(30):
        api.store("s", "assistant", {"type": "text", "content": filling(number + 1)})
    tab.open("s")
    log = tab.page.get_by_role("log")
    expect(tab.articles.last).to_be_in_viewport()
    log.press("Home")
    block = tab.page.locator("details.tool")
    block.locator("summary").click()
    expect(block.get_by_label("Output")).to_be_visible()
    log.press("End")
    expect(block).to_have_count(0)
    log.press("Home")
    expect(block.get_by_label("Output")).to_be_visible()


def test_a_tab_catches_up_after_a_long_absence(visit: Visit, api: Api) -> None:
    """More happens than is kept as single events, and a message in sight changes."""
    tab = visit().tab()
    api.fill("s", 40)
    tab.open("s")
    tab.page.context.set_offline(True)
    expect(tab.connection).to_have_text("Offline")
    for number in range(41, 90):
        api.store("s", "user", {"type": "text", "content": f"message {number}"}, id=f"m{number}")
    changed = {"parts": [{"type": "text", "content": "message 40, changed"}]}
    assert api.http.patch("/sessions/s/messages/m40", json=changed).status_code == 200
    assert api.http.delete("/sessions/s/messages/m50").status_code == 204
    tab.page.context.set_offline(False)
    expect(tab.connection).to_have_text("Connected")
    expect(tab.page.get_by_role("log")).to_have_attribute("data-count", "88")
    expect(tab.page.get_by_text("message 89", exact=True)).to_be_in_viewport()
    tab.page.mouse.move(700, 400)
    texts: list[str] = []
    while "m39" not in texts:
        tab.page.mouse.wheel(0, -300)
        look(tab)
        texts += tab.page.eval_on_selector_all("article", "all => all.map(a => a.dataset.id)")
    assert "m50" not in texts
    expect(tab.page.locator('[data-id="m40"]')).to_contain_text("message 40, changed")


def test_a_session_that_was_deleted_and_created_again_is_shown_as_it_is(
    visit: Visit, api: Api
) -> None:
    tab = visit().tab()
    for text in ("one", "two", "three"):
        api.send("s", text)
    tab.open("s")
    expect(tab.articles).to_have_count(6)
    tab.page.context.set_offline(True)
    expect(tab.connection).to_have_text("Offline")
    assert api.http.delete("/sessions/s").status_code == 204
    api.send("s", "another life")
    tab.page.context.set_offline(False)
    tab.is_answered("another life")
    expect(tab.articles).to_have_count(2)
