"""One turn at a time: queue, interrupt, stop, regenerate, edit, and the result of a turn."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from sessile import ToolCallPart, Turn
from tests.serving import Client, Event, frames, kinds, serving, text


class Gate:
    """An agent that says a word, waits until ``open`` is set, and says another word."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.turns: list[str] = []
        self.active = 0
        self.most = 0

    async def __call__(self, turn: Turn) -> AsyncGenerator[str, None]:
        self.turns.append(turn.content)
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            yield f"started {turn.content} "
            await self.open.wait()
            yield "ended"
        finally:
            self.active -= 1


async def begin(
    chat: Client, socket: Any, content: str, **fields: Any
) -> asyncio.Task[list[Event]]:
    """Send a message and wait until its answer has started."""
    task = asyncio.create_task(chat.send("s", content, **fields))
    await frames(socket, until="delta")
    return task


async def queue(
    chat: Client, socket: Any, content: str, **fields: Any
) -> asyncio.Task[list[Event]]:
    """Send a message and wait until it is queued."""
    task = asyncio.create_task(chat.send("s", content, **fields))
    await frames(socket, until="status")
    return task


async def test_messages_sent_during_a_turn_are_queued_and_answered_in_order(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        sent = [await begin(chat, socket, "a")]
        for content in ("b", "c", "d"):
            sent.append(await queue(chat, socket, content))
        assert [m["status"] for m in await chat.messages("s")] == [
            "complete",
            "streaming",
            "queued",
            "queued",
            "queued",
        ]
        gate.open.set()
        streams = await asyncio.gather(*sent)
        history = await chat.messages("s")
    assert gate.turns == ["a", "b", "c", "d"]
    assert gate.most == 1
    assert kinds(streams[1]) == ["ack", "status", "status", "delta", "delta", "assistant", "done"]
    assert streams[1][1].data["position"] == 1
    assert streams[3][1].data["position"] == 3
    for content, events in zip("abcd", streams, strict=True):
        question, answer = events[0].data["message"], events[-2].data
        assert answer["replyTo"] == question["id"]
        assert text(events) == answer["content"] == f"started {content} ended"
    assert {m["status"] for m in history} == {"complete"}
    assert len(history) == 8


async def test_a_stop_from_another_connection_keeps_the_text_so_far(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        running = await begin(chat, socket, "a")
        response = await chat.http.post("/chat/s/stop")
        assert response.json() == {"stopped": True}
        events = await running
        assert events[-2].data["status"] == "stopped"
        assert events[-2].data["content"] == "started a "
        assert kinds(events)[-1] == "done"
        assert (await chat.http.post("/chat/s/stop")).json() == {"stopped": False}
        assert (await chat.http.post("/chat/never/stop")).json() == {"stopped": False}
        assert gate.active == 0
        gate.open.set()
        assert (await chat.send("s", "b"))[-2].data["content"] == "started b ended"


async def test_after_a_stop_over_the_socket_the_queue_continues(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        first = await begin(chat, socket, "a")
        second = await queue(chat, socket, "b")
        gate.open.clear()
        await socket.send('{"type":"stop"}')
        assert (await first)[-2].data["status"] == "stopped"
        await frames(socket, until="delta")
        gate.open.set()
        assert (await second)[-2].data["content"] == "started b ended"


async def test_an_interrupt_stops_the_running_turn_and_is_answered(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        first = await begin(chat, socket, "a")
        second = asyncio.create_task(chat.send("s", "b", whileBusy="interrupt"))
        assert (await first)[-2].data["status"] == "stopped"
        gate.open.set()
        assert (await second)[-2].data["content"] == "started b ended"
        assert [m["content"] for m in await chat.messages("s")] == [
            "a",
            "started a ",
            "b",
            "started b ended",
        ]


async def test_a_stop_does_not_wait_for_an_agent_that_does_not_end(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def stubborn(turn: Turn) -> AsyncGenerator[str, None]:
        yield "started"
        try:
            await asyncio.sleep(60)
        finally:
            await released.wait()

    async with serving(tmp_path, agent=stubborn) as chat, chat.socket("s") as socket:
        running = await begin(chat, socket, "a")
        assert (await chat.http.post("/chat/s/stop")).json() == {"stopped": True}
        assert (await running)[-2].data["status"] == "stopped"
        released.set()


async def test_open_tool_calls_end_with_their_turn(tmp_path: Path) -> None:
    async def leaves_open(turn: Turn) -> AsyncGenerator[ToolCallPart, None]:
        yield ToolCallPart("1", "search", {"q": "x"}, "running")

    async with serving(tmp_path, agent=leaves_open) as chat:
        answer = (await chat.send("s", "go"))[-2].data
        assert answer["parts"][0]["state"] == "error"
        assert answer["parts"][0]["error"]


async def test_a_queued_message_can_be_withdrawn(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        first = await begin(chat, socket, "a")
        second = await queue(chat, socket, "b", id="b")
        third = await queue(chat, socket, "c")
        assert (await chat.http.delete("/sessions/s/messages/b")).status_code == 204
        assert kinds(await second)[-2:] == ["deleted", "done"]
        gate.open.set()
        await asyncio.gather(first, third)
        assert gate.turns == ["a", "c"]
        assert len(await chat.messages("s")) == 4


async def test_the_running_turn_cannot_be_changed(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        running = await begin(chat, socket, "a")
        question, answer = await chat.messages("s")
        parts = {"parts": [{"type": "text", "content": "x"}]}
        for request in (
            chat.http.delete(f"/sessions/s/messages/{answer['id']}"),
            chat.http.delete(f"/sessions/s/messages/{question['id']}"),
            chat.http.patch(f"/sessions/s/messages/{answer['id']}", json=parts),
            chat.http.post("/chat/s/regenerate", json={}),
            chat.http.post("/chat/s", json={"content": "x", "replaces": question["id"]}),
        ):
            response = await request
            assert (response.status_code, response.json()["code"]) == (409, "turn_in_progress")
        gate.open.set()
        assert (await running)[-2].data["content"] == "started a ended"


async def test_regenerate_answers_the_question_again(chat: Client) -> None:
    await chat.send("s", "first")
    await chat.send("s", "second")
    before = await chat.messages("s")
    async with chat.socket("s") as socket:
        events = await chat.stream("POST", "/chat/s/regenerate", json={})
        seen = await frames(socket)
    assert kinds(events) == ["ack", "status", "delta", "assistant", "done"]
    assert events[0].id is None
    assert [frame["type"] for frame in seen[1:]] == ["deleted", "status", "delta", "message"]
    assert seen[1]["messageId"] == before[3]["id"]
    after = await chat.messages("s")
    assert after[:3] == before[:3]
    assert after[3]["id"] != before[3]["id"]
    assert after[3]["replyTo"] == before[2]["id"]

    await chat.stream("POST", "/chat/s/regenerate", json={"messageId": before[1]["id"]})
    assert [m["content"] for m in await chat.messages("s")] == ["first", "first"]
    assert (await chat.value("s"))["messageCount"] == 2


async def test_regenerate_without_anything_to_regenerate(chat: Client) -> None:
    response = await chat.http.post("/chat/s/regenerate")
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    await chat.send("s", "x", id="question")
    for message in ("nobody", "question"):
        response = await chat.http.post("/chat/s/regenerate", json={"messageId": message})
        assert (response.status_code, response.json()["code"]) == (404, "message_not_found")


async def test_an_edit_replaces_a_message_and_everything_after_it(chat: Client) -> None:
    await chat.send("s", "one", id="1")
    await chat.send("s", "two", id="2")
    await chat.send("s", "three", id="3")
    events = await chat.send("s", "deux", id="2b", replaces="2")
    assert text(events) == "deux"
    assert [m["content"] for m in await chat.messages("s")] == ["one", "one", "deux", "deux"]
    again = await chat.send("s", "deux", id="2b", replaces="2")
    assert again[1:] == events[1:], "a retry of the edit is not a second edit"
    response = await chat.http.post("/chat/s", json={"content": "x", "replaces": "2"})
    assert (response.status_code, response.json()["code"]) == (404, "message_not_found")
    assert len(await chat.messages("s")) == 4


async def test_an_edit_that_interrupts(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        first = await begin(chat, socket, "a", id="a")
        second = await queue(chat, socket, "b")
        edit = asyncio.create_task(chat.send("s", "c", replaces="a", whileBusy="interrupt"))
        assert kinds(await first)[-1] == "done"
        assert kinds(await second)[-2:] == ["deleted", "done"]
        gate.open.set()
        assert (await edit)[-2].data["content"] == "started c ended"
        assert [m["content"] for m in await chat.messages("s")] == ["c", "started c ended"]
        assert gate.turns == ["a", "c"]


async def test_watchers_see_changes_of_messages_and_of_the_session(chat: Client) -> None:
    async with chat.socket("s") as socket:
        await chat.send("s", "Hello", id="q")
        await frames(socket)
        parts = [{"type": "text", "content": "changed"}]
        response = await chat.http.patch("/sessions/s/messages/q", json={"parts": parts})
        assert response.json()["content"] == "changed"
        assert (await frames(socket, until="message-parts"))[-1] == {
            "type": "message-parts",
            "seq": 5,
            "messageId": "q",
            "parts": parts,
        }
        for metadata, left in (({"a": 1, "b": 2}, {"a": 1, "b": 2}), ({"a": None}, {"b": 2})):
            response = await chat.http.patch("/sessions/s/messages/q", json={"metadata": metadata})
            changed = (await frames(socket, until="message-parts"))[-1]
            assert changed["metadata"] == response.json()["metadata"] == left
            assert changed["parts"] == response.json()["parts"] == parts
        assert (await chat.messages("s"))[0]["metadata"] == {"b": 2}
        response = await chat.http.patch("/sessions/s/messages/q", json={})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
        await chat.http.delete("/sessions/s/messages/q")
        deleted = (await frames(socket, until="deleted"))[-1]
        assert deleted == {"type": "deleted", "seq": 8, "messageId": "q"}
        await chat.http.patch("/sessions/s", json={"title": "T", "metadata": {"a": 1}})
        session = (await frames(socket, until="session"))[-1]["session"]
        assert (session["title"], session["metadata"], session["seq"]) == ("T", {"a": 1}, 9)
        await chat.http.patch("/sessions/s", json={"metadata": {"a": None, "b": 2}})
        assert (await chat.value("s"))["metadata"] == {"b": 2}


async def test_deleting_a_session_ends_its_turn_and_its_watchers(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, agent=gate) as chat, chat.socket("s") as socket:
        running = await begin(chat, socket, "a")
        assert (await chat.http.delete("/sessions/s")).status_code == 204
        assert kinds(await running)[-2:] == ["deleted", "done"]
        last = (await frames(socket, until="deleted"))[-1]
        assert "messageId" not in last
        # The server ends the connection, before the client gives up waiting for that.
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == 1000
        assert gate.active == 0
        assert await chat.messages("s") == []
        assert (await chat.http.get("/sessions/s")).status_code == 404
        assert (await chat.http.delete("/sessions/s")).status_code == 404
        gate.open.set()
        assert [event.id for event in await chat.send("s", "new")] == [1, 2, 3, 4, 5, None]


async def test_messages_are_stored_without_an_agent(chat: Client) -> None:
    body = {"role": "system", "content": "Be brief", "id": "rules"}
    response = await chat.http.post("/sessions/s/messages", json=body)
    assert response.status_code == 201
    assert response.json()["role"] == "system"
    assert (await chat.http.post("/sessions/s/messages", json=body)).json() == response.json()
    other = await chat.http.post("/sessions/s/messages", json=body | {"content": "Be long"})
    assert (other.status_code, other.json()["code"]) == (409, "message_conflict")
    assert len(await chat.messages("s")) == 1


async def test_creating_a_session(chat: Client) -> None:
    response = await chat.http.post("/sessions", json={"id": "s", "metadata": {"k": 1}})
    assert response.status_code == 201
    assert response.json()["metadata"] == {"k": 1}
    response = await chat.http.post("/sessions", json={"id": "s"})
    assert (response.status_code, response.json()["code"]) == (409, "session_exists")
    response = await chat.http.post("/sessions")
    assert response.status_code == 201
    assert response.json()["id"]
    await chat.send("s", "first words")
    assert (await chat.value("s"))["title"] == "first words"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_changing_something_that_does_not_exist_is_refused(chat: Client, method: str) -> None:
    body = {"parts": [{"type": "text", "content": "x"}]}
    response = await chat.http.request(method, "/sessions/s", json={"title": "x"})
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    response = await chat.http.request(method, "/sessions/s/messages/m", json=body)
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    await chat.http.post("/sessions", json={"id": "s"})
    response = await chat.http.request(method, "/sessions/s/messages/m", json=body)
    assert (response.status_code, response.json()["code"]) == (404, "message_not_found")


async def test_a_deleted_message_does_not_come_back(chat: Client) -> None:
    """A client that was away sends again what was deleted, or replaced, since then."""
    for id in ("one", "two"):
        await chat.send("s", "secret", id=id)
    await chat.send("s", "better", id="three", replaces="two")
    assert (await chat.http.delete("/sessions/s/messages/one")).status_code == 204
    before = await chat.messages("s")
    for id in ("one", "two"):
        body = {"content": "secret", "id": id}
        for path in ("/chat/s", "/sessions/s/messages"):
            response = await chat.http.post(path, json=body)
            assert (response.status_code, response.json()["code"]) == (410, "message_deleted")
        async with chat.socket("s") as socket:
            await socket.send(json.dumps({"type": "send", **body}))
            assert (await frames(socket, until="error"))[-1]["code"] == "message_deleted"
    assert await chat.messages("s") == before
    await chat.http.delete("/sessions/s")
    await chat.send("s", "of another session", id="one")
