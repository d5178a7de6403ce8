"""Makes the pictures of the documentation from a real terminal and a real browser.

python -m tests.pictures
"""

import asyncio
import io
import re
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect
from rich.console import Console
from rich.text import Text

from tests import real
from tests.fake_models import FakeModels, Step, serve_in_thread
from tests.serving import Process
from tests.test_terminal import Terminal, chat
from tests.web.browser import DESKTOP, PHONE, Api, Visitor, chromium

DOCS = Path(__file__).parent.parent / "docs"

QUESTION = "What is in this folder?"
ANSWER = [
    Step("think", "They want to know what is here."),
    Step("say", "Let me look."),
    Step("call", "bash", '{"command":"ls","description":"List files"}'),
    Step(
        "say",
        "There are **two files**:\n\n1. `README.md`, which says what this is\n2. `poem.py`, which "
        "begins\n\n```python\ndef poem(lines: int = 12) -> str:\n    return verse(lines)\n```\n\n"
        "Should I write the rest of it?",
    ),
]
TESTS = "Run the tests, please"
RUNNING = [
    Step("say", "I run them."),
    Step(
        "call",
        "bash",
        '{"command":"for n in $(seq 1 12); do echo \\"test_poem.py::test_verse_$n PASSED\\"; done;'
        ' sleep 20","description":"Run the tests"}',
    ),
    Step("say", "All of them pass."),
]
WRITE = "Then write it"
ASKING = [
    Step("think", "A short verse will do."),
    Step("say", "I add a verse to `poem.py`."),
    Step("call", "write", '{"filePath":"poem.py","content":"def verse(lines): ...\\n"}'),
    Step("say", "Done."),
]


async def terminal(folder: Path, server: Process) -> None:
    """``sessile chat`` with OpenCode, as docs/terminal.svg."""
    screen = Terminal(folder)
    screen.run(*chat(server, "poems"))
    await screen.shows("›$")
    screen.type(QUESTION)
    await screen.shows(r"rest of it\?\n+›$")
    shown = screen.picture()
    screen.end()
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown.rstrip()))
    svg = console.export_svg(title="sessile chat poems")
    # The fonts would be loaded from another server.
    (DOCS / "terminal.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


def page(browser: Browser, server: Process) -> None:
    """The web interface with OpenCode, as docs/page*.png; the session "poems" exists already."""
    api = Api(server.url)
    with api.http:
        for number, title in enumerate(["Plan the release", "Why is the build slow?", "Haiku"]):
            api.store(f"s{number}", "user", {"type": "text", "content": title})
        api.http.patch("/sessions/poems", json={"title": "The poem project"})
    desktop = Visitor(
        browser, server.url, reduced_motion="reduce", size=DESKTOP, color_scheme="light"
    )
    tab = desktop.tab().open("poems")
    tab.is_answered("Should I write the rest of it?")
    tab.answers.last.locator("details.tool summary").click()
    expect(tab.answers.last.get_by_label("Output")).to_contain_text("poem.py")
    tab.page.mouse.move(1190, 400)
    tab.page.screenshot(path=DOCS / "page.png")

    tab.say(TESTS)
    expect(tab.answers).to_have_count(2)
    tool = tab.answers.last.locator("details.tool")
    tool.locator("summary").click()
    expect(tool.get_by_label("Output")).to_contain_text("test_verse_12")
    tab.say(WRITE)
    expect(tab.page.get_by_label("Queued messages")).to_contain_text(WRITE)
    expect(tab.session("The poem project")).to_contain_text("running")
    tab.page.screenshot(path=DOCS / "page-tool.png")

    phone = Visitor(
        browser,
        server.url,
        reduced_motion="reduce",
        size=PHONE,
        color_scheme="light",
        device_scale_factor=2,
    )
    phone.tab().open("poems")
    expect(phone.tabs[0].page.get_by_label("Queued messages")).to_contain_text(WRITE)
    expect(phone.tabs[0].answers.last).to_be_in_viewport()
    phone.tabs[0].page.screenshot(path=DOCS / "page-phone.png")
    tab.stop.click()

    dark = Visitor(browser, server.url, reduced_motion="reduce", size=DESKTOP, color_scheme="dark")
    night = dark.tab().open("poems")
    expect(night.page.get_by_role("region", name=re.compile("asks"))).to_be_visible()
    expect(night.session("The poem project")).to_contain_text("waiting for you")
    night.page.screenshot(path=DOCS / "page-dark.png")
    night.button("Deny").click()
    for visitor in (desktop, phone, dark):
        visitor.leave()


def main() -> None:
    real.install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        for file in ("README.md", "poem.py"):
            (work / file).touch()
        with serve_in_thread(FakeModels({QUESTION: ANSWER, TESTS: RUNNING, WRITE: ASKING})) as url:
            environment = real.opencode_environment(folder / "home", url)
            flags = ("--agent", "opencode", "--opencode-command", str(real.OPENCODE))
            with Process(folder, *flags, "--directory", str(work), **environment) as server:
                asyncio.run(terminal(folder, server))
                with chromium() as browser:
                    page(browser, server)


if __name__ == "__main__":
    main()
