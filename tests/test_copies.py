"""Fork, import and search."""

import asyncio
import json
import unicodedata
from pathlib import Path
from typing import Any

import apsw
import pytest

from sessile.store.sqlite import search as sqlite_search
from tests.serving import LONG, Client, frames, serving


def roles_and_contents(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["id"], message["content"]) for message in messages]


async def test_a_fork_copies_the_history_up_to_a_message_and_is_then_independent(
    chat: Client,
) -> None:
    for word in ("one", "two", "three"):
        await chat.send("s", word)
    history = await chat.messages("s")
    response = await chat.http.post("/sessions/s/fork", json={"at": history[3]["id"]})
    assert response.status_code == 201
    fork = response.json()
    assert fork["title"] == "one"
    assert fork["messageCount"] == 4
    assert fork["metadata"]["forkedFrom"] == {"session": "s", "message": history[3]["id"]}
    assert roles_and_contents(await chat.messages(fork["id"])) == roles_and_contents(history[:4])
    await chat.send(fork["id"], "elsewhere")
    assert await chat.messages("s") == history
    assert len(await chat.messages(fork["id"])) == 6
    whole = (await chat.http.post("/sessions/s/fork", json={"id": "named"})).json()
    assert (whole["id"], whole["messageCount"]) == ("named", 6)
    regenerated = await chat.stream("POST", "/chat/named/regenerate", json={})
    assert regenerated[-2].data["content"] == "three"


async def test_a_fork_copies_only_settled_messages(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.05) as chat, chat.socket("s") as socket:
        await chat.send("s", "done")
        await frames(socket)
        running = asyncio.create_task(chat.send("s", LONG))
        await frames(socket, until="delta")
        waiting = asyncio.create_task(chat.send("s", "waits"))
        await frames(socket, until="status")
        fork = (await chat.http.post("/sessions/s/fork")).json()
        assert [m["content"] for m in await chat.messages(fork["id"])] == [
            "done",
            "done",
            LONG,
        ]
        assert fork["status"] == "idle"
        running_id = (await chat.messages("s"))[3]["id"]
        response = await chat.http.post("/sessions/s/fork", json={"at": running_id})
        assert (response.status_code, response.json()["code"]) == (409, "turn_in_progress")
        assert await chat.stop("s")
        await asyncio.gather(running, waiting)


async def test_invalid_forks_are_refused(chat: Client) -> None:
    response = await chat.http.post("/sessions/nobody/fork")
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    await chat.send("s", "x")
    response = await chat.http.post("/sessions/s/fork", json={"at": "nobody"})
    assert (response.status_code, response.json()["code"]) == (404, "message_not_found")
    response = await chat.http.post("/sessions/s/fork", json={"id": "s"})
    assert (response.status_code, response.json()["code"]) in ((409, "session_exists"),)
    assert len(await chat.messages("s")) == 2


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000])
async def test_an_export_is_complete_for_any_number_of_messages(chat: Client, count: int) -> None:
    """Messages are read in chunks; a session may end exactly where a chunk ends."""
    messages = [
        {
            "id": f"m{number}",
            "role": "user",
            "content": "words",
            "parts": [{"type": "text", "content": "words"}],
            "createdAt": 1,
            "seq": number + 1,
            "status": "complete",
        }
        for number in range(count)
    ]
    body = {"session": {"id": "s", "title": "t"}, "messages": messages}
    assert (await chat.http.post("/sessions/import", json=body)).status_code == 201
    exported = (await chat.http.get("/sessions/s/export")).json()
    assert [message["id"] for message in exported["messages"]] == [m["id"] for m in messages]
    markdown = (await chat.http.get("/sessions/s/export?format=markdown")).text
    assert markdown.count("words") == count
    fork = (await chat.http.post("/sessions/s/fork", json={"id": "fork"})).json()
    assert fork["messageCount"] == count


@pytest.mark.parametrize("format", ["json", "sqlite"])
async def test_an_export_can_be_imported(chat: Client, format: str) -> None:
    await chat.send("s", "Hello [[tool]] you", metadata={"a": 1})
    await chat.http.patch("/sessions/s", json={"title": "T", "metadata": {"m": 1}})
    for index in range(600):
        await chat.http.post("/sessions/s/messages", json={"content": f"m{index}"})
    exported = (await chat.http.get(f"/sessions/s/export?format={format}")).content
    response = await chat.http.post("/sessions/import", content=exported)
    assert (response.status_code, response.json()["code"]) == (409, "session_exists")
    response = await chat.http.post("/sessions/import?id=copy", content=exported)
    assert response.status_code == 201, response.text
    value = response.json()
    assert (value["title"], value["metadata"], value["messageCount"]) == ("T", {"m": 1}, 602)
    copied = (await chat.http.get("/sessions/copy/export")).json()["messages"]
    original = (await chat.http.get("/sessions/s/export")).json()["messages"]
    for message in [*copied, *original]:
        del message["seq"]
    assert copied == original
    assert (await chat.send("copy", "and on"))[-2].data["content"] == "and on"


async def test_invalid_imports_are_refused(chat: Client, tmp_path: Path) -> None:
    message = {"id": "m", "role": "user", "content": "x", "createdAt": 1, "seq": 1,
               "status": "complete", "parts": [{"type": "text", "content": "x"}]}  # fmt: skip
    strange = apsw.Connection(str(tmp_path / "strange.db"))
    strange.execute("CREATE TABLE diary (x); INSERT INTO diary VALUES (1)")
    strange.close()
    bodies: list[bytes] = [
        b"",
        b"nope",
        b"SQLite format 3\0 but no more",
        (tmp_path / "strange.db").read_bytes(),
        json.dumps({"session": {"id": "i"}, "messages": [message, message]}).encode(),
        json.dumps({"session": {"id": "i"}, "messages": [message | {"role": "robot"}]}).encode(),
        json.dumps({"session": {"id": "i"}, "messages": [message | {"id": ""}]}).encode(),
        json.dumps({"session": {"id": "not an id"}, "messages": []}).encode(),
        json.dumps({"messages": []}).encode(),
    ]
    for body in bodies:
        response = await chat.http.post("/sessions/import", content=body)
        assert response.status_code == 400, (body[:60], response.text)
        assert response.json()["error"]
    assert (await chat.http.get("/sessions")).json() == []


async def test_running_turns_are_imported_as_ended(chat: Client) -> None:
    call = {"type": "tool-call", "toolCallId": "1", "toolName": "t", "toolInput": {},
            "state": "running"}  # fmt: skip
    messages = [
        {"id": "q", "role": "user", "content": "x", "createdAt": 1, "seq": 4, "status": "queued",
         "parts": [{"type": "text", "content": "x"}]},
        {"id": "a", "role": "assistant", "content": "", "createdAt": 1, "seq": 9, "parts": [call],
         "status": "streaming", "replyTo": "q"},
    ]  # fmt: skip
    body = {"session": {"id": "i"}, "messages": messages}
    response = await chat.http.post("/sessions/import", json=body)
    assert response.json()["status"] == "idle"
    question, answer = await chat.messages("i")
    assert (question["status"], answer["status"]) == ("complete", "interrupted")
    assert answer["parts"][0]["state"] == "error"


async def test_search_finds_words_and_prefixes_and_shows_where(chat: Client) -> None:
    await chat.http.post("/sessions/a/messages", json={"content": "The quick brown fox", "id": "1"})
    await chat.http.post(
        "/sessions/b/messages", json={"content": "A Brown bear, a quicker one; Ünïcode", "id": "2"}
    )

    async def search(query: str, **more: Any) -> list[dict[str, Any]]:
        response = await chat.http.get("/search", params={"q": query, **more})
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()
        return found

    hits = await search("quick BROWN")
    assert {hit["sessionId"] for hit in hits} == {"a", "b"}
    (hit,) = await search("quick fox")
    assert (hit["message"]["id"], hit["title"]) == ("1", "The quick brown fox")
    assert [hit["snippet"][start:end] for start, end in hit["found"]] == ["quick", "fox"]
    assert len(await search("brown", limit=1)) == 1
    assert len(await search("unicode")) == 1
    assert await search("nowhere") == []

    parts = {"parts": [{"type": "text", "content": "a slow fox"}]}
    await chat.http.patch("/sessions/a/messages/1", json=parts)
    assert await search("quick fox") == []
    assert len(await search("slow")) == 1
    await chat.http.delete("/sessions/a/messages/1")
    assert await search("slow") == []
    await chat.http.delete("/sessions/b")
    assert await search("brown") == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a OR", 0),
        ("NEAR(", 0),
        ("content:x", 0),
        ("'; DROP TABLE messages; --", 0),
        ("-x", 2),
        ("x*", 2),
        ("^x", 2),
        ("a\0b", 2),
        ("🙂 x", 2),
        ('"', None),
        ("(", None),
    ],
)
async def test_the_query_syntax_of_the_store_has_no_effect(
    chat: Client, query: str, found: int | None
) -> None:
    """Only its words are searched; a query without a word is not valid."""
    await chat.send("s", "x a b c")
    response = await chat.http.get("/search", params={"q": query})
    assert response.status_code == (400 if found is None else 200), response.text
    assert found is None or len(response.json()) == found
    assert len(await chat.messages("s")) == 2


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("明天北京会下雨吗", "北京"),
        ("明天北京会下雨吗", "会下雨"),
        ("明日は京都に行きます", "京都"),
        ("データベースを設計する", "ベース"),
        ("พรุ่งนี้กรุงเทพฝนจะตกไหม", "กรุงเทพ"),
        ("ພາສາລາວງ່າຍ", "ລາວ"),
        ("the hotel 北京饭店 is near", "hotel 饭店"),
        ("Straße nach Kraków", "krakow straße"),
        ("Привет, мир", "прив"),
        ("안녕하세요 세계", "안녕"),
        ("회의문서를 공유했습니다", "문서"),
        ("안녕하세요 세계", unicodedata.normalize("NFD", "하세")),
        ("version42beta", "ver"),
    ],
)
async def test_search_finds_text_in_every_language(chat: Client, text: str, query: str) -> None:
    await chat.http.post("/sessions/s/messages", json={"content": text})
    await chat.http.post("/sessions/s/messages", json={"content": "something else 東西 อื่น"})
    response = await chat.http.get("/search", params={"q": query})
    (hit,) = response.json()
    assert hit["message"]["content"] == text
    assert hit["snippet"] == text
    assert hit["found"], "what was found is marked"


async def test_text_in_an_unspaced_script_is_marked_where_it_stands(chat: Client) -> None:
    await chat.http.post("/sessions/s/messages", json={"content": "明天北京会下雨吗"})
    (hit,) = (await chat.http.get("/search", params={"q": "北京"})).json()
    assert [hit["snippet"][start:end] for start, end in hit["found"]] == ["北京"]
    assert (await chat.http.get("/search", params={"q": "京北"})).json() == []


ENDLESS = """WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted)
SELECT '', '', '', '' FROM counted WHERE n < 0 AND ?1 <> ?2"""


async def test_a_search_that_takes_too_long_is_interrupted_and_nobody_waits_for_it(
    chat: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await chat.send("s", "hello")
    monkeypatch.setitem(sqlite_search._Q, "search", ENDLESS)
    slow = [asyncio.create_task(chat.http.get("/search?q=hello")) for _ in range(5)]
    while not any(task.done() for task in slow):
        response = await chat.http.get("/sessions", timeout=5)
        assert [session["id"] for session in response.json()] == ["s"]
    for response in await asyncio.gather(*slow):
        assert (response.status_code, response.json()["code"]) == (503, "search_too_slow")
    monkeypatch.undo()
    assert len((await chat.http.get("/search?q=hello")).json()) == 2


async def test_a_message_that_cannot_be_read_does_not_stop_search_or_export(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("s", "first words")
        await chat.send("s", "other words")
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    database.execute("UPDATE messages SET body = x'7b' WHERE seq = 1")
    database.execute("DELETE FROM search")
    database.close()
    async with serving(tmp_path) as chat:
        found = (await chat.http.get("/search?q=words")).json()
        assert len(found) == 3
        text = (await chat.http.get("/sessions/s/export?format=markdown")).text
        assert "A message that cannot be read" in text
        assert text.count("other words") == 2


def count(folder: Path, word: str) -> int:
    """How often a word stands in the files of a folder."""
    return sum(path.read_bytes().count(word.encode()) for path in folder.iterdir())


async def test_what_is_deleted_is_not_left_in_the_files(tmp_path: Path) -> None:
    secret, other = "xylophone42", "marimba43"
    async with serving(tmp_path) as chat:

        async def copies(word: str) -> int:
            await chat.http.get("/search?q=index")  # the index follows behind the messages
            return count(tmp_path, word)

        async def is_gone(word: str) -> None:
            async with asyncio.timeout(20):
                while await copies(word):
                    await asyncio.sleep(0.05)

        await chat.http.post("/sessions", json={"id": "t", "title": "without the word"})
        for _ in range(30):
            await chat.send("s", f"{secret} is here")
            await chat.send("t", f"{other} is here")
        assert await copies(secret)
        await chat.http.delete("/sessions/s")
        await is_gone(secret)
        for message in await chat.messages("t", limit=200):
            assert (await chat.http.delete(f"/sessions/t/messages/{message['id']}")).is_success
        assert chat.app is not None
        await chat.app.store.trim(-1)  # its single events are kept for some time
        await is_gone(other)


async def test_invalid_searches_are_refused(chat: Client) -> None:
    for query in ("", "q=", "q=%20", "q=...", "q=x&limit=0", "q=" + "x" * 2000, "q=" + "a+" * 11):
        response = await chat.http.get(f"/search?{query}")
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_search_finds_messages_from_before_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("s", "remember the milk")
    async with serving(tmp_path) as chat:
        assert len((await chat.http.get("/search?q=milk")).json()) == 2


async def test_approvals_in_an_older_export_become_questions(chat: Client) -> None:
    call = {
        "type": "tool-call",
        "toolCallId": "1",
        "toolName": "pay",
        "toolInput": {"approval": {"id": "mine", "state": "asked"}, "n": 10**20},
        "state": "error",
    }
    states = {"asked": "expired", "denied": "denied", "approved": "approved"}
    parts = [
        call | {"toolCallId": state, "approval": {"id": f"a.{n}", "state": state}}
        for n, state in enumerate(states)
    ]
    message = {
        "id": "a",
        "role": "assistant",
        "content": "",
        "parts": [*parts, call],
        "createdAt": 1,
        "seq": 1,
        "status": "complete",
    }
    exported = {"session": {"id": "old"}, "messages": [message]}
    response = await chat.http.post("/sessions/import", json=exported)
    assert response.status_code == 201, response.text
    *asked, other = (await chat.messages("old"))[0]["parts"]
    assert [part["question"] for part in asked] == [
        {"id": f"a.{n}", "kind": "approval", "state": state}
        for n, state in enumerate(states.values())
    ]
    assert other == call
