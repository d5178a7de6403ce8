"""Answers that come whole, later, or on request; and what a client sends along for the agent."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sessile import Turn
from sessile.history.catch_up import CatchUp
from sessile.http.waiting import responds_async, wants_json
from tests.serving import Client, frames, kinds, process, serving

JSON = {"accept": "application/json"}
LATER = {"prefer": "respond-async"}


class Speaker:
    """Says the words of a message; before ``wait`` it waits. It keeps what came along."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.requests: list[dict[str, Any]] = []

    async def __call__(self, turn: Turn) -> AsyncGenerator[str, None]:
        self.requests.append(turn.request)
        for word in turn.content.split():
            if word == "wait":
                await self.go_on.wait()
            elif word == "fail":
                raise RuntimeError
            yield f"{word} "


@asynccontextmanager
async def speaking(folder: Path, **settings: Any) -> AsyncGenerator[tuple[Client, Speaker], None]:
    speaker = Speaker()
    async with serving(folder, agent=speaker, **settings) as chat:
        yield chat, speaker


async def post(
    chat: Client, content: str, headers: dict[str, str], path: str = "/chat/s", **body: Any
) -> Any:
    return await chat.http.post(path, json={"content": content, **body}, headers=headers)


async def test_the_settled_answer_comes_as_json(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (chat, _):
        response = await post(chat, "one two", JSON)
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
        assert (response.json()["content"], response.json()["status"]) == ("one two ", "complete")
        assert response.json() == (await chat.messages("s"))[-1]
        failed = (await post(chat, "one fail", JSON)).json()
        assert (failed["content"], failed["status"]) == ("one ", "error")
        assert failed["metadata"]["error"]["code"] == "agent_error"
        first = (await post(chat, "again", JSON, id="i")).json()
        assert (await post(chat, "again", JSON, id="i")).json() == first
        again = await chat.http.post("/chat/s/regenerate", json={}, headers=JSON)
        assert (again.json()["content"], again.json()["id"] != first["id"]) == ("again ", True)
        assert chat.watchers() == 0


async def test_a_turn_that_takes_longer_is_named(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (chat, speaker):
        response = await post(chat, "one wait", JSON, "/chat/s?timeout=1")
        assert response.status_code == 504
        assert response.json()["code"] == "still_running"
        id = response.json()["messageId"]
        standing = (await chat.http.get(f"/chat/s/messages/{id}")).json()
        assert (standing["content"], standing["status"]) == ("one ", "streaming")
        waiting = asyncio.create_task(chat.http.get(f"/chat/s/messages/{id}?wait=30"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        speaker.go_on.set()
        assert (await waiting).json()["content"] == "one wait "
        assert chat.watchers() == 0


async def test_a_message_is_accepted_before_its_answer(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (chat, speaker):
        first = await post(chat, "wait", LATER)
        assert (first.status_code, first.headers["preference-applied"]) == (202, "respond-async")
        assert first.json()["message"]["content"] == "wait"
        second = (await post(chat, "next", LATER, id="n")).json()
        for accepted, status in ((first.json(), "streaming"), (second, "queued")):
            url = f"/chat/s/messages/{accepted['answerId']}"
            standing = (await chat.http.get(url + "?wait=0")).json()
            assert (standing["content"], standing["status"]) == ("", status)
            assert standing["replyTo"] == accepted["message"]["id"]
        assert (await post(chat, "next", LATER, id="n")).json()["answerId"] == second["answerId"]
        urls = [f"/chat/s/messages/{id}?wait=30" for id in ("n", second["answerId"])]
        waiting = [asyncio.create_task(chat.http.get(url)) for url in urls]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        speaker.go_on.set()
        question, answer = [(await task).json() for task in waiting]
        assert (question["status"], answer["content"]) == ("complete", "next ")


async def test_whoever_waits_learns_of_the_end(tmp_path: Path) -> None:
    async with speaking(tmp_path, drain_timeout=1.0) as (chat, _):
        await post(chat, "wait", LATER, "/chat/gone")
        id = (await chat.value("gone")) and (await chat.messages("gone"))[-1]["id"]
        sent = (await post(chat, "later", LATER, "/chat/gone")).json()
        url = f"/chat/gone/messages/{sent['message']['id']}"
        waiting = asyncio.create_task(chat.http.get(f"{url}?wait=30"))
        other = asyncio.create_task(chat.http.get(f"/chat/gone/messages/{id}?wait=30"))
        await asyncio.sleep(0.1)
        await chat.http.delete(f"/sessions/gone/messages/{sent['message']['id']}")
        assert (await waiting).status_code == 404
        assert (await other).json()["content"] == "wait"  # it was settled all the time
        answer = (await post(chat, "wait", LATER, "/chat/s")).json()["answerId"]
        last = asyncio.create_task(chat.http.get(f"/chat/s/messages/{answer}?wait=30"))
        await asyncio.sleep(0.1)
        assert chat.app is not None
        await chat.app.drain()
        assert (await last).json()["status"] == "interrupted"


async def test_a_question_that_is_withdrawn_ends_the_wait_for_its_answer(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (chat, _):
        await post(chat, "wait", LATER)
        queued = (await post(chat, "next", LATER, id="n")).json()["answerId"]
        asking = asyncio.create_task(post(chat, "next", JSON, id="n"))
        reading = asyncio.create_task(chat.http.get(f"/chat/s/messages/{queued}?wait=30"))
        while chat.watchers() < 2:
            await asyncio.sleep(0.01)
        await chat.http.delete("/sessions/s/messages/n")
        for response in [await asking, await reading]:
            assert (response.status_code, response.json()["code"]) == (404, "message_not_found")


async def test_a_wait_reads_nothing_of_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with speaking(tmp_path) as (chat, speaker):
        for _ in range(3):
            await chat.send("s", "one")
        assert chat.app is not None
        await chat.app.store.trim(-1)
        answer = (await post(chat, "wait", LATER)).json()["answerId"]
        monkeypatch.setattr(CatchUp, "begin", None)
        reading = asyncio.create_task(chat.http.get(f"/chat/s/messages/{answer}?wait=30"))
        while not chat.watchers():
            await asyncio.sleep(0.01)
        speaker.go_on.set()
        assert (await reading).json()["content"] == "wait "


async def test_a_client_that_leaves_is_not_waited_for(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (chat, speaker):
        asking = asyncio.create_task(post(chat, "one wait", JSON))
        while not chat.watchers():
            await asyncio.sleep(0.01)
        asking.cancel()
        while chat.watchers():
            await asyncio.sleep(0.01)
        speaker.go_on.set()
        while (await chat.value("s"))["status"] != "idle":
            await asyncio.sleep(0.01)
        assert (await chat.messages("s"))[-1]["content"] == "one wait "


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/chat/s/messages/nobody", 404, "message_not_found"),
        ("/chat/nobody/messages/nobody?wait=1", 404, "message_not_found"),
        ("/chat/s/messages/m?wait=x", 400, "invalid_request"),
        ("/chat/s/messages/m?wait=4000", 400, "invalid_request"),
        ("/chat/s%20/messages/m", 400, "invalid_session_id"),
    ],
)
async def test_a_wait_for_what_is_not_there(
    tmp_path: Path, path: str, status: int, code: str
) -> None:
    async with speaking(tmp_path) as (chat, _):
        await chat.send("s", "one")
        response = await chat.http.get(path)
        assert (response.status_code, response.json()["code"]) == (status, code)
        bad = await post(chat, "x", JSON, "/chat/s?timeout=0")
        assert (bad.status_code, bad.json()["code"]) == (400, "invalid_request")
        assert len(await chat.messages("s")) == 2, "nothing was stored"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", True),
        ("application/json, text/plain, */*", False),
        ("text/event-stream", False),
        ("application/json, text/event-stream", False),
        ("application/json, text/event-stream;q=0.5", True),
        ("application/*;q=0.5, text/*;q=0.4", True),
        ("Application/JSON;charset=utf-8", True),
        ("application/json;q=0", False),
        ("application/json;q=x", False),
    ],
)
def test_which_answer_a_client_prefers(accept: str, wanted: bool) -> None:
    assert wants_json(accept) == wanted


@pytest.mark.parametrize(
    ("prefer", "wanted"),
    [("", False), ("respond-async", True), ("wait=5, Respond-Async; x=1", True), ("wait=5", False)],
)
def test_whether_a_client_waits(prefer: str, wanted: bool) -> None:
    assert responds_async(prefer) == wanted


# What comes along ---------------------------------------------------------------------------------


MODEL = {"model": "large", "settings": {"temperature": 0.5}}


async def test_what_came_along_reaches_the_agent_and_no_client(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (chat, speaker):
        sent = await chat.send("s", "one", request=MODEL)
        await chat.send("s", "two")
        await chat.http.post("/chat/s/regenerate", json={"messageId": sent[-2].data["id"]})
        async with chat.socket("s") as socket:
            await frames(socket, until="hello")
            await socket.send('{"type": "send", "content": "three", "request": {"a": 1}}')
            await frames(socket)
        assert speaker.requests == [MODEL, {}, MODEL, {"a": 1}]
        export = await chat.http.get("/sessions/s/export")
        assert "temperature" not in export.text + str(await chat.messages("s")) + str(sent)


async def test_what_came_along_waits_with_its_message(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (chat, speaker):
        await post(chat, "wait", LATER)
        sent = (await post(chat, "next", LATER, request=MODEL)).json()
        edit = {"parts": [{"type": "text", "content": "edited"}]}
        await chat.http.patch(f"/sessions/s/messages/{sent['message']['id']}", json=edit)
        speaker.go_on.set()
        url = f"/chat/s/messages/{sent['answerId']}?wait=30"
        assert (await chat.http.get(url)).json()["content"] == "edited "
        assert speaker.requests == [{}, MODEL]


async def test_what_came_along_survives_a_crash(tmp_path: Path) -> None:
    (tmp_path / "speaker.py").write_text(
        "import asyncio\n"
        "async def reply(turn):\n"
        "    yield str(turn.request)\n"
        "    if turn.content == 'wait' and not turn.request.get('go'):\n"
        "        await asyncio.sleep(60)\n"
    )
    flags = ["--agent", "speaker:reply", "--on-crash", "retry"]
    async with process(tmp_path, *flags, PYTHONPATH=str(tmp_path)) as (server, chat):
        running = (await post(chat, "wait", LATER, request={"a": 1})).json()["answerId"]
        queued = (await post(chat, "next", LATER, request={"b": 2})).json()["answerId"]
        server.kill()
    async with process(tmp_path, *flags, PYTHONPATH=str(tmp_path)) as (_, chat):
        while (
            "'a': 1" not in (await chat.http.get(f"/chat/s/messages/{running}")).json()["content"]
        ):
            await asyncio.sleep(0.02)
        await chat.stop("s")
        answer = (await chat.http.get(f"/chat/s/messages/{queued}?wait=30")).json()
        assert answer["content"] == "{'b': 2}"


async def test_what_came_along_has_a_limit_and_a_shape(tmp_path: Path) -> None:
    async with speaking(tmp_path, max_message_metadata=1_024) as (chat, speaker):
        response = await post(chat, "x", {}, request={"a": "x" * 2_000})
        assert (response.status_code, response.json()["code"]) == (413, "metadata_too_large")
        assert "`request`" in response.json()["error"]
        response = await post(chat, "x", {}, request=[1])
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
        assert speaker.requests == []
        assert kinds(await chat.send("s", "x", request={}))[-1] == "done"
