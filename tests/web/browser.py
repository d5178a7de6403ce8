"""Real Chromium with the web interface of a real server, as a user sees it."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

# Chromium makes network requests of its own, which the tests do not need.
_FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
]

DESKTOP = (1200, 800)
PHONE = (390, 780)
PATIENCE = 15_000  # milliseconds


@contextmanager
def chromium() -> Iterator[Browser]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*_FLAGS, *sandbox]
        )
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab with the web interface, and what a user sees and does in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []  # errors, dialogs and windows, none of which may happen
        self.elsewhere: list[str] = []  # requests to other servers
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._heard)
        page.on("dialog", lambda dialog: self.faults.append(f"a dialog: {dialog.message}"))
        page.on("popup", lambda popup: self.faults.append(f"a window: {popup.url}"))
        page.on("request", self._asked)

    def open(self, session: str = "", *, connected: bool = True) -> "Tab":
        self.page.goto(f"{self.url}/#/{session}")
        if connected:
            expect(self.connection).to_have_text("Connected")
        return self

    def say(self, text: str) -> None:
        self.composer.fill(text)
        self.composer.press("Enter")

    # What is on the page ------------------------------------------------------------------------

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def connection(self) -> Locator:
        return self.page.locator(".connection span")

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("article", name="Answer")

    @property
    def sent(self) -> Locator:
        return self.page.get_by_role("article", name="You said", exact=True)

    @property
    def articles(self) -> Locator:
        return self.page.get_by_role("article")

    @property
    def sidebar(self) -> Locator:
        return self.page.get_by_role("navigation", name="Sessions")

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop the answer")

    def session(self, title: str) -> Locator:
        """A session in the list."""
        return self.sidebar.locator("li.session").filter(has_text=title)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def choose(self, session: str | Locator, what: str) -> None:
        """Choose an entry of the menu of a session in the list."""
        item = self.session(session) if isinstance(session, str) else session
        item.hover()
        item.get_by_role("button").click()
        item.get_by_role("menuitem", name=what, exact=True).click()

    def is_answered(self, text: str | re.Pattern[str]) -> None:
        """Wait until the newest answer is complete and contains this text."""
        expect(self.answers.last).to_contain_text(text)
        expect(self.answers.last.get_by_role("button", name="Answer again")).to_be_visible()

    def _heard(self, message: Any) -> None:
        # Chromium itself reports that a server is away or that a resource does not exist.
        expected = re.match(r"Failed to load resource|WebSocket connection|.*net::", message.text)
        if message.type == "error" and not expected:
            self.faults.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.elsewhere.append(request.url)


class Visitor:
    """A user with a browser: tabs that share the storage of the browser."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        width, height = options.pop("size", DESKTOP)
        options = {"viewport": {"width": width, "height": height}} | options
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE)
        self.url = url
        self.tabs: list[Tab] = []

    def tab(self) -> Tab:
        tab = Tab(self.context.new_page(), self.url)
        self.tabs.append(tab)
        return tab

    def leave(self) -> None:
        self.context.close()
        for tab in self.tabs:
            assert tab.faults == [], tab.faults
            assert tab.elsewhere == [], tab.elsewhere


Visit = Callable[..., Visitor]
Release = Callable[[], None]


class Api:
    """The HTTP API of the server, to prepare sessions and to compare with what is stored."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=30)

    def send(self, session: str, content: str, **fields: Any) -> None:
        """Send a message and wait for its answer."""
        response = self.http.post(f"/chat/{session}", json={"content": content, **fields})
        assert response.status_code == 200, response.text

    def store(self, session: str, role: str, *parts: dict[str, Any], **fields: Any) -> None:
        body = {"role": role, "parts": parts, **fields}
        response = self.http.post(f"/sessions/{session}/messages", json=body)
        assert response.status_code == 201, response.text

    def fill(self, session: str, count: int) -> None:
        """Create a session with ``count`` messages; `message 1` is the oldest."""
        messages = [
            {
                "id": f"m{number}",
                "role": "assistant" if number % 2 == 0 else "user",
                "content": "",
                "parts": [{"type": "text", "content": filling(number)}],
                "createdAt": 1,
                "seq": number,
                "status": "complete",
            }
            for number in range(1, count + 1)
        ]
        body = {"session": {"id": session, "title": f"{count} messages"}, "messages": messages}
        assert self.http.post("/sessions/import", json=body).status_code == 201

    def messages(self, session: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(f"/chat/{session}/messages?limit=200").json()
        return found


def filling(number: int) -> str:
    """Markdown of varying length."""
    lines = [f"message {number}"] + [f"- point {point} of it" for point in range(number % 7)]
    if number % 10 == 0:
        lines += ["```python", f"def f{number}(x):", "    return x + 1", "```"]
    return "\n".join(lines)
