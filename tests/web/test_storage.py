"""The web client works where the browser keeps nothing: what was written lasts as long as the page."""

from playwright.sync_api import expect

from tests.web.browser import Api, Visit
from tests.web.test_servers import UNSENT

BLOCKED = """
for (const name of ['localStorage', 'sessionStorage', 'indexedDB', 'caches', 'cookieStore'])
    Object.defineProperty(window, name, {get() { throw new DOMException('no', 'SecurityError') }});
Object.defineProperty(document, 'cookie', {get() { throw new DOMException('no', 'SecurityError') }});
"""
FULL = """
Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') };
"""
DAMAGED = """
const getItem = Storage.prototype.getItem;
Storage.prototype.getItem = function (key) { return getItem.call(this, key) && 'null' };
"""


def test_drafts_and_unsent_messages_outlast_other_sessions(visit: Visit, api: Api) -> None:
    for number, storage in enumerate((BLOCKED, FULL)):
        session, other = f"s{number}", f"t{number}"
        for name in (session, other):
            api.send(name, f"hello {name}")
        visitor = visit()
        visitor.context.add_init_script(storage)
        tab = visitor.tab().open(session)
        tab.page.route(f"**/chat/{session}", lambda route: route.abort())
        tab.say("unsent")
        expect(tab.page.get_by_label(UNSENT)).to_contain_text("unsent")
        tab.composer.fill("a draft")
        tab.open(other)
        tab.is_answered(f"hello {other}")
        expect(tab.composer).to_have_value("")
        tab.say("more")
        tab.is_answered("more")
        tab.open(session)
        expect(tab.composer).to_have_value("a draft")
        expect(tab.page.get_by_label(UNSENT)).to_contain_text("unsent")
        tab.page.unroute_all()
        tab.page.evaluate("dispatchEvent(new Event('online'))")  # do not wait for the next attempt
        tab.is_answered("unsent")
        expect(tab.articles).to_have_count(4)
        tab.button("Colours: system").click()
        expect(tab.button("Colours: light")).to_be_visible()


def test_damaged_entries_are_no_entries(visit: Visit, api: Api) -> None:
    api.send("s", "hello")
    visitor = visit()
    tab = visitor.tab().open("s")
    tab.composer.fill("a draft")
    tab.button("Colours: system").click()
    visitor.context.add_init_script(DAMAGED)
    tab.page.reload()
    tab.is_answered("hello")
    expect(tab.composer).to_have_value("")
    expect(tab.button("Colours: system")).to_be_visible()
    tab.say("more")
    tab.is_answered("more")
