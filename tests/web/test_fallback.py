"""Networks: proxies that let no WebSocket through or move the server, and browsers that call it offline."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Response, expect

from tests.serving import LONG, Process
from tests.web.browser import Api, Tab, Visitor
from tests.web.proxy import Proxy, proxied
from tests.web.test_chat import wait_for_words, words


@pytest.fixture
def proxy(server: Process) -> Iterator[Proxy]:
    with proxied(server.url) as proxy:
        yield proxy


@pytest.fixture
def tab(browser: Browser, proxy: Proxy) -> Iterator[Tab]:
    visitor = Visitor(browser, proxy.url)
    yield visitor.tab()
    visitor.leave()


def test_a_session_is_live_whatever_a_websocket_is_answered(
    browser: Browser, api: Api, proxy: Proxy
) -> None:
    api.send("s", "hello")
    visitor = Visitor(browser, proxy.url)
    for websocket in ("426", "200", "strip", "hang"):
        proxy.websocket = websocket
        tab = visitor.tab().open("s")
        api.send("s", f"live with {websocket}")
        tab.is_answered(f"live with {websocket}")
        tab.page.close()
    # Or the browser has none.
    visitor.context.add_init_script("delete window.WebSocket")
    visitor.tab().open("s").is_answered("live with hang")
    visitor.leave()


def test_everything_works_without_a_websocket(tab: Tab, api: Api, proxy: Proxy) -> None:
    proxy.websocket = "400"
    tab.open().say("first")
    tab.is_answered("first")
    session = tab.page.url.rpartition("/")[2]
    tab.say(LONG[:2400])
    wait_for_words(tab, 3)
    tab.say("queued")
    expect(tab.page.get_by_label("Queued messages")).to_contain_text("queued")
    tab.stop.click()
    tab.is_answered("queued")
    tab.say("[[ask]] please")
    asked = tab.page.get_by_role("region", name="echo asks")
    asked.get_by_role("button", name="Allow", exact=True).click()
    tab.is_answered("please")
    api.store(session, "system", {"type": "text", "content": "a note"})
    expect(tab.page.get_by_role("article", name="System")).to_contain_text("a note")
    tab.answers.last.get_by_role("button", name="Answer again").click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Answer again").click()
    asked.get_by_role("button", name="Deny", exact=True).click()
    expect(tab.page.get_by_role("article", name="System")).to_have_count(0)
    assert api.http.delete(f"/sessions/{session}").status_code == 204
    expect(tab.articles).to_have_count(0)
    # A WebSocket is not tried for each session.
    assert len([path for path in proxy.asked if "/websocket" in path]) < 4


def test_a_switch_between_the_two_loses_and_repeats_nothing(tab: Tab, proxy: Proxy) -> None:
    proxy.websocket = "404"
    tab.open("s").say(LONG[:2400])
    shown = wait_for_words(tab, 3)
    for websocket in ("pass", "502"):
        proxy.websocket = websocket
        proxy.asked.clear()
        if websocket == "pass":
            # The stream goes on until a WebSocket has opened.
            with tab.page.expect_websocket():
                tab.page.evaluate("dispatchEvent(new Event('online'))")
        else:
            proxy.cut()
        shown = wait_for_words(tab, shown + 20)
        expect(tab.connection).to_have_text("Connected")
    assert any("/events?after=" in path for path in proxy.asked)
    tab.stop.click()
    expect(tab.answers.first).to_contain_text("Stopped")
    words(tab.answers.first.locator(".markdown").inner_text())


def test_the_page_says_it_if_neither_gets_through(tab: Tab, api: Api, proxy: Proxy) -> None:
    api.send("s", "hello")
    proxy.websocket, proxy.streams = "502", False
    tab.open("s", connected=False)
    expect(tab.connection).to_have_text("No live updates get through")
    proxy.streams = True
    tab.button("Now").click()
    expect(tab.connection).to_have_text("Connected")
    tab.is_answered("hello")


def requests_refused(tab: Tab) -> list[str]:
    """The URLs of the requests from here on that are answered with an error."""
    refused: list[str] = []

    def look(response: Response) -> None:
        if response.status >= 400:
            refused.append(response.url)

    tab.page.on("response", look)
    return refused


def test_the_page_works_under_a_path_that_a_proxy_takes_off(
    browser: Browser, server: Process, api: Api
) -> None:
    api.send("s", "```python\nif x: pass\n```")
    with proxied(server.url, "/team/app") as proxy:
        visitor = Visitor(browser, proxy.url)
        for websocket in ("pass", "404"):
            proxy.websocket = websocket
            tab = visitor.tab()
            refused = requests_refused(tab)
            tab.open("s")
            expect(tab.answers.first.locator(".hljs-keyword")).to_have_text(["if", "pass"])
            tab.say(f"under it, {websocket}")
            tab.is_answered(f"under it, {websocket}")
            menu = tab.page.get_by_role("main").get_by_role("button", name="Menu for")
            menu.click()
            with tab.page.expect_download() as download:
                tab.page.get_by_role("menuitem", name="Export as Markdown").last.click()
            assert f"under it, {websocket}" in download.value.path().read_text()
            assert refused == []
            tab.page.close()
        visitor.leave()
        assert all(path.startswith("/team/app/") for path in proxy.asked)


def test_a_browser_that_calls_itself_offline_is_not_believed(tab: Tab, api: Api) -> None:
    """A server on the same machine answers without any network."""
    api.send("s", "hello")
    api.send("t", "another session")
    tab.open("s")
    tab.is_answered("hello")
    tab.page.evaluate(
        "() => { Object.defineProperty(Navigator.prototype, 'onLine', {get: () => false});"
        " dispatchEvent(new Event('offline')) }"
    )
    tab.say("still there?")
    tab.is_answered("still there?")
    expect(tab.connection).to_have_text("Connected")
    tab.open("t")
    tab.is_answered("another session")
    tab.say("and here?")
    tab.is_answered("and here?")


def test_a_tab_that_nobody_sees_holds_no_stream(tab: Tab, api: Api, proxy: Proxy) -> None:
    """Browsers open few of them to one server."""
    proxy.websocket = "502"
    tab.open("s").say("hello")
    tab.is_answered("hello")
    look = (
        "(state) => { Object.defineProperty(document, 'visibilityState',"
        " {configurable: true, get: () => state});"
        " document.dispatchEvent(new Event('visibilitychange')) }"
    )
    with tab.page.expect_event("requestfailed", lambda request: "/events" in request.url):
        tab.page.evaluate(look, "hidden")
    api.send("s", "meanwhile")
    tab.page.evaluate(look, "visible")
    tab.is_answered("meanwhile")
    expect(tab.articles).to_have_count(4)
