"""The original chat API: send, stream, store, page and broadcast."""

import asyncio
from pathlib import Path

from tests.serving import LONG, Client, frames, kinds, serving, text


async def test_reading_a_session_without_messages_does_not_create_it(chat: Client) -> None:
    assert await chat.messages("test-session") == []
    assert (await chat.http.get("/sessions/test-session")).status_code == 404
    assert (await chat.http.get("/sessions")).json() == []


async def test_a_message_is_acknowledged_streamed_stored_and_ended(chat: Client) -> None:
    events = await chat.send("s", "Hello big world")

    assert kinds(events) == ["ack", "status", "delta", "delta", "delta", "assistant", "done"]
    assert [event.event for event in events] == [
        "message",
        "status",
        "delta",
        "delta",
        "delta",
        "message",
        "done",
    ]
    assert [event.id for event in events] == [1, 2, 3, 4, 5, 6, None]
    ack, answer = events[0].data, events[-2].data
    running = {"type": "status", "seq": 2, "messageId": ack["message"]["id"], "status": "running"}
    assert events[1].data == running
    assert ack["content"] == "Message received"
    assert text(events) == answer["content"] == "Hello big world"
    assert answer["replyTo"] == ack["message"]["id"]
    assert answer["status"] == "complete"

    question, stored = await chat.messages("s")
    assert question == ack["message"]
    assert {"type": "assistant", **stored} == answer
    assert (question["role"], stored["role"]) == ("user", "assistant")


async def test_the_stream_has_the_headers_that_keep_proxies_from_buffering(chat: Client) -> None:
    async with chat.http.stream("POST", "/chat/s", json={"content": "x"}) as response:
        headers = response.headers
        await response.aread()
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"


async def test_echo_returns_exactly_the_text_word_by_word(chat: Client) -> None:
    said = "  two  blanks\nand a\ttab, 日本語 and 🙂 at the end \n"
    events = await chat.send("s", said)
    deltas = [event.data["text"] for event in events if event.data["type"] == "delta"]
    assert deltas[:3] == ["  ", "two  ", "blanks\n"]
    assert text(events) == said


async def test_echo_shows_a_tool_call_when_the_message_asks_for_one(chat: Client) -> None:
    events = await chat.send("s", "run [[tool]] now")
    parts = [event.data for event in events if event.data["type"] == "part"]
    assert [part["part"]["state"] for part in parts] == ["pending", "running", "complete"]
    assert {part["index"] for part in parts} == {0}
    assert len({part["part"]["toolCallId"] for part in parts}) == 1
    assert parts[-1]["part"]["toolName"] == "echo"
    assert parts[-1]["part"]["toolInput"] == {"text": "run [[tool]] now"}
    assert parts[-1]["part"]["toolOutput"] == "run [[tool]] now"
    answer = events[-2].data
    assert [part["type"] for part in answer["parts"]] == ["tool-call", "text"]
    assert answer["content"] == "run [[tool]] now"


async def test_when_an_agent_fails_its_text_is_kept_and_the_session_still_works(
    chat: Client,
) -> None:
    events = await chat.send("s", "one two [[fail]] four")
    assert kinds(events) == ["ack", "status", "delta", "delta", "assistant", "error", "done"]
    assert events[-3].data["status"] == "error"
    assert events[-3].data["content"] == "one two "
    assert events[-2].data["code"] == "agent_error"
    assert "asked for it" not in events[-2].data["error"], "exceptions are not for clients"
    assert text(await chat.send("s", "again")) == "again"
    assert [m["status"] for m in await chat.messages("s")] == [
        "complete",
        "error",
        "complete",
        "complete",
    ]


async def test_a_message_of_parts_is_kept_as_it_was_sent(chat: Client) -> None:
    parts = [
        {"type": "text", "content": "look: "},
        {"type": "file", "mediaType": "image/png", "url": "data:,x", "filename": "a.png"},
        {"type": "source", "url": "https://example.org", "title": "t"},
        {"type": "data", "name": "n", "data": {"a": [1, None, "x"]}},
        {"type": "tool-result", "toolName": "t", "toolOutput": [1], "state": "done"},
        {"type": "text", "content": "here"},
    ]
    body = {"parts": parts, "metadata": {"from": "a test"}}
    events = await chat.stream("POST", "/chat/s", json=body)
    message = events[0].data["message"]
    assert message["parts"] == parts
    assert message["content"] == "look: here"
    assert message["metadata"] == {"from": "a test"}
    assert text(events) == "look: here"


async def test_three_sockets_see_the_same_frames_in_the_same_order(chat: Client) -> None:
    async with chat.socket("s") as one, chat.socket("s") as two, chat.socket("s") as three:
        await chat.send("s", "Hello big [[tool]] world")
        seen = [await frames(socket) for socket in (one, two, three)]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == {"type": "hello", "seq": 0, "status": "idle"}
    assert [frame["seq"] for frame in seen[0][1:]] == list(range(1, len(seen[0])))
    types = [frame["type"] for frame in seen[0]]
    assert types == ["hello", "message", "status", *["part"] * 3, *["delta"] * 4, "message"]


async def test_history_survives_a_restart_and_the_numbers_continue(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("s", "before")
        before = await chat.messages("s")
    async with serving(tmp_path) as chat:
        assert await chat.messages("s") == before
        events = await chat.send("s", "after")
        assert [event.id for event in events] == [5, 6, 7, 8, None]
        assert [m["content"] for m in await chat.messages("s")] == [
            "before",
            "before",
            "after",
            "after",
        ]


async def test_the_history_includes_the_running_answer_so_far(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.01) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", LONG))
        await frames(socket, until="delta")
        await frames(socket, until="delta")
        question, answer = await chat.messages("s")
        assert answer["status"] == "streaming"
        assert answer["replyTo"] == question["id"]
        assert LONG.startswith(answer["content"])
        assert answer["content"]
        assert (await chat.value("s"))["status"] == "running"
        assert await chat.stop("s")
        await sending
        assert (await chat.messages("s"))[1]["status"] == "stopped"
        assert (await chat.value("s"))["status"] == "idle"


async def test_a_turn_continues_after_the_client_that_started_it_disconnects(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, echo_delay=0.01) as chat, chat.socket("s") as socket:
        async with chat.http.stream(
            "POST", "/chat/s", json={"content": "one two three four five"}
        ) as response:
            async for _ in response.aiter_raw():
                break
        seen = await frames(socket)
        assert seen[-1]["message"]["content"] == "one two three four five"
        assert seen[-1]["message"]["status"] == "complete"


async def test_sessions_have_titles_and_counts_and_are_listed_by_activity(chat: Client) -> None:
    await chat.send("a", "First words\nand more")
    await chat.send("b", "x" * 200)
    await chat.send("a", "again")
    listed = (await chat.http.get("/sessions")).json()
    assert [session["id"] for session in listed] == ["a", "b"]
    assert listed[0]["title"] == "First words"
    assert len(listed[1]["title"]) <= 80
    assert listed[0]["messageCount"] == 4
    assert listed[0] == await chat.value("a")
