"""Imports of other chats' exports, and of files that are something else."""

import asyncio
import gzip
import io
import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessile.imports.conversation import seconds_of
from sessile.imports.files import read_foreign
from sessile.store.reading import check_message
from sessile.wire.errors import InvalidRequest
from sessile.wire.messages import Skipped
from tests.serving import Client, clean_environment, serving
from tests.test_imports import export, json_values, message

TIME = 1_700_000_000


def node(id: str, parent: str | None, role: str, content: Any, **more: Any) -> dict[str, Any]:
    if isinstance(content, str):
        content = {"content_type": "text", "parts": [content]}
    author = {"role": role, "name": more.pop("name", None), "metadata": {}}
    said = {"id": id, "author": author, "create_time": TIME + 0.25, "content": content}
    said |= {"recipient": "all", "metadata": {}} | more
    return {"id": id, "message": said, "parent": parent, "children": []}


def tree(*nodes: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = {"id": "root", "message": None, "parent": None, "children": []}
    mapping = {one["id"]: one for one in (root, *nodes)}
    for one in nodes:
        mapping[one["parent"]]["children"].append(one["id"])
    return mapping


CHATGPT: dict[str, Any] = {
    "title": "Trip to Kraków",
    "create_time": TIME - 5.5,
    "conversation_id": "6543-abc",
    "current_node": "a2",
    "is_archived": True,
    "mapping": tree(
        node("s", "root", "system", ""),
        node(
            "ctx",
            "s",
            "user",
            {"content_type": "user_editable_context", "user_profile": "secret"},
            metadata={"is_visually_hidden_from_conversation": True},
        ),
        node(
            "q1",
            "ctx",
            "user",
            {
                "content_type": "multimodal_text",
                "parts": [
                    {
                        "content_type": "image_asset_pointer",
                        "asset_pointer": "file-service://file-X1",
                    },
                    "What is this?",
                ],
            },
            metadata={
                "attachments": [
                    {"id": "file-X1", "name": "photo.png", "mimeType": "image/png"},
                    {"id": "file-Y2", "name": "plan.pdf", "mime_type": "application/pdf"},
                ]
            },
        ),
        node("a1-old", "q1", "assistant", "An answer that was replaced"),
        node(
            "think",
            "q1",
            "assistant",
            {"content_type": "thoughts", "thoughts": [{"summary": "Look", "content": "at it"}]},
            metadata={"model_slug": "gpt-5"},
        ),
        node(
            "call",
            "think",
            "assistant",
            {"content_type": "code", "language": "unknown", "text": "print(1)"},
            recipient="python",
        ),
        node(
            "out", "call", "tool", {"content_type": "execution_output", "text": "1"}, name="python"
        ),
        node("a1", "out", "assistant", "A castle\ue200cite\ue202turn0search0\ue201."),
        node("q2", "a1", "user", "And now?", create_time=None),
        node("a2", "q2", "assistant", {"content_type": "code", "language": "py", "text": "x = 1"}),
    ),
}

CLAUDE: dict[str, Any] = {
    "uuid": "cl-1",
    "name": "About bread",
    "created_at": "2024-05-01T10:00:00.123456Z",
    "updated_at": "2024-05-01T10:00:00Z",
    "account": {"uuid": "x"},
    "chat_messages": [
        {
            "uuid": "m1",
            "text": "How?",
            "content": [{"type": "text", "text": "How?"}],
            "sender": "human",
            "created_at": "2024-05-01T10:00:01Z",
            "attachments": [
                {"file_name": "r.txt", "file_type": "txt", "extracted_content": "flour"}
            ],
            "files": [{"file_name": "photo.jpg"}],
        },
        {
            "uuid": "m2",
            "text": "",
            "content": [
                {"type": "thinking", "thinking": "Hm."},
                {"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "bread"}},
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "found"}],
                    "is_error": False,
                },
                {"type": "text", "text": "Bake."},
                {"type": "token_budget"},
            ],
            "sender": "assistant",
            "created_at": "2024-05-01T12:00:02+02:00",
            "attachments": [],
            "files": [],
        },
    ],
}

WEBUI: dict[str, Any] = {
    "id": "ow-1",
    "user_id": "u",
    "title": "Ships",
    "archived": False,
    "created_at": TIME,
    "chat": {
        "title": "Ships",
        "timestamp": TIME * 1000,
        "history": {
            "currentId": "a2",
            "messages": {
                "q": {
                    "id": "q",
                    "parentId": None,
                    "childrenIds": ["a1", "a2"],
                    "role": "user",
                    "content": "Name one",
                    "timestamp": TIME,
                    "files": [{"type": "image", "url": "data:image/png;base64,AA=="}],
                },
                "a1": {"id": "a1", "parentId": "q", "role": "assistant", "content": "Replaced"},
                "a2": {
                    "id": "a2",
                    "parentId": "q",
                    "childrenIds": [],
                    "role": "assistant",
                    "model": "llama3",
                    "content": '<details type="reasoning" done="true" duration="3">\n<summary>Thought'
                    " for 3 seconds</summary>\n&gt; A ship\n</details>\nVasa",
                    "timestamp": TIME + 1,
                    "sources": [{"source": {"name": "W", "url": "https://example.org/w"}}],
                },
            },
        },
        "messages": [],
    },
}


def zipped(**files: Any) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            archive.writestr(name.replace("__", "/") + ".json", data)
    return target.getvalue()


async def import_(chat: Client, content: bytes, query: str = "") -> tuple[int, Any]:
    response = await chat.http.post(f"/sessions/import{query}", content=content, timeout=60)
    return response.status_code, response.json()


def shown(messages: list[dict[str, Any]]) -> list[Any]:
    return [(m["role"], m["content"], [part["type"] for part in m["parts"]]) for m in messages]


async def test_conversations_of_chatgpt(chat: Client) -> None:
    other = CHATGPT | {"conversation_id": "other", "title": None, "current_node": None}
    empty = {"title": "Nothing", "create_time": TIME, "mapping": {}}
    content = json.dumps([CHATGPT, other, empty]).encode()
    status, found = await import_(chat, content)
    assert status == 201, found
    assert [session["id"] for session in found["imported"]] == ["chatgpt-other", "chatgpt-6543-abc"]
    assert found["skipped"] == [{"title": "Nothing", "error": "It has no messages."}]
    value = await chat.value("chatgpt-6543-abc")
    assert (value["title"], value["archived"], value["status"]) == ("Trip to Kraków", True, "idle")
    assert value["metadata"] == {"importedFrom": {"source": "ChatGPT", "id": "6543-abc"}}
    history = await chat.messages("chatgpt-6543-abc")
    assert shown(history) == [
        ("user", "What is this?", ["file", "file", "text"]),
        ("assistant", "A castle.", ["reasoning", "tool-call", "text"]),
        ("user", "And now?", ["text"]),
        ("assistant", "```py\nx = 1\n```", ["text"]),
    ]
    assert [part.get("filename") for part in history[0]["parts"]] == ["plan.pdf", "file-X1", None]
    assert history[1]["parts"][0]["content"] == "Look\n\nat it"
    call = history[1]["parts"][1]
    assert (call["toolName"], call["toolInput"], call["toolOutput"]) == (
        "python",
        {"text": "print(1)"},
        "1",
    )
    assert history[1]["metadata"] == {"model": "gpt-5"}
    assert (history[1]["replyTo"], {m["createdAt"] for m in history}) == ("q1", {TIME})
    for format in ("markdown", "json", "sqlite"):
        path = f"/sessions/chatgpt-6543-abc/export?format={format}"
        assert (await chat.http.get(path)).status_code == 200
    assert (await chat.send("chatgpt-6543-abc", "and on"))[-2].data["content"] == "and on"
    # A second time, what is there is left as it is.
    third = CHATGPT | {"conversation_id": "third"}
    status, found = await import_(
        chat, zipped(conversations=[CHATGPT, third, other], user={"x": 1})
    )
    assert (status, [s["id"] for s in found["imported"]]) == (201, ["chatgpt-third"])
    assert [one["id"] for one in found["skipped"]] == ["chatgpt-other", "chatgpt-6543-abc"]
    assert len(await chat.messages("chatgpt-6543-abc")) == 6
    status, found = await import_(chat, json.dumps([CHATGPT, other]).encode())
    assert (status, found["code"]) == (409, "session_exists")
    assert "already imported" in found["error"]


async def test_conversations_of_claude_and_open_webui(chat: Client) -> None:
    status, found = await import_(chat, zipped(data__conversations=[CLAUDE], users=[{}]))
    assert (status, found["imported"][0]["title"]) == (201, "About bread"), found
    history = await chat.messages("claude-cl-1")
    assert shown(history) == [
        ("user", "How?", ["file", "file", "text"]),
        ("assistant", "Bake.", ["reasoning", "tool-call", "text"]),
    ]
    assert [part.get("filename") for part in history[0]["parts"][:2]] == ["r.txt", "photo.jpg"]
    assert history[0]["parts"][0]["url"] == "data:text/plain;charset=utf-8;base64,ZmxvdXI="
    assert history[1]["parts"][1]["toolOutput"] == "found"
    begin = int(datetime(2024, 5, 1, 10, tzinfo=UTC).timestamp())
    assert [m["createdAt"] for m in history] == [begin + 1, begin + 2]
    status, found = await import_(chat, json.dumps([WEBUI]).encode(), "?id=mine")
    assert (status, found["imported"][0]["id"], found["skipped"]) == (201, "mine", [])
    history = await chat.messages("mine")
    assert shown(history) == [
        ("user", "Name one", ["file", "text"]),
        ("assistant", "Vasa", ["reasoning", "text", "source"]),
    ]
    assert history[1]["parts"][0]["content"] == "A ship"
    assert history[1]["metadata"] == {"model": "llama3"}
    status, found = await import_(chat, json.dumps([WEBUI, CLAUDE]).encode(), "?id=two")
    assert (status, "2 conversations" in found["error"]) == (400, True)
    # One conversation without its list, in UTF-16 as PowerShell writes it; strange and missing ids.
    bare = {key: value for key, value in CLAUDE.items() if key != "uuid"}
    for value in (bare, CHATGPT | {"conversation_id": "no/id\n"}):
        status, found = await import_(chat, json.dumps(value).encode("utf-16"))
        assert status == 201, found
        again = await import_(chat, json.dumps(value).encode("utf-16"))
        assert again[0] == 409, "the same id is made again"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
async def test_a_byte_order_mark_before_an_export(chat: Client, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    for size in (1, 400_000):
        parts = [{"type": "text", "content": "ü" * size}]
        text = json.dumps(json.loads(export(message(parts=parts))), ensure_ascii=False)
        content = mark + text.encode(encoding)
        status, found = await import_(chat, content, f"?id=i{size}")
        assert status == 201, found
        assert (await chat.messages(f"i{size}"))[0]["content"] == "ü" * size


async def test_a_byte_order_mark_before_other_json(chat: Client) -> None:
    for path in ("/chat/s", "/sessions", "/sessions/s/messages", "/sessions/s/fork"):
        body = b'\xef\xbb\xbf{"content":"x","id":"%d"}' % len(path)
        assert (await chat.http.post(path, content=body)).status_code in (200, 201), path
    response = await chat.http.post("/chat/s", content='{"content":"x"}'.encode("utf-16"))
    assert response.json()["error"] == "The JSON is UTF-16 text; send it as UTF-8."
    async with chat.socket("s") as socket:
        await socket.recv()
        await socket.send('\ufeff{"type":"ping"}')
        assert "pong" in str(await socket.recv())


OTHERS = {
    "empty": b"",
    "blank": b" \n",
    "gzip": gzip.compress(b"[]"),
    "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    "PDF": b"%PDF-1.7\n",
    "HTML": b"\n<!DOCTYPE html><html><body>ChatGPT Data Export</body></html>",
    "XML": b'<?xml version="1.0"?><a/>',
    "CSV": b"date,title,text\n2024-01-01,a,b\n",
    "text": b"Hello, this is a text.\n",
    "binary data": bytes(range(256)),
    "LibreChat": json.dumps({"conversationId": "c", "title": "t", "messages": []}).encode(),
    "JSON of something else": json.dumps([{"a": 1}]).encode(),
    "damaged": json.dumps([CHATGPT]).encode()[:-20],
    "no conversations": b"[]",
    "without a conversations.json": zipped(notes={"a": 1}),
    "an empty zip archive": zipped(),
    "has no messages": json.dumps([CLAUDE | {"chat_messages": []}]).encode(),
    "limit": zipped(conversations=b"[" + b" " * 3_000_000 + b"]"),
    "cannot be read": zipped(conversations=[CLAUDE])[:-30],
    "not valid UTF-16": b"\xff\xfe\x00\xd8",
    "not a whole export": json.dumps({"messages": []}).encode(),
}


async def test_other_files_are_refused_with_what_they_seem_to_be(tmp_path: Path) -> None:
    damaged = bytearray(zipped(conversations=[CLAUDE] * 9))
    damaged[60:90] = b"\xff" * 30
    async with serving(tmp_path, max_import=2_000_000) as chat:
        for kind, content in {**OTHERS, "zip": bytes(damaged)}.items():
            status, found = await import_(chat, content)
            assert (status, found["code"]) == (400, "invalid_request"), (kind, found)
            expected = "empty" if kind == "blank" else kind
            assert expected in found["error"], found
            assert "byte" not in found["error"] or kind == "damaged", found
        assert (await chat.http.get("/sessions")).json() == []


async def test_the_terminal_says_what_was_imported(chat: Client, tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    file.write_bytes(zipped(conversations=[CLAUDE, CLAUDE | {"uuid": "2", "chat_messages": []}]))
    picture = tmp_path / "a.png"
    picture.write_bytes(OTHERS["PNG"])

    async def run(file: Path) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "sessile", "import", str(file), "--server", chat.url]
        ran = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, env=clean_environment(), timeout=60
        )
        return ran.returncode, ran.stdout.decode(), ran.stderr.decode()

    skipped = "sessile: skipped About bread: It has no messages.\n"
    assert await run(file) == (0, "claude-cl-1\n", skipped)
    (status, _, err), other, folder = await asyncio.gather(run(file), run(picture), run(tmp_path))
    assert (status, "already imported" in err) == (1, True), err
    assert (other[0], "seems to be an image (PNG)." in other[2]) == (1, True), other
    assert (folder[0], folder[2].endswith("Is a directory\n")) == (1, True), folder


# Anything -----------------------------------------------------------------------------------------

TIMES: list[tuple[Any, int | None]] = [
    (TIME, TIME),
    (TIME + 0.9, TIME),
    (TIME * 1_000, TIME),
    (TIME * 1_000_000, TIME),
    (TIME * 1_000_000_000, TIME),
    ("2023-11-14T22:13:20Z", TIME),
    ("2023-11-14T22:13:20.5", TIME),
    ("2023-11-15T00:13:20+02:00", TIME),
    (0, 0),
    (-1, None),
    (10**30, None),
    (10**400, None),
    ("0001-01-01T00:00:00+23:59", None),
    (float("nan"), None),
    (float("inf"), None),
    (None, None),
    (True, None),
    ("yesterday", None),
    ([], None),
]


@pytest.mark.parametrize(("value", "seconds"), TIMES)
def test_times_in_any_unit(value: Any, seconds: int | None) -> None:
    assert seconds_of(value) == seconds


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (TIME * 1_000, "milliseconds"),
        (TIME * 1_000_000, "microseconds"),
        (TIME * 1_000_000_000, "nanoseconds"),
        (10**30, "createdAt"),
        (-1, "createdAt"),
        (1.5, "createdAt"),
        ("2024-01-01", "createdAt"),
        (None, "createdAt"),
    ],
)
def test_a_time_of_an_export_is_whole_seconds(value: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        check_message(json.dumps(message(createdAt=value)).encode(), 7)
    assert str(refused.value).startswith("Message 7: ")
    assert "createdAt" in str(refused.value)


def changed(value: Any, draw: st.DrawFn) -> Any:
    """A value of JSON with some values in it replaced by others."""
    if draw(st.integers(0, 12)) == 0:
        return draw(json_values)
    if isinstance(value, dict):
        return {name: changed(item, draw) for name, item in value.items()}
    if isinstance(value, list):
        return [changed(item, draw) for item in value]
    return value


@st.composite
def conversations(draw: st.DrawFn) -> Any:
    return changed(draw(st.sampled_from([CHATGPT, CLAUDE, WEBUI])), draw)


@given(conversations())
def test_any_conversation_is_read_or_skipped(value: Any) -> None:
    try:
        text = json.dumps([CLAUDE, value], allow_nan=False).encode()
    except ValueError:
        return  # not JSON
    for found in read_foreign(text, 0).conversations:
        assert isinstance(found, Skipped) or found.messages
        assert found != Skipped("", "It has a form that cannot be read.")
