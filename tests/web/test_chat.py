"""Chatting in real Chromium, also with connections and servers that fail."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.serving import LONG, Process
from tests.web.browser import Api, Release, Tab, Visit, Visitor
from tests.web.conftest import ROOT


def words(answer: str) -> int:
    """The number of words of a long answer so far."""
    found = re.findall(r"word(\d+)", answer)
    assert [int(number) for number in found] == list(range(len(found))), answer
    return len(found)


def wait_for_words(tab: Tab, beyond: int = 0) -> int:
    """Wait until the newest answer has more than ``beyond`` words, and return their number."""
    expect(tab.answers.last).to_contain_text(f"word{beyond + 1} ")
    return words(tab.answers.last.inner_text())


def test_a_first_visit_leads_to_an_answered_message(tab: Tab, api: Api) -> None:
    tab.open()
    expect(tab.page.get_by_role("heading", name="New chat")).to_be_visible()
    expect(tab.composer).to_be_focused()
    tab.say("Hello **there**, `code` and a list:\n\n- one\n- two")
    tab.is_answered("Hello there, code and a list:")
    assert tab.answers.last.locator("strong").inner_text() == "there"
    assert tab.answers.last.locator("li").all_inner_texts() == ["one", "two"]
    session = tab.page.url.rpartition("/")[2]
    assert [m["status"] for m in api.messages(session)] == ["complete", "complete"]
    # The session is in the list, and its address leads to it.
    expect(tab.session("Hello **there**")).to_have_count(1)
    tab.page.reload()
    tab.is_answered("Hello there")
    expect(tab.articles).to_have_count(2)


def test_tabs_stay_in_step_and_one_joins_in_the_middle(
    visit: Visit, api: Api, release: Release
) -> None:
    one, two = visit().tab().open("s"), visit().tab().open("s")
    one.say(f"[[hold]] {LONG[:600]}")
    wait_for_words(one)
    wait_for_words(two)
    three = visit().tab().open("s")
    wait_for_words(three)
    whole = api.http.get("/sessions/s").json()
    assert whole["status"] == "running"
    release()
    for tab in (one, two, three):
        tab.is_answered(LONG[:600].split()[-1])
    content = api.messages("s")[-1]["content"]
    for tab in (one, two, three):
        assert tab.answers.last.locator(".markdown").inner_text() == content.strip()
        expect(tab.articles).to_have_count(2)


def test_a_reload_during_an_answer_shows_all_of_it(tab: Tab, release: Release) -> None:
    tab.open("s").say(f"[[hold]] {LONG[:600]}")
    before = wait_for_words(tab, 3)
    tab.page.reload()
    assert wait_for_words(tab, before) > before
    expect(tab.stop).to_be_visible()
    release()
    tab.is_answered(LONG[:600].split()[-1])
    words(tab.answers.last.inner_text())
    expect(tab.articles).to_have_count(2)


def test_the_page_waits_for_a_server_that_is_killed_and_comes_back(
    tab: Tab, server: Process, tmp_path: Path
) -> None:
    tab.open("s").say(LONG)
    shown = wait_for_words(tab, 5)
    server.kill()
    expect(tab.connection).to_have_text("Reconnecting…")
    shown = max(shown, words(tab.answers.last.inner_text()))
    tab.say("and then?")
    expect(tab.page.get_by_label("You said, not sent yet")).to_contain_text("Sending…")
    port = server.url.rpartition(":")[2]
    with Process(tmp_path, "--port", port, "--on-crash", "mark") as again:
        assert again.url == server.url
        expect(tab.connection).to_have_text("Connected")
        expect(tab.answers.first).to_contain_text("The server was interrupted")
        # What was shown is kept, and what was sent while the server was away is answered once.
        assert words(tab.answers.first.locator(".markdown").inner_text()) >= shown
        tab.is_answered("and then?")
        expect(tab.articles).to_have_count(4)
        tab.page.reload()
        expect(tab.articles).to_have_count(4)


def test_an_answer_that_is_continued_after_a_restart_says_so(
    tab: Tab, server: Process, tmp_path: Path, release: Release
) -> None:
    tab.open("s").say(f"[[hold]] {LONG[:900]}")
    shown = wait_for_words(tab, 5)
    server.kill()
    expect(tab.connection).to_have_text("Reconnecting…")
    note = tab.page.get_by_text("Continuing after a restart")
    expect(note).to_have_count(0)
    flags = ("--agent", "tests.web.held:agent", "--port", server.url.rpartition(":")[2])
    with Process(tmp_path, *flags, PYTHONPATH=str(ROOT)):
        expect(tab.connection).to_have_text("Connected")
        expect(note).to_be_visible()
        expect(tab.page.get_by_role("status").last).to_have_text(
            "The answer is continued after a restart."
        )
        assert wait_for_words(tab, shown + 20) > shown
        expect(note).to_be_visible()
        release()
        tab.is_answered(LONG[:900].split()[-1])
        expect(note).to_have_count(0)
        assert (
            tab.answers.last.locator(".markdown").inner_text() == f"[[hold]] {LONG[:900]}".strip()
        )
        expect(tab.articles).to_have_count(2)


def test_five_seconds_offline_lose_and_repeat_nothing(tab: Tab) -> None:
    tab.open("s").say(LONG[:4800])
    shown = wait_for_words(tab, 3)
    context = tab.page.context
    context.set_offline(True)
    expect(tab.connection).to_have_text("Offline")
    tab.say("said offline")
    tab.page.wait_for_timeout(5_000)
    expect(tab.page.get_by_label("You said, not sent yet")).to_contain_text("Sending…")
    context.set_offline(False)
    expect(tab.connection).to_have_text("Connected")
    assert wait_for_words(tab, shown + 60) > shown
    expect(tab.page.get_by_label("Queued messages")).to_contain_text("said offline")
    tab.stop.click()
    expect(tab.answers.first).to_contain_text("Stopped")
    words(tab.answers.first.locator(".markdown").inner_text())
    tab.is_answered("said offline")
    expect(tab.articles).to_have_count(4)


def test_a_message_that_was_not_sent_survives_a_reload(
    tab: Tab, api: Api, server: Process, tmp_path: Path
) -> None:
    tab.open("s").say("first")
    tab.is_answered("first")
    server.kill()
    tab.say("do not lose me")
    expect(tab.page.get_by_label("You said, not sent yet")).to_contain_text("do not lose me")
    tab.page.goto("about:blank")
    with Process(tmp_path, "--port", server.url.rpartition(":")[2]):
        tab.open("s")
        tab.is_answered("do not lose me")
        expect(tab.articles).to_have_count(4)
        assert len(api.messages("s")) == 4


def test_a_message_is_sent_even_if_the_user_leaves_its_session_first(tab: Tab, api: Api) -> None:
    tab.open("s").say("first")
    tab.is_answered("first")
    tab.page.context.set_offline(True)
    expect(tab.connection).to_have_text("Offline")
    tab.say("second")
    tab.button("New chat").click()
    expect(tab.page.get_by_role("heading", name="New chat")).to_be_visible()
    assert len(api.messages("s")) == 2
    tab.page.context.set_offline(False)
    expect(tab.session("first")).to_contain_text("new")
    assert [m["content"] for m in api.messages("s")] == ["first", "first", "second", "second"]


@pytest.mark.parametrize("by", ["button", "key"])
def test_stop_keeps_what_was_written(tab: Tab, api: Api, by: str) -> None:
    tab.open("s").say(LONG)
    wait_for_words(tab)
    if by == "button":
        tab.stop.click()
    else:
        tab.composer.press("Escape")
    expect(tab.answers.last).to_contain_text("Stopped. What was written is kept.")
    expect(tab.stop).to_have_count(0)
    message = api.messages("s")[-1]
    assert message["status"] == "stopped"
    assert tab.answers.last.locator(".markdown").inner_text() == message["content"].strip()


def test_one_of_three_queued_messages_is_withdrawn(visit: Visit, api: Api) -> None:
    visitor = visit()
    tab, other = visitor.tab().open("s"), visitor.tab().open("s")
    tab.say(LONG)
    wait_for_words(tab)
    for text in ("one", "two", "three"):
        tab.say(text)
    for watcher in (tab, other):
        queue = watcher.page.get_by_label("Queued messages")
        expect(queue.get_by_role("listitem")).to_have_text(["one", "two", "three"])
    queue = other.page.get_by_label("Queued messages")
    queue.get_by_role("listitem").filter(has_text="two").get_by_role("button").click()
    queue = tab.page.get_by_label("Queued messages")
    expect(queue.get_by_role("listitem")).to_have_text(["one", "three"])
    tab.stop.click()
    tab.is_answered("three")
    expect(tab.page.get_by_label("Queued messages")).to_have_count(0)
    contents = [message["content"] for message in api.messages("s") if message["role"] == "user"]
    assert contents[1:] == ["one", "three"]
    expect(tab.sent.locator(".plain")).to_have_text([LONG, "one", "three"])


def test_more_messages_can_be_queued_than_fit_on_a_page(tab: Tab, api: Api) -> None:
    for text in (LONG, *(f"later {number}" for number in range(60))):
        with api.http.stream("POST", "/chat/s", json={"content": text}):
            pass  # the message is stored, and its turn needs no client
    tab.open("s")
    wait_for_words(tab, 3)
    expect(tab.sent).to_have_count(1)
    queue = tab.page.get_by_label("Queued messages")
    expect(queue.get_by_role("listitem")).to_have_text([f"later {n}" for n in range(60)])
    api.http.delete("/sessions/s")


def test_a_tool_block_that_is_opened_while_it_runs(browser: Browser, tmp_path: Path) -> None:
    """The agent is a function whose tool continues when the test allows it."""
    (tmp_path / "slow.py").write_text(
        "import asyncio, pathlib\n"
        "from sessile import ReasoningPart, ToolCallPart\n"
        "async def reply(turn):\n"
        "    yield ReasoningPart('I had better look.')\n"
        "    output = ''\n"
        "    for line in range(1000):\n"
        "        output += f'line {line}\\n'\n"
        "        yield ToolCallPart('1', 'bash', {'command': 'make test'}, 'running', output)\n"
        "        if pathlib.Path('go').exists(): break\n"
        "        await asyncio.sleep(0.05)\n"
        "    yield ToolCallPart('1', 'bash', {'command': 'make test'}, 'complete', output + 'end')\n"
        "    yield 'It passes.'\n"
        "    turn.metadata |= {'usage': {'inputTokens': 1234, 'outputTokens': 56}, 'cost': 0.0123}\n"
    )
    with Process(tmp_path, "slow:reply") as server:
        visitor = Visitor(browser, server.url)
        tab = visitor.tab().open("s")
        tab.say("test it")
        block = tab.answers.last.locator("details.tool")
        expect(block.locator("summary")).to_contain_text("make test")
        expect(block.locator("summary .badge")).to_have_text("running")
        expect(block.get_by_label("Output")).to_have_count(0)
        block.locator("summary").click()
        expect(block.get_by_label("Input")).to_have_text(re.compile("command.*make test"))
        output = block.get_by_label("Output")
        expect(output).to_contain_text("line 5\n")
        expect(output).to_contain_text("line 25\n")
        # New output stays in sight.
        assert output.evaluate("box => box.scrollHeight - box.scrollTop - box.clientHeight") < 8
        thoughts = tab.answers.last.locator("details.reasoning")
        expect(thoughts).not_to_have_attribute("open", "")
        thoughts.locator("summary").click()
        expect(thoughts).to_contain_text("I had better look.")
        (tmp_path / "go").touch()
        expect(output).to_contain_text("end")
        expect(block).to_have_attribute("open", "")
        expect(block.locator("summary .badge")).to_have_text("done")
        tab.is_answered("It passes.")
        expect(tab.answers.last.locator(".usage")).to_have_text("1,234 tokens in · 56 out · $0.012")
        visitor.leave()


@pytest.mark.parametrize("button", ["Allow", "Deny"])
def test_a_question_answered_in_one_tab_disappears_in_the_other(visit: Visit, button: str) -> None:
    one, two = visit().tab().open("s"), visit().tab().open("s")
    one.say("[[ask]] please")
    for tab in (one, two):
        asked = tab.page.get_by_role("region", name="echo asks")
        expect(asked).to_contain_text("May echo run?")
        expect(asked.get_by_label("What it wants to do")).to_contain_text("[[ask]] please")
    two.button(button).click()
    for tab in (one, two):
        expect(tab.page.get_by_role("region", name="echo asks")).to_have_count(0)
        tab.is_answered("[[ask]] please")
        badge = tab.answers.last.locator("details.tool .badge")
        expect(badge).to_have_text("done" if button == "Allow" else "failed")


def test_an_agent_that_fails_says_so(tab: Tab) -> None:
    tab.open("s").say("[[fail]] a b c")
    expect(tab.answers.last.locator(".outcome")).to_contain_text("The agent failed")


def test_a_refused_message_is_reported_and_not_lost(browser: Browser, tmp_path: Path) -> None:
    with Process(tmp_path, "--max-body", "2000") as server:
        visitor = Visitor(browser, server.url)
        tab = visitor.tab().open("s")
        tab.say("x" * 3000)
        refused = tab.page.get_by_label("You said, not sent yet")
        expect(refused).to_contain_text("The body is over the limit of 2000 bytes.")
        tab.say("shorter")
        tab.is_answered("shorter")
        refused.get_by_role("button", name="Discard").click()
        expect(refused).to_have_count(0)
        visitor.leave()


def test_the_page_of_a_server_that_is_mounted_in_an_application(
    browser: Browser, tmp_path: Path
) -> None:
    """Under its own path, in a process that is not `sessile serve`."""
    (tmp_path / "app.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.routing import Mount\n"
        "from sessile import create_app\n"
        "chat = create_app(store='sqlite:///chats.db')\n"
        "app = Starlette(routes=[Mount('/deep/ai', chat)], lifespan=chat.lifespan)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "uvicorn", "app:app", "--fd", str(listener.fileno())]
        with subprocess.Popen(
            [*command, "--log-level", "error"], cwd=tmp_path, pass_fds=[listener.fileno()]
        ) as process:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            visitor = Visitor(browser, f"{url}/deep/ai")
            tab = visitor.tab().open()
            tab.say("Hello")
            tab.is_answered("Hello")
            tab.page.reload()
            tab.is_answered("Hello")
            visitor.leave()
            process.terminate()


def test_the_page_is_served_from_its_sources(
    browser: Browser, server: Process, tmp_path: Path
) -> None:
    """`just web-dev`, with a separate server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    command = [
        "uv",
        "run",
        "just",
        "web-dev",
        "--port",
        port,
        "--strictPort",
        "--host",
        "127.0.0.1",
    ]
    environment = os.environ | {"SESSILE_SERVER": server.url, "NO_COLOR": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as vite:
        assert vite.stdout is not None
        try:
            assert any("Local:" in line for line in vite.stdout)
            visitor = Visitor(browser, f"http://127.0.0.1:{port}")
            tab = visitor.tab().open()
            tab.say("Hello")
            tab.is_answered("Hello")
            visitor.leave()
        finally:
            os.killpg(vite.pid, signal.SIGTERM)
