"""A process that ends, cleanly or not, leaves nothing stuck and loses nothing that was shown."""

import asyncio
from pathlib import Path

import apsw
import pytest

from sessile.store import sql
from sessile.wire.codec import encode
from sessile.wire.messages import Message, Role
from sessile.wire.parts import TextPart
from tests.serving import Client, Event, Process, events, frames, kinds, process, serving, text

WORDS = " ".join(f"word{index}" for index in range(200))


async def read_deltas(
    chat: Client, count: int, content: str = WORDS, **fields: object
) -> list[Event]:
    """Send a message and read the first ``count`` deltas of its answer."""
    seen: list[Event] = []
    body = {"content": content, **fields}
    async with chat.http.stream("POST", "/chat/s", json=body) as response:
        async for event in events(response):
            seen.append(event)
            if kinds(seen).count("delta") == count:
                return seen
    raise AssertionError(f"the stream ended: {kinds(seen)}")


async def test_kill_9_during_an_answer_keeps_everything_that_was_shown(tmp_path: Path) -> None:
    flags = ["--echo-delay", "0.01", "--on-crash", "mark"]
    async with process(tmp_path, *flags) as (server, chat):
        shown = await read_deltas(chat, 10)
        queued = asyncio.create_task(read_deltas(chat, 1, "and then", id="queued"))
        async with chat.socket("s", "?after=0") as socket:
            while (await frames(socket, until="status"))[-1]["status"] != "queued":
                pass
        server.kill()
        await asyncio.gather(queued, return_exceptions=True)
    async with process(tmp_path, *flags) as (_, chat):
        while len(history := await chat.messages("s")) < 4:
            await asyncio.sleep(0.02)
        assert [m["status"] for m in history[:2]] == ["complete", "interrupted"]
        assert history[1]["content"].startswith(text(shown))
        assert history[1]["id"] == shown[2].data["messageId"]
        assert history[1]["seq"] == shown[2].data["seq"]
        again = await chat.send("s", "and then", id="queued")
        assert again[-2].data["content"] == "and then"
        assert (await chat.value("s"))["status"] == "idle"
        head = (await chat.value("s"))["seq"]
        numbers = [event.id for event in await chat.follow("s", after=0, count=head)]
        assert numbers == list(range(1, head + 1))


async def test_kill_9_after_a_stop_does_not_revive_the_turn(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import asyncio\n"
        "async def reply(turn):\n"
        "    yield 'started'\n"
        "    try:\n"
        "        await asyncio.sleep(60)\n"
        "    finally:\n"
        "        await asyncio.sleep(60)\n"
    )
    async with process(tmp_path, "stubborn:reply") as (server, chat):
        await read_deltas(chat, 1)
        stop = asyncio.create_task(chat.http.post("/chat/s/stop"))
        while (await chat.http.get("/sessions/s")).json()["seq"] < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # the stop is stored long before the two seconds are over
        server.kill()
        await asyncio.gather(stop, return_exceptions=True)
    async with process(tmp_path) as (_, chat):
        assert (await chat.messages("s"))[1]["status"] == "stopped"


async def test_sigterm_lets_a_turn_end_and_starts_no_other(tmp_path: Path) -> None:
    async with (
        process(tmp_path, "--echo-delay", "0.1") as (server, chat),
        chat.socket("s") as socket,
    ):
        running = asyncio.create_task(chat.send("s", "one two three four five six seven"))
        await frames(socket, until="delta")
        waiting = asyncio.create_task(chat.send("s", "later"))
        await frames(socket, until="status")
        ending = asyncio.create_task(asyncio.to_thread(server.terminate))
        assert text(await running) == "one two three four five six seven"
        assert kinds(await waiting)[-2:] == ["error", "done"]
        assert (await waiting)[-2].data["code"] == "shutting_down"
        assert await ending == 0
    async with process(tmp_path) as (_, chat):
        while len(history := await chat.messages("s")) < 4:
            await asyncio.sleep(0.02)
        assert [m["content"] for m in history[2:]] == ["later", "later"]
    assert "Traceback" not in (tmp_path / "stderr.log").read_text()


async def test_a_turn_that_outlasts_the_grace_period_is_interrupted(tmp_path: Path) -> None:
    async with serving(tmp_path, echo_delay=0.05, drain_timeout=0.1, on_crash="mark") as chat:
        assert chat.app is not None
        running = asyncio.create_task(chat.send("s", WORDS))
        while not await chat.messages("s"):
            await asyncio.sleep(0.01)
        await chat.app.drain()
        ended = await running
        assert ended[-2].data["status"] == "interrupted"
        assert kinds(ended)[-1] == "done"
        response = await chat.http.post("/chat/s", json={"content": "x"})
        assert (response.status_code, response.json()["code"]) == (503, "shutting_down")
        ready = await chat.http.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "shutting_down")
        assert len(await chat.messages("s")) == 2


def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    with Process(tmp_path), pytest.raises(RuntimeError, match="in use by another server"):
        Process(tmp_path)


async def test_an_export_is_a_database_that_can_be_served(tmp_path: Path) -> None:
    async with serving(tmp_path) as chat:
        await chat.send("s", "Hello [[tool]]")
        await chat.send("other", "not this")
        history = await chat.messages("s")
        exported = (await chat.http.get("/sessions/s/export?format=sqlite")).content
        as_json = (await chat.http.get("/sessions/s/export")).json()
        as_markdown = (await chat.http.get("/sessions/s/export?format=markdown")).text
        response = await chat.http.get("/sessions/s/export?format=pdf")
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
        response = await chat.http.get("/sessions/nobody/export")
        assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    assert as_json["messages"] == history
    assert as_json["session"]["id"] == "s"
    assert "## User" in as_markdown
    assert "**echo** (complete)" in as_markdown
    (tmp_path / "s.db").write_bytes(exported)
    async with serving(tmp_path, store=f"sqlite:///{tmp_path}/s.db") as chat:
        assert await chat.messages("s") == history
        assert [s["id"] for s in (await chat.http.get("/sessions")).json()] == ["s"]
        await chat.send("s", "and on")
        assert (await chat.messages("s"))[:2] == history


async def test_a_turn_is_started_again_with_on_crash_retry(tmp_path: Path) -> None:
    flags = ["--echo-delay", "0.01", "--on-crash", "retry"]
    said = " ".join(f"word{index}" for index in range(60))
    async with process(tmp_path, *flags) as (server, chat):
        shown = await read_deltas(chat, 5, said)
        server.kill()
    async with process(tmp_path, *flags) as (server, chat):
        async with chat.socket("s", f"?after={shown[-1].id}") as socket:
            seen = await frames(socket, until="message")
            assert seen[-1]["message"]["status"] == "streaming"
            assert seen[-1]["message"]["parts"] == []
            await frames(socket, until="delta")
        server.kill()
    async with process(tmp_path, *flags) as (_, chat):
        async with chat.socket("s", "?after=0") as socket:
            while (seen := await frames(socket))[-1]["message"]["status"] == "streaming":
                pass
        _, answer = await chat.messages("s")
        assert (answer["status"], answer["content"]) == ("complete", said)
        assert answer["id"] == shown[-1].data["messageId"]
        assert answer["seq"] == shown[2].data["seq"]
        events = await chat.follow("s", after=0, count=(await chat.value("s"))["seq"])
        assert [event.id for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize(
    ("said", "crashes"), [("one two three four", 3), ("[[tool]] two three", 1)]
)
async def test_a_turn_is_not_started_again_forever_nor_after_a_tool_call(
    tmp_path: Path, said: str, crashes: int
) -> None:
    flags = ["--echo-delay", "0.5", "--on-crash", "retry"]
    for crash in range(crashes):
        async with process(tmp_path, *flags) as (server, chat):
            if crash == 0:
                asking = asyncio.create_task(chat.http.post("/chat/s", json={"content": said}))
            async with chat.socket("s", "?after=0") as socket:
                await frames(socket, until="part" if "tool" in said else "delta")
            server.kill()
    await asyncio.gather(asking, return_exceptions=True)
    async with process(tmp_path, *flags) as (_, chat):
        question, answer = await chat.messages("s")
        assert (question["status"], answer["status"]) == ("complete", "interrupted")


async def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    database = apsw.Connection(str(tmp_path / "sessile.db"))
    for statement in ("PRAGMA journal_mode = WAL", sql.migrations("sessile.store.sqlite")[0]):
        database.execute(statement).fetchall()
    row = ("s", "one", 3, 2, 0, 1, 1, 7, 0, b"{}", None)
    database.execute(f"INSERT INTO sessions VALUES ({', '.join('?' * len(row))})", row)
    roles: list[Role] = ["user", "assistant"]
    for seq, role in enumerate(roles, 1):
        body = encode(Message(role, role, "words", [TextPart("words")], 1, seq, "complete"))
        values = ("s", seq, role, seq, role, "complete", None, body)
        database.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    event = b'{"type":"deleted","seq":3,"messageId":"gone"}'
    database.execute("INSERT INTO tail VALUES ('s', 3, 3, ?)", (event,))
    database.execute("PRAGMA user_version = 1")
    database.close()
    async with process(tmp_path) as (_, chat):
        assert [m["content"] for m in await chat.messages("s")] == ["words", "words"]
        (kept,) = await chat.follow("s", after=2)
        assert (kept.id, kept.data["messageId"]) == (3, "gone")
        assert len((await chat.http.get("/search?q=words")).json()) == 2
        assert (await chat.send("s", "more"))[-2].data["content"] == "more"
    steps = len(sql.migrations("sessile.store.sqlite"))
    log = (tmp_path / "stderr.log").read_text()
    announced = [f"step {n} of {steps}" in log for n in range(1, steps + 1)]
    assert announced == [False] + [True] * (steps - 1)
    async with process(tmp_path):
        assert (tmp_path / "stderr.log").read_text() == log
