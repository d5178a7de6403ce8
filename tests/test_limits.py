"""How much a client or an agent may store."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from sessile import ToolCallPart, Turn
from sessile.agents.base import Output
from tests.serving import Client, serving

MIB = 1024 * 1024
TEXT = {"type": "text", "content": "x"}


async def refused(chat: Client, method: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    response = await chat.http.request(method, path, json=body)
    return response.status_code, response.json()["code"]


def metadata(size: int) -> dict[str, str]:
    """Metadata of so many bytes of JSON."""
    return {"a": "x" * (size - len('{"a":""}'))}


async def test_a_title_is_cut(chat: Client) -> None:
    whole, long = "y" * 200, "z" * 1_000_000
    await chat.http.post("/sessions", json={"id": "s", "title": whole})
    assert (await chat.value("s"))["title"] == whole
    await chat.http.patch("/sessions/s", json={"title": long})
    assert (await chat.value("s"))["title"] == "z" * 199 + "…"
    created = await chat.http.post("/sessions", json={"title": long})
    forked = await chat.http.post("/sessions/s/fork", json={"title": long})
    assert [len(response.json()["title"]) for response in (created, forked)] == [200, 200]
    exported = (await chat.http.get("/sessions/s/export")).json()
    exported["session"] |= {"id": "again", "title": long}
    imported = await chat.http.post("/sessions/import", json=exported)
    assert len(imported.json()["title"]) == 200


async def test_metadata_of_a_session_has_a_limit_also_when_it_is_merged(chat: Client) -> None:
    too_large = (413, "metadata_too_large")
    body = {"id": "s", "metadata": metadata(64 * 1024 + 1)}
    assert await refused(chat, "POST", "/sessions", body) == too_large
    assert (await chat.http.get("/sessions/s")).status_code == 404
    body["metadata"] = metadata(64 * 1024)
    assert (await chat.http.post("/sessions", json=body)).status_code == 201
    change = {"title": "not changed", "metadata": {"b": 1}}
    assert await refused(chat, "PATCH", "/sessions/s", change) == too_large
    value = await chat.value("s")
    assert (value["title"], value["metadata"]) == ("", metadata(64 * 1024))
    change = {"metadata": {"a": None, "b": 1}}
    assert (await chat.http.patch("/sessions/s", json=change)).json()["metadata"] == {"b": 1}
    exported = (await chat.http.get("/sessions/s/export")).json()
    exported["session"] |= {"id": "again", "metadata": metadata(64 * 1024 + 1)}
    assert await refused(chat, "POST", "/sessions/import", exported) == too_large
    assert (await chat.http.get("/sessions/again")).status_code == 404


@pytest.mark.parametrize("path", ["/chat/s", "/sessions/s/messages"])
async def test_a_messages_metadata_and_parts_have_limits(chat: Client, path: str) -> None:
    for size, status in ((16 * 1024 + 1, 413), (16 * 1024, (200, 201))):
        response = await chat.http.post(path, json={"content": "x", "metadata": metadata(size)})
        assert response.status_code in (status if isinstance(status, tuple) else (status,))
    body: dict[str, Any] = {"parts": [TEXT] * 1_001}
    assert await refused(chat, "POST", path, body) == (400, "invalid_request")
    response = await chat.http.post(path, json={"parts": [TEXT] * 1_000, "id": "m"})
    assert response.status_code in (200, 201)
    message = "/sessions/s/messages/m"
    assert await refused(chat, "PATCH", message, body) == (400, "invalid_request")
    body = {"metadata": metadata(16 * 1024 + 1)}
    assert await refused(chat, "PATCH", message, body) == (413, "metadata_too_large")


async def test_an_answer_is_cut_and_says_so(tmp_path: Path) -> None:
    async def talkative(turn: Turn) -> AsyncGenerator[Output, None]:
        while True:
            yield "ü" * 30_000

    async with serving(tmp_path, agent=talkative, max_answer=MIB) as chat:
        events = await chat.send("s", "go")
        answer = events[-3].data
        assert answer["status"] == "error"
        assert answer["metadata"]["error"]["code"] == "answer_too_long"
        assert answer["content"] == "ü" * (MIB // 2)
        assert "limit" in events[-2].data["error"]


async def test_an_answer_of_too_many_parts_ends(tmp_path: Path) -> None:
    async def busy(turn: Turn) -> AsyncGenerator[Output, None]:
        number = 0
        while True:
            number += 1
            yield ToolCallPart(str(number), "tool", {}, "complete")

    async with serving(tmp_path, agent=busy, max_answer_parts=20) as chat:
        answer = (await chat.send("s", "go"))[-3].data
        assert (answer["status"], len(answer["parts"])) == ("error", 20)


async def test_a_tools_output_is_cut_and_says_so(tmp_path: Path) -> None:
    outputs: list[Any] = ["x" * (2 * MIB), ["y" * MIB, 1], "z" * MIB, {"small": True}]

    async def tools(turn: Turn) -> AsyncGenerator[Output, None]:
        for number, output in enumerate(outputs):
            yield ToolCallPart(str(number), "tool", {}, "complete", tool_output=output)

    async with serving(tmp_path, agent=tools) as chat:
        answer = (await chat.send("s", "go"))[-2].data
    assert answer["status"] == "complete"
    text, structured, whole, small = (part["toolOutput"] for part in answer["parts"])
    assert text == "x" * MIB + "\n[cut: the output has 2,097,152 bytes]"
    assert structured.startswith('["y')
    assert structured.endswith("\n[cut: the output has 1,048,582 bytes]")
    assert (whole, small) == (outputs[2], outputs[3])
