"""Measures the web client in Chromium: how soon it is usable, what it loads, whether it stutters.

    uv run python -m bench.web [--quick]

Starts its own server with a temporary file and prints tables in Markdown. Times are milliseconds
from the start of the navigation, or of a frame; sizes are bytes as sent, in kB.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page, expect

from tests.serving import Process
from tests.web.browser import Api, Tab, Visitor, chromium

# About 20 kB of Markdown, as a model writes it.
ANSWER = "\n\n".join(
    f"## Part {part}\n\nSome **words** about `part {part}`, in a [link](https://example.org/{part})"
    f" and a list:\n\n- one\n- two\n- three\n\n```python\ndef part_{part}(x: int) -> int:\n"
    f"    return x * {part}\n```\n\n" + "And a paragraph that goes on for a while. " * 4
    for part in range(50)
)

# When the web client is usable: the user can write, messages are shown, updates are connected.
_WATCH = """
window.soon = {};
new MutationObserver(() => {
    const now = performance.now();
    if (document.querySelector('textarea')) soon.writable ??= now;
    if (document.querySelector('article')) soon.shown ??= now;
    if (document.querySelector('.connection.open')) soon.connected ??= now;
}).observe(document, {childList: true, subtree: true, attributes: true});
"""
_FRAMES = """() => {
    window.frames_ = []; window.long_ = [];
    let last = performance.now();
    const frame = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    new PerformanceObserver((list) => long_.push(...list.getEntries().map((e) => e.duration)))
        .observe({type: 'longtask'});
}"""


class Line(NamedTuple):
    """A network and a processor that Chromium emulates."""

    name: str
    slower: int = 1  # times, than this processor
    kbit: int = 0  # a second, down; 0 is as fast as loopback
    latency: int = 0  # milliseconds


LINES = [
    Line("this machine"),
    Line("4 times slower, 10 Mbit/s, 40 ms", 4, 10_000, 40),
    Line("4 times slower, 1.6 Mbit/s, 150 ms", 4, 1_600, 150),
]


def pretend(page: Page, line: Line) -> None:
    client = page.context.new_cdp_session(page)
    client.send("Emulation.setCPUThrottlingRate", {"rate": line.slower})
    if line.kbit:
        per_second = line.kbit * 1000 // 8
        client.send("Network.enable")
        client.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": line.latency,
                "downloadThroughput": per_second,
                "uploadThroughput": per_second // 2,
            },
        )


def visited(tab: Tab, again: bool) -> dict[str, float]:
    if again:
        tab.page.reload()
    else:
        tab.open("talk", connected=False)
    tab.page.wait_for_function("() => soon.writable && soon.shown && soon.connected")
    found: dict[str, float] = tab.page.evaluate("soon")
    return found


def usable(browser: Browser, url: str, lines: list[Line], rounds: int) -> None:
    print("| | first visit: writable | messages shown | connected | again: writable | shown |")
    print("|---|---|---|---|---|---|")
    for line in lines:
        first: list[dict[str, float]] = []
        again: list[dict[str, float]] = []
        for _ in range(rounds):
            visitor = Visitor(browser, url)
            visitor.context.add_init_script(_WATCH)
            tab = visitor.tab()
            pretend(tab.page, line)
            first.append(visited(tab, again=False))
            again.append(visited(tab, again=True))
            visitor.leave()
        cells = [spread(first, name) for name in ("writable", "shown", "connected")]
        cells += [spread(again, name) for name in ("writable", "shown")]
        print(f"| {line.name} | {' | '.join(cells)} |")


def spread(times: list[dict[str, float]], name: str) -> str:
    values = sorted(time[name] for time in times)
    return f"{statistics.median(values):.0f} ({values[0]:.0f} to {values[-1]:.0f})"


def sizes(browser: Browser, url: str) -> None:
    """What a visit to a session with code loads."""
    visitor = Visitor(browser, url)
    tab = visitor.tab().open("talk")
    expect(tab.page.locator(".hljs-keyword").first).to_be_visible()
    found: list[dict[str, Any]] = tab.page.evaluate(
        """() => [...performance.getEntriesByType('navigation'),
                  ...performance.getEntriesByType('resource')].map((e) => (
            {name: new URL(e.name).pathname, sent: e.encodedBodySize, size: e.decodedBodySize}))"""
    )
    print("\n| what | sent | unpacked |\n|---|---|---|")
    files = [file for file in found if file["name"] == "/" or file["name"].startswith("/assets")]
    for file in files:
        print(f"| `{file['name']}` | {kb(file['sent'])} | {kb(file['size'])} |")
    print(f"| all | {kb(sum(f['sent'] for f in files))} | {kb(sum(f['size'] for f in files))} |")
    visitor.leave()


def kb(size: int) -> str:
    return f"{size / 1000:.1f}"


def smoothness(browser: Browser, url: str, slower: int, rounds: int, messages: int) -> None:
    suffix = "" if slower == 1 else f", {slower} times slower"
    for _ in range(rounds):
        scrolled(browser, url, slower, messages, suffix)
    for _ in range(rounds):
        streamed(browser, url, slower, f"an answer of {len(ANSWER) // 1000} kB{suffix}")


def scrolled(browser: Browser, url: str, slower: int, messages: int, suffix: str) -> None:
    visitor = Visitor(browser, url)
    tab = visitor.tab().open("long")
    expect(tab.page.get_by_text(f"message {messages}", exact=True)).to_be_in_viewport()
    pretend(tab.page, Line("", slower))
    tab.page.mouse.move(700, 400)
    tab.page.evaluate(_FRAMES)
    while tab.page.locator('[data-id="m1"]').count() == 0:
        for _ in range(10):
            tab.page.mouse.wheel(0, -600)
    report(tab.page, f"{messages:,} messages, to their start{suffix}")
    visitor.leave()


def streamed(browser: Browser, url: str, slower: int, what: str) -> None:
    visitor = Visitor(browser, url)
    tab = visitor.tab().open()
    tab.composer.fill(ANSWER)
    pretend(tab.page, Line("", slower))
    tab.page.evaluate(_FRAMES)
    tab.composer.press("Enter")
    expect(tab.answers.last.get_by_role("button", name="Answer again")).to_be_visible(
        timeout=120_000
    )
    report(tab.page, what)
    visitor.leave()


def report(page: Page, what: str) -> None:
    frames = sorted(page.evaluate("frames_"))
    tasks = page.evaluate("long_")
    p99 = frames[int(len(frames) * 0.99)]
    print(
        f"| {what} | {len(frames)} | {statistics.median(frames):.0f} | {p99:.0f} | {frames[-1]:.0f} "
        f"| {len(tasks)} | {max(tasks, default=0):.0f} | {sum(frames) / 1000:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a little of each")
    quick = parser.parse_args().quick
    messages = 300 if quick else 5_000
    with (
        tempfile.TemporaryDirectory() as folder,
        Process(Path(folder), "--echo-delay", "0.002") as server,
        chromium() as browser,
    ):
        api = Api(server.url)
        with api.http:
            api.fill("long", messages)
            api.fill("talk", 50)
        usable(browser, server.url, LINES[:1] if quick else LINES, 1 if quick else 9)
        sizes(browser, server.url)
        print("\n| | frames | p50 | p99 | longest | tasks over 50 ms | longest task | seconds |")
        print("|---|---|---|---|---|---|---|---|")
        for slower in (1,) if quick else (1, 4):
            smoothness(browser, server.url, slower, 1 if quick else 3, messages)


if __name__ == "__main__":
    main()
