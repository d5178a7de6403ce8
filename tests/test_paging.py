"""Paging visits every message exactly once, whatever the times of the messages."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from sessile.store.base import READ
from sessile.store.sqlite import store as sqlite
from tests.serving import LONG, Client, frames, serving


@pytest.fixture(params=[READ, 500], ids=["at once", "in chunks"], autouse=True)
def read_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page is read at once, and in chunks as one of very large messages is."""
    monkeypatch.setattr(sqlite, "READ", request.param)


async def test_two_hundred_messages_of_one_second_are_each_visited_once(
    chat: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    for index in range(200):
        await chat.http.post("/sessions/s/messages", json={"content": f"m{index}"})
    everything = await chat.messages("s", limit=200)
    assert len({message["createdAt"] for message in everything}) == 1
    assert len(everything) == 200

    backwards: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 7}
    while page := await chat.messages("s", **query):
        backwards = page + backwards
        query["before"] = page[0]["id"]
    assert backwards == everything

    forwards = everything[:1]
    while page := await chat.messages("s", limit=7, after=forwards[-1]["id"]):
        forwards += page
    assert forwards == everything
    assert {message["content"] for message in everything} == {f"m{i}" for i in range(200)}
    assert [m["seq"] for m in everything] == sorted(m["seq"] for m in everything)


@pytest.mark.parametrize("rel", ["prev", "next"])
async def test_headers_say_whether_there_are_more_messages_and_where(
    chat: Client, rel: str
) -> None:
    stored = []
    for index in range(7):
        response = await chat.http.post("/sessions/s/messages", json={"content": f"m{index}"})
        assert response.status_code == 201
        stored.append(response.json())
    if rel == "next":
        url, seen = f"/chat/s/messages?limit=3&after={stored[0]['id']}", [stored[0]]
    else:
        url, seen = "/chat/s/messages?limit=3", []
    while True:
        response = await chat.http.get(url)
        page = response.json()
        seen = page + seen if rel == "prev" else seen + page
        if response.headers["x-has-more"] == "false":
            assert "link" not in response.headers
            break
        link = re.fullmatch(rf'<([^>]+)>; rel="{rel}"', response.headers["link"])
        assert link
        url = urljoin(f"/a/prefix{url}", link[1]).removeprefix("/a/prefix")
    assert seen == stored


async def test_the_default_page_is_the_newest_25(chat: Client) -> None:
    for index in range(30):
        await chat.http.post("/sessions/s/messages", json={"content": f"m{index}"})
    assert [m["content"] for m in await chat.messages("s")] == [f"m{i}" for i in range(5, 30)]


async def test_an_answer_keeps_its_place_while_it_is_written(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.05) as chat, chat.socket("s") as socket:
        running = asyncio.create_task(chat.send("s", LONG))
        await frames(socket, until="delta")
        for index in range(5):
            await chat.http.post("/sessions/s/messages", json={"content": f"m{index}"})
        whole = await chat.messages("s")
        assert whole[1]["status"] == "streaming"
        assert [m["seq"] for m in whole] == sorted(m["seq"] for m in whole)
        newest = await chat.messages("s", limit=5)
        assert [m["id"] for m in newest] == [m["id"] for m in whole[2:]]
        before = await chat.messages("s", limit=5, before=whole[2]["id"])
        assert [m["id"] for m in before] == [m["id"] for m in whole[:2]]
        after = await chat.messages("s", limit=2, after=whole[0]["id"])
        assert [m["id"] for m in after] == [m["id"] for m in whole[1:3]]
        beyond = await chat.messages("s", after=whole[1]["id"])
        assert [m["id"] for m in beyond] == [m["id"] for m in whole[2:]]
        assert await chat.stop("s")
        await running
        assert [m["id"] for m in await chat.messages("s")] == [m["id"] for m in whole]


async def test_the_list_of_sessions_is_paged_by_activity(chat: Client) -> None:
    for index in range(12):
        await chat.http.post("/sessions", json={"id": f"s{index}", "title": f"Number {index}"})
    await chat.http.patch("/sessions/s3", json={"archived": True})
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 5}
    while True:
        response = await chat.http.get("/sessions", params=query)
        seen += [session["id"] for session in response.json()]
        if response.headers["x-has-more"] == "false":
            break
        query["before"] = seen[-1]
    assert seen == [f"s{index}" for index in reversed(range(12)) if index != 3]
    archived = (await chat.http.get("/sessions?archived=true")).json()
    assert [session["id"] for session in archived] == ["s3"]
    found = (await chat.http.get("/sessions?q=NUMBER%2011")).json()
    assert [session["id"] for session in found] == ["s11"]
    response = await chat.http.get("/sessions?before=nobody")
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
