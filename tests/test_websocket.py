"""The WebSocket: hello, missed events, new events, commands, and refused requests."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sessile import create_app
from sessile.http.frames import FramesProtocol
from tests.serving import LONG, Client, frames, kinds, running, serving


async def test_hello_has_the_number_and_the_status(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.02) as chat:
        async with chat.socket("s") as socket:
            hello = json.loads(await socket.recv())
            assert hello == {"type": "hello", "seq": 0, "status": "idle"}
            turn = asyncio.create_task(chat.send("s", LONG))
            await frames(socket, until="delta")
            async with chat.socket("s") as other:
                hello = json.loads(await other.recv())
                assert (hello["status"], hello["seq"] > 1) == ("running", True)
            assert await chat.stop("s")
            await turn
        assert (await chat.http.get("/sessions")).json()[0]["id"] == "s"


async def test_watching_does_not_create_a_session(chat: Client) -> None:
    async with chat.socket("s"):
        assert (await chat.http.get("/sessions")).json() == []


async def test_a_message_is_sent_over_the_socket(chat: Client) -> None:
    async with chat.socket("s") as socket:
        await socket.send(json.dumps({"type": "send", "content": "Hello", "id": "mine"}))
        seen = await frames(socket)
    assert [frame["type"] for frame in seen] == ["hello", "message", "status", "delta", "message"]
    assert seen[1]["message"]["id"] == "mine"
    assert seen[4]["message"]["content"] == "Hello"


async def test_ping_is_answered(chat: Client) -> None:
    async with chat.socket("s") as socket:
        await socket.send('{"type":"ping"}')
        assert (await frames(socket, until="pong"))[-1] == {"type": "pong"}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("nope", "invalid_request"),
        ("[]", "invalid_request"),
        ("{}", "invalid_request"),
        ('{"type":5}', "invalid_request"),
        ('{"type":"dance"}', "invalid_request"),
        ('{"type":"send"}', "content_required"),
        ('{"type":"send","content":" "}', "content_required"),
        ('{"type":"send","content":5}', "invalid_request"),
        ('{"type":"send","content":"\\ud800"}', "invalid_request"),
        ('{"type":"send","content":"x","replaces":"nobody"}', "message_not_found"),
        ("[" * 100_000, "invalid_request"),
        (b"\xff\xfe", "invalid_request"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_an_invalid_frame_gets_an_error_and_the_socket_stays_open(
    chat: Client, frame: str | bytes, code: str
) -> None:
    async with chat.socket("s") as socket:
        await socket.send(frame)
        error = (await frames(socket, until="error"))[-1]
        assert set(error) == {"type", "error", "code"}
        assert error["code"] == code
        await socket.send('{"type":"ping"}')
        await frames(socket, until="pong")
    assert await chat.messages("s") == []


async def test_a_frame_over_the_limit_closes_the_socket(tmp_path: Path) -> None:
    async with serving(tmp_path, max_body=2000) as chat, chat.socket("s") as socket:
        await socket.send(json.dumps({"type": "send", "content": "x" * 2000}))
        with pytest.raises(ConnectionClosed):
            await frames(socket)
        assert socket.close_code == 1009
        assert await chat.messages("s") == []


async def test_after_sends_the_missed_events_and_then_new_ones(chat: Client) -> None:
    await chat.send("s", "one two three")
    async with chat.socket("s", "?after=0") as whole:
        everything = (await frames(whole))[1:]
    for seen in range(7):
        async with chat.socket("s", f"?after={seen}") as socket:
            assert json.loads(await socket.recv())["seq"] == 6
            missed = [json.loads(await socket.recv()) for _ in range(6 - seen)]
            assert missed == everything[seen:]
    async with chat.socket("s", "?after=6") as socket:
        await chat.send("s", "four")
        assert [frame["seq"] for frame in (await frames(socket))[1:]] == [7, 8, 9, 10]


@pytest.mark.parametrize(
    ("path", "code"),
    [("/sessions/a%20b/websocket", "invalid_session_id"),
     ("/sessions/s/websocket?after=x", "invalid_request"),
     ("/sessions/s/websocket?after=-1", "invalid_request")],
)  # fmt: skip
async def test_requests_that_are_refused_before_the_handshake(
    chat: Client, path: str, code: str
) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with chat.connect(path):
            pass
    assert refusal.value.response.status_code == 400
    assert json.loads(refusal.value.response.body or b"")["code"] == code


async def test_the_events_feed_sends_the_same_events_as_the_socket(chat: Client) -> None:
    await chat.send("s", "Hello [[tool]] you")
    async with chat.socket("s", "?after=0") as socket:
        seen = (await frames(socket))[1:]
    feed = await chat.follow("s", after=0, count=len(seen))
    assert [event.id for event in feed] == [frame["seq"] for frame in seen]
    for event, frame in zip(feed, seen, strict=True):
        if frame["type"] == "message":
            assert event.event == "message"
            assert event.data["type"] in ("ack", "assistant")
        else:
            assert event.event == frame["type"]
            assert event.data == frame


async def test_the_events_feed_continues_after_last_event_id(chat: Client) -> None:
    await chat.send("s", "one two three")
    by_header = await chat.follow("s", count=3, headers={"Last-Event-ID": "2"})
    by_query = await chat.follow("s", after=2, count=3)
    both = await chat.follow("s", after=0, count=3, headers={"Last-Event-ID": "2"})
    assert [event.id for event in by_header] == [3, 4, 5]
    assert by_header == by_query == both


async def test_the_events_feed_starts_with_new_events_by_default(chat: Client) -> None:
    await chat.send("s", "before")
    following = asyncio.create_task(chat.follow("s", count=3))
    while chat.watchers() == 0:
        await asyncio.sleep(0.005)
    await chat.send("s", "after")
    assert [event.id for event in await following] == [5, 6, 7]


async def test_a_client_that_disconnects_is_no_longer_a_watcher(chat: Client) -> None:
    async with chat.http.stream("GET", "/chat/s/events") as response:
        assert (await anext(response.aiter_raw())).startswith(b":")
        assert chat.watchers() == 1
    async with chat.socket("s"):
        pass
    while chat.watchers():
        await asyncio.sleep(0.02)


async def test_the_socket_works_the_same_with_another_websocket_implementation(
    tmp_path: Path,
) -> None:
    """Frames that are made once are our extension; without it each message is sent as usual."""
    received: list[object] = []
    for server in (FramesProtocol, "websockets-sansio"):
        folder = tmp_path / str(len(received))
        folder.mkdir()
        app = create_app(store=f"sqlite:///{folder}/sessile.db")
        async with running(app, server) as url:
            client = Client(url, app)
            async with client.http, client.socket("s", "?after=0") as socket:
                await client.send("s", "Grüße " + "x" * 70_000, id="mine")
                seen = await frames(socket)
        assert seen[-1]["message"]["content"] == "Grüße " + "x" * 70_000
        received.append([(frame["type"], frame["seq"], frame.get("text")) for frame in seen])
    assert received[0] == received[1]


async def test_a_socket_that_is_closing_gets_nothing_more(chat: Client) -> None:
    async with chat.socket("s") as socket:
        await socket.recv()
    assert kinds(await chat.send("s", "Hello")) == ["ack", "status", "delta", "assistant", "done"]
    assert chat.watchers() == 0


async def test_a_closed_socket_ends_although_its_client_goes_on_sending(chat: Client) -> None:
    await chat.send("s", "x")
    async with chat.socket("s") as socket:
        await frames(socket, until="hello")
        async with asyncio.TaskGroup() as group:
            deleted = group.create_task(chat.http.delete("/sessions/s"))
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await socket.send('{"type": "ping"}')
                    await asyncio.sleep(0)
        assert deleted.result().status_code == 204
        await asyncio.wait_for(socket.wait_closed(), 5)
        assert socket.close_code == 1000
