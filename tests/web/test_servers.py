"""Several servers at one address: what the browser stores belongs to only one of them."""

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.serving import Process
from tests.web.browser import Api, Tab, Visit, Visitor

Serve = Callable[[str], Process]
UNSENT = "You said, not sent yet"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server with a store of its own, always on the same port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    with ExitStack() as stack:

        def serve(name: str) -> Process:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            return stack.enter_context(Process(folder, "--port", port))

        yield serve


def contents(server: Process) -> list[str]:
    api = Api(server.url)
    with api.http:
        sessions = [session["id"] for session in api.http.get("/sessions").json()]
        return [message["content"] for id in sessions for message in api.messages(id)]


def test_a_message_for_one_server_is_not_sent_to_another(browser: Browser, serve: Serve) -> None:
    first = serve("first")
    visitor = Visitor(browser, first.url)
    tab = visitor.tab().open("s")
    tab.say("hello")
    tab.is_answered("hello")
    first.kill()
    expect(tab.connection).to_have_text("Reconnecting…")
    tab.say("only for the first")
    expect(tab.page.get_by_label(UNSENT)).to_contain_text("only for the first")
    tab.composer.fill("a draft for the first")

    second = serve("second")
    expect(tab.sidebar).to_contain_text("No sessions yet.")
    expect(tab.connection).to_have_text("Connected")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("New chat")
    expect(tab.composer).to_have_value("")
    # The same session on the other server has neither the message nor the draft.
    tab.open("s")
    expect(tab.composer).to_have_value("")
    expect(tab.articles).to_have_count(0)
    tab.say("for the second")
    tab.is_answered("for the second")
    tab.page.wait_for_timeout(2_000)
    assert contents(second) == ["for the second"] * 2
    second.kill()

    again = serve("first")
    expect(tab.session("hello")).to_have_count(1)
    tab.open("s")
    tab.is_answered("only for the first")
    expect(tab.composer).to_have_value("a draft for the first")
    assert contents(again) == ["hello"] * 2 + ["only for the first"] * 2
    visitor.leave()


def test_a_kept_message_is_not_sent_after_a_reload_on_another_server(
    browser: Browser, serve: Serve
) -> None:
    first = serve("first")
    visitor = Visitor(browser, first.url)
    tab = visitor.tab().open("s")
    first.kill()
    tab.say("only for the first")
    expect(tab.page.get_by_label(UNSENT)).to_contain_text("only for the first")
    tab.page.goto("about:blank")
    second = serve("second")
    tab.open("s")
    tab.page.wait_for_timeout(2_000)
    assert contents(second) == []
    tab.page.goto("about:blank")
    second.kill()
    again = serve("first")
    tab.open()
    expect(tab.session("only for the first")).to_have_count(1)
    assert contents(again)[0] == "only for the first"
    visitor.leave()


def test_an_action_for_a_server_that_is_gone_is_not_done_on_another_server(
    browser: Browser, serve: Serve
) -> None:
    """Sessions of two servers may have the same id."""
    first = serve("first")
    visitor = Visitor(browser, first.url)
    tab = visitor.tab().open("s")
    tab.say("hello")
    tab.is_answered("hello")
    tab.choose("hello", "Delete")
    first.kill()
    expect(tab.connection).to_have_text("Reconnecting…")
    # The tab does not notice the other server until the user does something.
    tab.page.evaluate("() => { window.setTimeout = () => 0; }")
    tab.page.wait_for_timeout(8_000)
    second = serve("second")
    api = Api(second.url)
    with api.http:
        api.send("s", "hello to the second")
    tab.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("New chat")
    expect(tab.session("hello to the second")).to_have_count(1)
    assert len(contents(second)) == 2
    visitor.leave()


def test_nothing_is_sent_before_the_server_has_identified_itself(tab: Tab, api: Api) -> None:
    api.send("s", "hello")
    held: list[Route] = []
    tab.page.route("**/info", lambda route: held.append(route))
    tab.open("s")
    tab.is_answered("hello")
    expect(tab.composer).to_be_disabled()
    assert held
    for route in held:
        route.continue_()
    tab.page.unroute("**/info")
    expect(tab.composer).to_be_focused()
    tab.say("second")
    tab.is_answered("second")


def test_nothing_is_sent_to_a_server_that_is_not_sessile(tab: Tab, api: Api) -> None:
    """For example, a proxy that answers while the server is away."""
    tab.open("s").say("hello")
    tab.is_answered("hello")
    tab.page.route("**/info", lambda route: route.fulfill(body="<h1>Welcome to the hotel</h1>"))
    tab.say("second")
    unsent = tab.page.get_by_label(UNSENT)
    expect(unsent).to_contain_text("Sending…")
    tab.page.wait_for_timeout(1_000)
    assert len(api.messages("s")) == 2
    tab.page.unroute("**/info")
    tab.is_answered("second")
    expect(unsent).to_have_count(0)


@contextmanager
def cutting(body: bytes) -> Iterator[str]:
    """A server at this address whose answers end in their middle, after ``body``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        connection.sendall(head + b"Content-Length: 1000\r\n\r\n" + body)

        thread = Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("cut", [True, False])
def test_an_answer_that_cannot_be_read_is_none(tab: Tab, api: Api, cut: bool) -> None:
    """Neither one whose connection was cut in its middle nor the page of a proxy."""
    tab.open("s").say("hello")
    tab.is_answered("hello")
    expect(tab.session("hello")).to_have_count(1)
    answered: list[Route] = []
    with cutting(b'[{"id": "s"') as elsewhere:

        def answer(route: Route) -> None:
            answered.append(route)
            if cut:
                route.continue_(url=elsewhere)
            else:
                route.fulfill(body="<h1>Welcome to the hotel</h1>")

        tab.page.route(re.compile("/sessions([?/]|$)"), answer)
        tab.choose("hello", "Rename")
        tab.page.get_by_role("textbox", name="Title").fill("Renamed")
        tab.page.keyboard.press("Enter")
        expect(tab.page.get_by_role("alert")).to_have_text("The server does not answer.")
        api.send("t", "from elsewhere")
        tab.page.wait_for_timeout(2_500)
        assert len(answered) > 1
        tab.page.unroute_all()
    tab.page.evaluate("dispatchEvent(new Event('online'))")  # do not wait for the next attempt
    expect(tab.session("from elsewhere")).to_have_count(1)
    expect(tab.session("hello")).to_have_count(1)


def test_messages_kept_without_the_name_of_a_server_are_dropped(visit: Visit, api: Api) -> None:
    visitor = visit()
    visitor.context.add_init_script(
        """if (location.protocol === 'http:' && !localStorage.getItem('planted')) {
            const message = {id: 'm', parts: [{type: 'text', content: 'from before'}]};
            localStorage.setItem('planted', 'yes');
            localStorage.setItem('sessile.outbox.s', JSON.stringify([message]));
            localStorage.setItem('sessile.draft.s', '"a draft"');
            localStorage.setItem('sessile.seen', '{"since":0,"sessions":{"s":1}}');
            localStorage.setItem('sessile.theme', '"dark"');
        }"""
    )
    tab = visitor.tab().open("s")
    expect(tab.composer).to_be_focused()
    expect(tab.composer).to_have_value("")
    expect(tab.button("Colours: dark")).to_be_visible()
    tab.page.wait_for_timeout(1_000)
    assert api.http.get("/sessions").json() == []
    names = tab.page.evaluate("Object.keys(localStorage)")
    assert not {"sessile.outbox.s", "sessile.draft.s", "sessile.seen"} & set(names)


def test_two_servers_under_one_origin_keep_their_data_apart(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from starlette.applications import Starlette\n"
        "from starlette.routing import Mount\n"
        "from sessile import create_app\n"
        "one, two = (create_app(store=f'sqlite:///{name}.db') for name in ('one', 'two'))\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    async with one.lifespan(app), two.lifespan(app):\n"
        "        yield\n"
        "app = Starlette(routes=[Mount('/one', one), Mount('/two', two)], lifespan=lifespan)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command: list[Any] = [sys.executable, "-m", "uvicorn", "app:app", "--log-level", "error"]
        with subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            cwd=tmp_path,
            pass_fds=[listener.fileno()],
        ) as process:
            try:
                drafts_stay_apart(Visitor(browser, f"http://127.0.0.1:{listener.getsockname()[1]}"))
            finally:
                process.terminate()


def drafts_stay_apart(visitor: Visitor) -> None:
    tab = visitor.tab()
    tab.page.goto(f"{visitor.url}/one/#/s")
    expect(tab.connection).to_have_text("Connected")  # the page knows which server it is
    tab.composer.fill("a draft")
    tab.page.goto(f"{visitor.url}/two/#/s")
    expect(tab.composer).to_be_focused()
    expect(tab.composer).to_have_value("")
    tab.page.goto(f"{visitor.url}/one/#/s")
    expect(tab.composer).to_have_value("a draft")
    visitor.leave()
