"""Invalid input gets a clear error and a code, and loses nothing: the contract's table and more."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.serving import LONG, Client, frames, kinds, serving


async def refusal(
    chat: Client, body: bytes | dict[str, Any], session: str = "s"
) -> tuple[int, str, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await chat.http.post(f"/chat/{session}", content=data)
    error = response.json()
    assert set(error) == {"error", "code"}, error
    assert error["error"].strip()
    assert await chat.messages("s") == [], "nothing is stored"
    return response.status_code, error["code"], error["error"]


@pytest.mark.parametrize(
    "body",
    [{}, {"content": ""}, {"content": " \n\t\u3000"}, {"content": None}, {"parts": []},
     {"parts": [{"type": "text", "content": " "}]}],
    ids=str,
)  # fmt: skip
async def test_missing_or_blank_content_is_refused(chat: Client, body: dict[str, Any]) -> None:
    assert await refusal(chat, body) == (400, "content_required", "Message content required")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "not JSON"),
        (b"nope", "not JSON"),
        (b'{"content":"x"', "not JSON"),
        (b'{"content":"\xff\xfe"}', "not JSON"),
        (b'{"content":NaN}', "not JSON"),
        (b"[1]", "`object`"),
        (b'"text"', "`object`"),
        (b'{"content":5}', "$.content"),
        (b'{"content":["x"]}', "$.content"),
        (b'{"content":"x","id":7}', "$.id"),
        (b'{"content":"x","metadata":[]}', "$.metadata"),
        (b'{"content":"x","whileBusy":"panic"}', "$.whileBusy"),
        (b'{"parts":"x"}', "$.parts"),
        (b'{"parts":[{"type":"text"}]}', "$.parts[0]"),
        (b'{"parts":[{"type":"hologram","content":"x"}]}', "$.parts[0].type"),
        (b'{"content":"x","parts":[{"type":"text","content":"y"}]}', "`parts`"),
        (b'{"content":"a\\ud800b"}', "$.content"),
        (b'{"content":"x","metadata":{"a":["\\udfff"]}}', "$.metadata.a[0]"),
        (b'{"content":"x","metadata":{"n":1e999}}', "$.metadata"),
        (b'{"content":"x","id":"a\\u0000b"}', "control character"),
        (b'{"content":"x","id":""}', "1 to 255"),
        (b'{"content":"x","metadata":' + b'{"a":' * 70 + b"1" + b"}" * 71, "deep"),
        (b'{"content":"x","metadata":{"a":' + b"[" * 200_000, "deep"),
        (b'{"content":"x","unknown":' + b"[" * 200_000, "deep"),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
async def test_errors_say_what_is_wrong_and_where(chat: Client, body: bytes, what: str) -> None:
    status, _, sentence = await refusal(chat, body)
    assert status == 400
    assert what in sentence


async def test_unusual_but_valid_input_is_kept(chat: Client) -> None:
    metadata = {"n": 2**80, "deep": [[[[[[1]]]]]], "e": "", "nul": "a\0b"}
    events = await chat.send("s", "a\0b 🙂 \u202e", metadata=metadata, unknown={"x": 1})
    assert kinds(events)[-1] == "done"
    stored = (await chat.messages("s"))[0]
    assert stored["metadata"] == metadata
    assert stored["content"] == "a\0b 🙂 \u202e"


@pytest.mark.parametrize("session", ["a b", "ä", "x" * 129, "a%00b", "a,b", "%2e%2e%2f", "a\\b"])
async def test_invalid_session_ids_are_refused(chat: Client, session: str) -> None:
    for method, path in [
        ("GET", f"/chat/{session}/messages"),
        ("POST", f"/chat/{session}"),
        ("GET", f"/chat/{session}/events"),
        ("GET", f"/sessions/{session}"),
        ("POST", f"/chat/{session}/stop"),
    ]:
        response = await chat.http.request(method, path, json={"content": "x"})
        if "/" in session or "%2f" in session:
            assert response.status_code in (400, 404, 405)
        else:
            assert (response.status_code, response.json()["code"]) == (400, "invalid_session_id")


@pytest.mark.parametrize("session", ["a", "A-Z.a_z~0:9@-", "x" * 128, "..", "~"])
async def test_valid_session_ids_are_accepted(chat: Client, session: str) -> None:
    path = session.replace(".", "%2E")
    assert kinds(await chat.stream("POST", f"/chat/{path}", json={"content": "x"}))[-1] == "done"
    assert len(await chat.messages(path)) == 2


async def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, max_body=2000) as chat:
        assert (await refusal(chat, {"content": "x" * 2000}))[:2] == (413, "body_too_large")

        async def chunks() -> Any:
            for _ in range(30):
                yield b" " * 100

        response = await chat.http.post("/chat/s", content=chunks())
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        fits = json.dumps({"content": "x" * 1900}).encode()
        assert (await chat.http.post("/chat/s", content=fits)).status_code == 200


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 400, "invalid_request"),
        ("limit=201", 400, "invalid_request"),
        ("limit=ten", 400, "invalid_request"),
        ("limit=-1", 400, "invalid_request"),
        ("limit=1e2", 400, "invalid_request"),
        ("limit=" + "9" * 5000, 400, "invalid_request"),
        ("limit=", 400, "invalid_request"),
        ("before=nobody", 404, "message_not_found"),
        ("after=nobody", 404, "message_not_found"),
        ("before=a&after=b", 400, "invalid_request"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_invalid_pages_are_refused(chat: Client, query: str, status: int, code: str) -> None:
    await chat.send("s", "x")
    response = await chat.http.get(f"/chat/s/messages?{query}")
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_the_same_id_with_the_same_content_is_the_same_turn(chat: Client) -> None:
    first = await chat.send("s", "Hello there", id="mine")
    again = await chat.send("s", "Hello there", id="mine")
    with_header = await chat.stream(
        "POST", "/chat/s", json={"content": "Hello there"}, headers={"Idempotency-Key": "mine"}
    )
    assert kinds(again) == kinds(first)
    assert again[0].id is None, "the ack of a repeat is not part of the sequence"
    assert again[1:] == first[1:] == with_header[1:]
    assert first[0].data == again[0].data
    assert len(await chat.messages("s")) == 2


async def test_the_same_id_with_different_content_is_a_conflict(chat: Client) -> None:
    await chat.send("s", "Hello", id="mine")
    response = await chat.http.post("/chat/s", json={"content": "Bye", "id": "mine"})
    assert (response.status_code, response.json()["code"]) == (409, "message_conflict")
    answer = (await chat.messages("s"))[1]["id"]
    response = await chat.http.post("/chat/s", json={"content": "Hello", "id": answer})
    assert (response.status_code, response.json()["code"]) == (409, "message_conflict")
    assert len(await chat.messages("s")) == 2


async def test_an_id_that_differs_from_the_idempotency_key_is_refused(chat: Client) -> None:
    response = await chat.http.post(
        "/chat/s", json={"content": "x", "id": "a"}, headers={"Idempotency-Key": "b"}
    )
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_many_requests_at_once_with_one_id_are_one_message(chat: Client) -> None:
    sent = await asyncio.gather(*(chat.send("s", "only once", id="mine") for _ in range(20)))
    assert len(await chat.messages("s")) == 2
    assert len({events[-2].data["id"] for events in sent}) == 1
    assert sorted(events[0].id or 0 for events in sent) == [0] * 19 + [1]


async def test_a_busy_session_rejects_a_message_that_must_not_wait(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.02) as chat, chat.socket("s") as socket:
        running = asyncio.create_task(chat.send("s", LONG))
        await frames(socket, until="delta")
        response = await chat.http.post("/chat/s", json={"content": "x", "whileBusy": "reject"})
        assert (response.status_code, response.json()["code"]) == (409, "turn_in_progress")
        assert await chat.stop("s")
        await running
        assert len(await chat.messages("s")) == 2


async def test_a_full_queue_refuses_more_messages(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.05, queue_limit=2) as chat, chat.socket("s") as ws:
        sending = [asyncio.create_task(chat.send("s", LONG))]
        await frames(ws, until="delta")
        for word in ("b", "c"):
            sending.append(asyncio.create_task(chat.send("s", word)))
            await frames(ws, until="status")
        response = await chat.http.post("/chat/s", json={"content": "d"})
        assert (response.status_code, response.json()["code"]) == (429, "queue_full")
        assert await chat.stop("s")
        await asyncio.gather(*sending)
        assert len(await chat.messages("s")) == 6


async def test_unknown_addresses_and_methods_are_refused(chat: Client) -> None:
    response = await chat.http.get("/nowhere")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    response = await chat.http.put("/chat/s", json={})
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    response = await chat.http.get("/sessions/s/websocket")
    assert (response.status_code, response.json()["code"]) == (426, "upgrade_required")
    assert response.headers["upgrade"] == "websocket"
