"""The Python client: every method, and streams that break at any byte."""

import asyncio
import random
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import sessile
from sessile import DataPart, FilePart, ReasoningPart, TextPart, ToolCallPart, Turn
from sessile.agents.base import Output
from sessile.client import Client, SyncClient, connection
from sessile.wire.errors import (
    InvalidOutput,
    InvalidSessionId,
    MessageConflict,
    MessageNotFound,
    QuestionAnswered,
    QuestionNotFound,
    RemoteError,
    SessionExists,
    SessionNotFound,
    TurnInProgress,
)
from sessile.wire.events import DeletedEvent, DeltaEvent, MessageEvent, PartEvent, StatusEvent
from sessile.wire.fold import History
from tests.serving import LONG, Process, running, serving


async def rich(turn: Turn) -> AsyncGenerator[Output, None]:
    """Every kind of output."""
    yield ReasoningPart("hm ")
    yield "first "
    call = ToolCallPart("1", "t", {"n": 1}, "running")
    yield call
    yield ToolCallPart("1", "t", {"n": 1}, "complete", tool_output=[1])
    yield DataPart("plan", [1, 2])
    for word in turn.content.split():
        yield f"{word} "
        await asyncio.sleep(0)
    turn.metadata["asked"] = turn.request


@sessile.agent(continues=True)
async def form(turn: Turn) -> str:
    schema = {"type": "object", "required": ["n"]}
    result = await turn.call(ToolCallPart("f", "form", {}, "pending"), schema)
    return f"{result.output} {result.error}"


async def test_a_message_is_sent_and_its_events_are_values(tmp_path: Path) -> None:
    async with serving(tmp_path, agent=rich) as chat, Client(chat.url) as client:
        session = client.session("s")
        history = History()
        kinds: list[type] = []
        async for event in session.stream("a b c", request={"model": "x"}):
            history.apply(event)
            kinds.append(type(event))
        assert kinds[:2] == [MessageEvent, StatusEvent]
        assert {DeltaEvent, PartEvent} <= set(kinds)
        question, answer = history.messages()
        assert (question.content, answer.content) == ("a b c", "first a b c ")
        assert answer.metadata == {"asked": {"model": "x"}}
        assert [question, answer] == await session.messages()
        assert await session.message(answer.id, wait=1) == answer
        again = await session.ask("more", id="mine", metadata={"k": 1})
        assert (again.reply_to, again.status) == ("mine", "complete")
        assert (await session.ask("more", id="mine", metadata={"k": 1})).id == again.id
        with pytest.raises(MessageConflict):
            await session.send("other", id="mine")
        assert (await session.regenerate()).reply_to == "mine"


async def test_sessions_are_made_listed_changed_and_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat, Client(chat.url + "/") as client:
        with pytest.raises(SessionNotFound):
            await client.session("s").read()
        made = await client.create("s", "Title", {"a": 1})
        assert (made.id, made.title, made.metadata) == ("s", "Title", {"a": 1})
        with pytest.raises(SessionExists):
            await client.create("s")
        with pytest.raises(InvalidSessionId):
            await client.create("not valid")
        session = client.session("s")
        answer = await session.ask("hello wonderful world")
        assert (await client.search("wonderful"))[0]["sessionId"] == "s"
        assert [found.id for found in await client.sessions()] == ["s"]
        changed = await session.update(title="Other", metadata={"a": None, "b": 2})
        assert (changed.title, changed.metadata) == ("Other", {"b": 2})
        edited = await session.edit(answer.id, [TextPart("new")], {"c": 3})
        assert (edited.content, edited.metadata) == ("new", {"c": 3})
        fork = await session.fork(at=answer.id, id="f")
        assert fork.message_count == 2
        await client.session("f").delete_message(answer.id)
        assert len(await client.session("f").messages()) == 1
        await client.session("f").delete()
        assert [found.id for found in await client.sessions(query="oth")] == ["s"]
        assert await client.sessions(archived=True) == []
        assert (await client.info())["name"] == "sessile"
        file = FilePart("image/png", "data:image/png;base64,AAAA")
        assert (await session.send([TextPart("see"), file])).message.parts[1] == file


async def test_a_turn_is_stopped_and_a_full_queue_is_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.05) as chat, Client(chat.url) as client:
        session = client.session("s")
        assert await session.stop() is False
        sent = await session.send(LONG)
        with pytest.raises(TurnInProgress):
            await session.send("x", while_busy="reject")
        assert await session.stop() is True
        assert sent.answer_id is not None
        assert (await session.message(sent.answer_id)).status == "stopped"
        with pytest.raises(MessageNotFound):
            await session.message("unknown")


async def test_questions_are_listed_and_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat, Client(chat.url) as client:
        session = client.session("s")
        asking = asyncio.create_task(session.ask("[[ask]] please"))
        while not (found := await session.questions()):
            await asyncio.sleep(0.01)
        assert (found[0]["toolName"], found[0]["kind"]) == ("echo", "approval")
        assert (await session.approve(found[0]["id"], message="ok")).state == "approved"
        with pytest.raises(QuestionAnswered):
            await session.approve(found[0]["id"], False)
        with pytest.raises(QuestionNotFound):
            await session.approve("unknown")
        assert (await asking).content == "[[ask]] please"
    async with serving(tmp_path, agent=form) as chat, Client(chat.url) as client:
        for given, said in (({"output": {"n": 1}}, "{'n': 1} None"), ({"error": "no"}, "None no")):
            session = client.session("f")
            asking = asyncio.create_task(session.ask("go"))
            while not (found := await session.questions()):
                await asyncio.sleep(0.01)
            with pytest.raises(InvalidOutput, match="required"):
                await session.give(found[0]["id"], {})
            await session.give(found[0]["id"], **given)
            assert (await asking).content == said


async def test_a_feed_ends_with_its_session(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat, Client(chat.url) as client:
        session = client.session("s")
        await session.ask("one")

        async def follow() -> list[Any]:
            return [event async for event in session.follow()]

        following = asyncio.create_task(follow())
        while not chat.watchers():
            await asyncio.sleep(0.01)
        await session.ask("two")
        await session.delete()
        events = await following
    assert isinstance(events[-1], DeletedEvent)
    assert [event.seq for event in events] == sorted({event.seq for event in events})


@asynccontextmanager
async def cutting(port: int, cuts: list[int]) -> AsyncGenerator[str, None]:
    """A proxy that breaks a connection after so many bytes of what the server says, each time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, server = None, None
        try:
            to_server, server = await asyncio.open_connection("127.0.0.1", port)
            head = await reader.readuntil(b"\r\n\r\n")
            is_stream = b"/events" in head.split(b"\r\n")[0]
            left = cuts.pop() if is_stream and cuts else 2**40
            server.write(head)

            async def up() -> None:
                while data := await reader.read(65536):
                    server.write(data)

            pumping = asyncio.create_task(up())
            while left > 0 and (data := await to_server.read(min(left, 65536))):
                left -= len(data)
                writer.write(data)
                await writer.drain()
            pumping.cancel()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, server):
                if end is not None:
                    end.transport.abort()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with proxy:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"


async def test_a_stream_that_breaks_fifty_times_gives_each_event_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)

    words = [f"wörd{number} " for number in range(500)]

    async def slow(turn: Turn) -> AsyncGenerator[Output, None]:
        for word in words:
            yield word
            await asyncio.sleep(0.001)

    rng = random.Random(1)
    cuts = [rng.randrange(300, 1_500) for _ in range(50)]
    async with serving(tmp_path, agent=slow) as chat:
        port = int(chat.url.rpartition(":")[2])
        # A connection for each request, so that the proxy sees what each is for.
        one = {"connection": "close"}
        async with cutting(port, cuts) as url, Client(url, headers=one) as client:
            session, history, seen = client.session("s"), History(), []
            async for event in session.stream("go"):
                history.apply(event)
                seen.append(event.seq)  # type: ignore[union-attr]
            expected = await session.messages()
    assert not cuts, "it broke fifty times"
    assert seen == list(range(1, len(seen) + 1))
    assert history.messages() == expected
    assert expected[1].content == "".join(words)


async def test_a_server_that_restarts_is_waited_for(tmp_path: Path) -> None:
    with Process(tmp_path, "--echo-delay", "0.02") as server:
        port = server.url.rpartition(":")[2]
        words = " ".join(f"word{number}" for number in range(60))
        async with Client(server.url) as client:
            session, history = client.session("s"), History()
            restarted: Process | None = None
            count = 0
            async for event in session.stream(words):
                history.apply(event)
                count += 1
                if count == 20:
                    await asyncio.to_thread(server.kill)
                    restarted = await asyncio.to_thread(Process, tmp_path, "--port", port)
            assert restarted is not None
            with restarted:
                assert history.messages() == await session.messages()
                assert history.messages()[1].content == words


async def test_a_server_that_stays_away_is_an_error(tmp_path: Path) -> None:
    async with Client("http://127.0.0.1:9", patience=0.3) as client:
        with pytest.raises(RemoteError, match="no server answers at http"):
            await client.session("s").ask("x")
    for wrong in ("nonsense", "http://[", "http://127.0.0.1:99999999"):
        with pytest.raises(RemoteError):
            async with Client(wrong, patience=0.1) as client:
                await client.info()

    async def page(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"<html>"})

    async with running(page) as url, Client(url) as client:
        with pytest.raises(RemoteError, match="the server answered 404"):
            await client.session("s").read()


def test_the_client_without_asyncio(tmp_path: Path) -> None:
    with Process(tmp_path, "--echo-delay", "0.01") as server, SyncClient(server.url) as client:
        session = client.session("s")
        kinds = [type(event).__name__ for event in session.stream("a b")]
        assert kinds == ["MessageEvent", "StatusEvent", "DeltaEvent", "DeltaEvent", "MessageEvent"]
        for event in session.stream(LONG):
            if isinstance(event, DeltaEvent):
                break
        assert session.stop() is True
        assert session.ask("c").content == "c"
        assert [message.content for message in session.messages(2)] == ["c", "c"]
        assert session.read().id == "s"
        with pytest.raises(SessionNotFound):
            client.session("t").read()
        assert client.create("u").id == "u"
        assert {found.id for found in client.sessions(limit=5)} == {"s", "u"}
        sent = session.send("[[call]] x")
        while not (found := session.questions()):
            pass
        assert session.give(found[0]["id"], {"n": 1}).state == "answered"
        assert sent.answer_id is not None
        assert session.message(sent.answer_id, wait=5).status == "complete"
        assert session.update(title="T").title == "T"
        assert session.fork(id="f").id == "f"
        assert client.search("c")
        session.delete()
    assert "sessile client" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RemoteError):
        SyncClient("nonsense").info()
