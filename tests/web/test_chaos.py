"""Two browsers on one session with many faults: in the end both show what is stored."""

import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, expect

from tests.serving import Process
from tests.web.browser import Api, Tab, Visitor

STEPS = 14
PACE = ("--echo-delay", "0.02")


class Chaos:
    """A server that is killed and started again, and users who continue all the same."""

    def __init__(self, folder: Path, browser: Browser, rng: random.Random) -> None:
        self.folder = folder
        self.rng = rng
        self.server = Process(folder, *PACE)
        self.visitors = [Visitor(browser, self.server.url) for _ in range(2)]
        self.tabs = [visitor.tab().open("s") for visitor in self.visitors]
        self.sent: list[str] = []

    def step(self) -> None:
        tab = self.rng.choice(self.tabs)
        self.rng.choice(
            [self.send, self.send, self.send, self.wait, self.kill, self.offline, self.stop]
        )(tab)

    def send(self, tab: Tab) -> None:
        words = " ".join(f"w{index}" for index in range(self.rng.randrange(3, 60)))
        self.sent.append(f"message {len(self.sent)}: {words}")
        tab.say(self.sent[-1])

    def wait(self, tab: Tab) -> None:
        tab.page.wait_for_timeout(self.rng.randrange(50, 800))

    def kill(self, tab: Tab) -> None:
        self.server.kill()
        tab.page.wait_for_timeout(self.rng.randrange(1000))
        port = self.server.url.rpartition(":")[2]
        self.server = Process(self.folder, *PACE, "--port", port)

    def offline(self, tab: Tab) -> None:
        tab.page.context.set_offline(True)
        tab.page.wait_for_timeout(self.rng.randrange(100, 1500))
        if self.rng.random() < 0.5:
            tab.page.context.set_offline(False)
            tab.page.reload()
        tab.page.context.set_offline(False)

    def stop(self, tab: Tab) -> None:
        with suppress(Error):  # the answer may already have ended
            tab.stop.click(timeout=500)

    def settle(self, api: Api) -> None:
        for tab in self.tabs:
            expect(tab.connection).to_have_text("Connected")
            expect(tab.page.get_by_label("You said, not sent yet")).to_have_count(0)
        deadline = time.monotonic() + 60
        while api.http.get("/sessions/s").json().get("status", "idle") != "idle":
            assert time.monotonic() < deadline, "something is stuck"
            time.sleep(0.1)


@pytest.mark.timeout(1200)
def test_after_any_faults_both_browsers_show_what_is_stored(
    browser: Browser, tmp_path: Path, thorough: int
) -> None:
    for round in range(thorough):
        seed = random.randrange(1_000_000)
        print(f"seed {seed}")
        folder = tmp_path / str(round)
        folder.mkdir()
        chaos = Chaos(folder, browser, random.Random(seed))
        api = Api(chaos.server.url)
        with api.http:
            for _ in range(STEPS):
                chaos.step()
            chaos.settle(api)
            stored = api.messages("s") if chaos.sent else []
        said = [message["content"] for message in stored if message["role"] == "user"]
        assert sorted(said) == sorted(chaos.sent), "each message is there exactly once"
        wanted = {message["id"]: message["content"].strip() for message in stored}
        for tab in chaos.tabs:
            tab.page.set_viewport_size({"width": 1200, "height": 8000})
            expect(tab.articles).to_have_count(len(wanted))
            shown = tab.page.eval_on_selector_all(
                "article",
                "all => all.map((a) => [a.dataset.id, "
                "(a.querySelector('.markdown, .plain')?.innerText ?? '').trim()])",
            )
            assert dict(shown) == wanted
        chaos.server.kill()
        for visitor in chaos.visitors:
            visitor.leave()
