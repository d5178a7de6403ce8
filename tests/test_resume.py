"""A client that reconnects with any number has the same history as one that stayed connected."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from sessile import ReasoningPart, ToolCallPart, Turn
from sessile.wire.events import Event as SessionEvent
from sessile.wire.events import ResetEvent
from sessile.wire.fold import History
from sessile.wire.frames import singly
from sessile.wire.messages import Message
from tests.serving import Client, Event, frames, serving

decode_event = msgspec.json.Decoder(SessionEvent).decode


class Story:
    """An agent that yields text, thoughts and tool calls, and waits for ``middle`` in between."""

    def __init__(self) -> None:
        self.middle = asyncio.Event()

    async def __call__(self, turn: Turn) -> AsyncGenerator[Any, None]:
        for word in ("let ", "me ", "see"):
            yield ReasoningPart(word)
        yield "First "
        yield "I look. "
        for state in ("pending", "running"):
            yield ToolCallPart("1", "look", {"at": "it"}, state)
        await self.middle.wait()
        yield ToolCallPart("1", "look", {"at": "it"}, "complete", tool_output=[1])
        yield ReasoningPart("aha")
        yield "Then 🙂 "
        yield "I say."


def fold(events: list[dict[str, Any]], base: History | None = None) -> History:
    history = base or History()
    for event in events:
        history.apply(decode_event(json.dumps(event).encode()))
    return history


async def stored_messages(chat: Client) -> list[Message]:
    return [msgspec.convert(message, Message) for message in await chat.messages("s")]


async def from_socket(chat: Client, after: int, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20), chat.socket("s", f"?after={after}") as socket:
        await socket.recv()
        return [json.loads(await socket.recv()) for _ in range(count)]


def as_frames(events: list[Event]) -> list[dict[str, Any]]:
    """Server-sent events as the frames that a socket would have sent."""
    found = []
    for event in events:
        data = event.data
        if data["type"] == "ack":
            data = {"type": "message", "seq": event.id, "message": data["message"]}
        elif data["type"] == "assistant":
            message = {name: value for name, value in data.items() if name != "type"}
            data = {"type": "message", "seq": event.id, "message": message}
        found.append(data)
    return found


async def test_a_client_resumes_from_every_number_of_an_answer(tmp_path: Path) -> None:
    story = Story()
    story.middle.set()
    async with serving(tmp_path, agent=story) as chat:
        await chat.send("s", "tell me")
        head = (await chat.value("s"))["seq"]
        whole = await from_socket(chat, 0, head)
        final = await stored_messages(chat)
        for cut in range(head + 1):
            by_socket = await from_socket(chat, cut, head - cut)
            by_feed = (
                as_frames(await chat.follow("s", after=cut, count=head - cut)) if cut < head else []
            )
            assert by_socket == by_feed == whole[cut:]
            assert fold(by_socket, fold(whole[:cut])).messages() == final


async def test_a_client_resumes_from_every_number_while_the_answer_is_written(
    tmp_path: Path,
) -> None:
    story = Story()
    async with serving(tmp_path, agent=story) as chat, chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "tell me"))
        whole = (await frames(socket, until="part"))[1:]
        whole += await frames(socket, until="part")
        here = len(whole)
        coming = [
            asyncio.create_task(from_socket(chat, cut, here - cut + 5)) for cut in range(here + 1)
        ]
        while chat.watchers() < here + 3:
            await asyncio.sleep(0.005)
        story.middle.set()
        await sending
        whole += await frames(socket)
        final = await stored_messages(chat)
        for cut, resumed in enumerate(await asyncio.gather(*coming)):
            assert resumed == whole[cut:]
            assert fold(resumed, fold(whole[:cut])).messages() == final


@pytest.mark.parametrize("running", [False, True])
async def test_whole_messages_are_sent_when_single_events_are_gone(
    tmp_path: Path, running: bool
) -> None:
    story = Story()
    async with serving(tmp_path, agent=story) as chat:
        assert chat.app is not None
        story.middle.set()
        for word in ("one", "two", "three"):
            await chat.send("s", word, id=word)
        parts = {"parts": [{"type": "text", "content": "changed"}]}
        await chat.http.patch("/sessions/s/messages/one", json=parts)
        await chat.http.delete("/sessions/s/messages/two")
        trimmed = (await chat.value("s"))["seq"]
        whole = await from_socket(chat, 0, trimmed)
        if running:
            story.middle.clear()
            async with chat.socket("s") as socket:
                sending = asyncio.create_task(chat.send("s", "four"))
                for _ in range(2):
                    await frames(socket, until="part")
        await chat.app.store.trim(0)
        head = (await chat.value("s"))["seq"]
        now = await stored_messages(chat)
        for cut in range(trimmed):
            async with asyncio.timeout(20), chat.socket("s", f"?after={cut}") as socket:
                hello, reset = json.loads(await socket.recv()), json.loads(await socket.recv())
                assert (hello["seq"], reset) == (head, {"type": "reset", "seq": head})
                history = fold(whole[:cut])
                last = cut
                while history.messages() != now:
                    frame = json.loads(await socket.recv())
                    assert last < frame["seq"] <= head
                    last = frame["seq"]
                    fold([frame], history)
        feed = await chat.follow("s", after=0, count=2)
        assert (feed[0].event, feed[0].id) == ("reset", None)
        assert feed[1].event == "message"
        if running:
            async with chat.socket("s", "?after=1") as socket:
                story.middle.set()
                await sending
                history = History()
                while history.messages()[-1:] != (await stored_messages(chat))[-1:]:
                    frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
                    if frame["type"] not in ("hello", "reset"):
                        fold([frame], history)


async def test_a_message_that_changes_while_whole_messages_are_sent_is_not_missed(
    tmp_path: Path,
) -> None:
    story = Story()
    async with serving(tmp_path, agent=story) as chat, chat.socket("s") as socket:
        assert chat.app is not None
        await chat.http.post("/sessions/s/messages", json={"content": "before"})
        running = asyncio.create_task(chat.send("s", "first"))
        await frames(socket, until="part")
        waiting = asyncio.create_task(chat.send("s", "second"))
        await frames(socket, until="status")
        await chat.app.store.trim(0)
        assert chat.app._feeds is not None
        watcher = await chat.app._feeds.watch("s", 0)
        history = History()
        (reset,) = singly(await watcher.read())
        assert isinstance(reset.event, ResetEvent)
        story.middle.set()  # the second message changes: its turn starts
        await asyncio.gather(running, waiting)
        while found := await watcher.read():
            for frame in singly(found):
                history.apply(frame.event)
        assert history.messages() == await stored_messages(chat)


async def test_a_head_request_for_a_stream_ends(chat: Client) -> None:
    response = await chat.http.head("/chat/s/events")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_a_number_from_a_deleted_session_is_answered_from_the_beginning(chat: Client) -> None:
    await chat.send("s", "a long first life of many words")
    old = (await chat.value("s"))["seq"]
    await chat.http.delete("/sessions/s")
    await chat.send("s", "new")
    async with chat.socket("s", f"?after={old}") as socket:
        await socket.recv()
        assert json.loads(await socket.recv()) == {"type": "reset", "seq": 4}
        assert fold(await frames_until(socket, 2)).messages() == await stored_messages(chat)


async def frames_until(socket: Any, count: int) -> list[dict[str, Any]]:
    return [json.loads(await asyncio.wait_for(socket.recv(), 10)) for _ in range(count)]


async def test_a_deleted_session_that_is_created_again_starts_at_one(chat: Client) -> None:
    await chat.send("s", "first life")
    async with chat.http.stream("GET", "/chat/s/events") as response:
        await anext(response.aiter_raw())
        await chat.http.delete("/sessions/s")
        assert [event.id for event in await chat.send("s", "second")] == [1, 2, 3, 4, None]


async def test_a_client_that_does_not_read_is_disconnected_and_affects_no_other_client(
    chat: Client,
) -> None:
    """The slow client gets 1013 after its unread frames, and resumes from its last number."""
    content = "x" * 500_000
    async with chat.socket("s", max_queue=1) as slow, chat.socket("s") as quick:
        await quick.recv()
        seen = []
        for _ in range(40):
            await chat.http.post("/sessions/s/messages", json={"content": content})
            seen.append(json.loads(await asyncio.wait_for(quick.recv(), 10))["seq"])
        assert seen == list(range(1, 41))
        async with asyncio.timeout(20):
            got = [json.loads(frame)["seq"] async for frame in slow_frames(slow)]
        assert slow.close_code == 1013
    last = got[-1]
    assert got[1:] == list(range(1, last + 1))
    assert last < 40
    assert [frame["seq"] for frame in await from_socket(chat, last, 40 - last)] == list(
        range(last + 1, 41)
    )


async def slow_frames(socket: ClientConnection) -> AsyncGenerator[str | bytes, None]:
    """The frames that a socket still receives until it is closed."""
    try:
        while True:
            yield await socket.recv()
    except ConnectionClosed:
        return


async def test_a_stream_that_is_not_read_is_closed(chat: Client) -> None:
    content = "x" * 500_000
    async with chat.http.stream("GET", "/chat/s/events") as response:
        await anext(response.aiter_raw())
        for _ in range(40):
            await chat.http.post("/sessions/s/messages", json={"content": content})
        while chat.watchers():
            await asyncio.sleep(0.01)


async def test_many_clients_watch_one_session(chat: Client) -> None:
    async with asyncio.timeout(50):
        sockets = await asyncio.gather(*(chat.socket("s") for _ in range(500)))
        await chat.send("s", "Hello big world")
        seen = await asyncio.gather(*(frames(socket) for socket in sockets))
        assert all(found == seen[0] for found in seen)
        assert [frame.get("seq") for frame in seen[0]] == [0, 1, 2, 3, 4, 5, 6]
        await asyncio.gather(*(socket.close() for socket in sockets))


async def test_a_broadcast_reaches_watchers_and_is_not_stored(chat: Client) -> None:
    assert chat.app is not None
    async with chat.socket("s") as socket, chat.app.session("s") as session:
        await socket.recv()
        await session.broadcast({"type": "typing", "who": "me"})
        assert json.loads(await socket.recv()) == {"type": "typing", "who": "me"}
        await chat.send("s", "x")
        assert [f["seq"] for f in await frames(socket)] == [1, 2, 3, 4]
