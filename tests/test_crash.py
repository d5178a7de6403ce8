"""A real server under load, killed at random moments; a checker over what every client saw.

Senders retry with their own message ids until they have an answer; watchers reconnect with the last
number they saw, over WebSocket and over event streams. Everything that they receive is kept, and at
the end it is checked and compared with what is stored.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import WebSocketException

from tests.serving import Client, Process, Transport, events

SESSIONS = [f"s{index}" for index in range(4)]
AWAY = (httpx2.HTTPError, OSError, WebSocketException, EOFError)


class Witness:
    """What all clients together have seen of one session."""

    def __init__(self) -> None:
        self.events: dict[int, dict[str, Any]] = {}  # by number
        self.acked: dict[str, str] = {}  # message id -> content
        self.ended: dict[str, str] = {}  # message id -> the content of its answer

    def saw(self, seq: int, event: dict[str, Any]) -> None:
        """G3: a number means the same event for every client, even after a crash."""
        plain = normalize(event)
        known = self.events.setdefault(seq, plain)
        if "status" in plain.get("message", {}):
            return  # a whole message that is sent later may have changed; it is compared at the end
        assert known == plain, f"two events have the number {seq}: {known} and {plain}"


def normalize(event: dict[str, Any]) -> dict[str, Any]:
    """The event in the same form for all protocols: ack and assistant become messages."""
    if event["type"] == "ack":
        return {"type": "message", "message": event["message"]}
    if event["type"] == "assistant":
        return {"type": "message", "message": {k: v for k, v in event.items() if k != "type"}}
    if event["type"] == "message":
        return {"type": "message", "message": event["message"]}
    return event


class Crowd:
    """Clients that continue whatever happens to the server."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.url = ""
        self.witnesses = {session: Witness() for session in SESSIONS}
        self.resets = 0
        self.sent = 0
        self.over = self.gone = False
        limits = httpx2.Limits(max_connections=None)
        self.http = httpx2.AsyncClient(timeout=20, transport=Transport(limits=limits))
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        for session in SESSIONS:
            jobs: list[Coroutine[Any, Any, None]] = [
                self.sender(session, "a"),
                self.sender(session, "b"),
                self.watcher(session, self.by_socket),
                self.watcher(session, self.by_stream),
            ]
            self.tasks += [asyncio.create_task(job) for job in jobs]

    async def end(self) -> None:
        """Wait until the senders have their last answers and all clients the last event."""
        self.over = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self.tasks)

    async def leave(self) -> None:
        """Disconnect all clients at once."""
        self.gone = True  # a cancellation may be lost if a socket fails while it closes
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.http.aclose()

    async def sender(self, session: str, name: str) -> None:
        witness = self.witnesses[session]
        number = 0
        while not (self.over or self.gone):
            number += 1
            id = f"{name}{number}"
            words = " ".join(f"{id}w{index}" for index in range(self.rng.randint(1, 12)))
            while id not in witness.ended and not self.gone:
                try:
                    await self.send(session, id, words)
                except AWAY:
                    await asyncio.sleep(0.02)

    async def send(self, session: str, id: str, content: str) -> None:
        witness = self.witnesses[session]
        body = {"content": content, "id": id}
        url = f"{self.url}/chat/{session}"
        async with self.http.stream("POST", url, json=body) as response:
            if response.status_code == 503:
                raise OSError("shutting down")
            assert response.status_code == 200, await response.aread()
            async for event in events(response):
                if event.id is not None:
                    witness.saw(event.id, event.data)
                if event.data["type"] == "ack":
                    witness.acked[id] = content
                    self.sent += 1
                elif event.data["type"] == "assistant":
                    witness.ended[id] = event.data["content"]

    async def watcher(self, session: str, by: Any) -> None:
        cursor = 0
        while not self.gone:
            try:
                async for seq, event in by(session, cursor):
                    if event["type"] == "reset":
                        self.resets += 1
                        cursor = event["seq"]
                    elif seq and seq > cursor:
                        assert seq == cursor + 1, f"{seq} came after {cursor}"
                        self.witnesses[session].saw(seq, event)
                        cursor = seq
                    if self.over and await self.is_at_end(session, cursor):
                        return
            except AWAY:
                await asyncio.sleep(0.02)

    async def is_at_end(self, session: str, cursor: int) -> bool:
        value = (await self.http.get(f"{self.url}/sessions/{session}")).json()
        return bool(value["status"] == "idle" and value["seq"] == cursor)

    async def by_socket(self, session: str, cursor: int) -> AsyncGenerator[Any, None]:
        async with Client(self.url).socket(session, f"?after={cursor}") as socket:
            yield 0, json.loads(await socket.recv())
            while True:
                try:
                    frame = json.loads(await asyncio.wait_for(socket.recv(), 0.5))
                except TimeoutError:
                    yield 0, {"type": "silence"}
                else:
                    yield frame.get("seq"), frame

    async def by_stream(self, session: str, cursor: int) -> AsyncGenerator[Any, None]:
        headers = {"Last-Event-ID": str(cursor)}
        url = f"{self.url}/chat/{session}/events"
        timeout = httpx2.Timeout(10, read=0.5)
        try:
            async with self.http.stream("GET", url, headers=headers, timeout=timeout) as response:
                async for event in events(response):
                    yield event.id, event.data
        except httpx2.ReadTimeout:
            yield 0, {"type": "silence"}


def check(witness: Witness, history: list[dict[str, Any]]) -> None:
    """Check the guarantees for what was seen (``witness``) and what is stored."""
    stored = {message["id"]: message for message in history}
    questions = [message for message in history if message["role"] == "user"]
    answers = {m["replyTo"]: m for m in history if m["role"] == "assistant"}

    # G1: what was acknowledged is stored. G9: it is stored once, however often it was sent.
    assert len(stored) == len(history)
    for id, content in witness.acked.items():
        assert stored[id]["content"] == content
    for id, content in witness.ended.items():
        assert answers[id]["content"] == content

    # G8: nothing is stuck, and every question has one answer.
    assert {m["status"] for m in history} <= {"complete", "interrupted"}
    assert {m["id"] for m in questions} == set(answers)
    assert len(history) == 2 * len(questions)
    for message in questions:
        answer = answers[message["id"]]
        assert message["content"].startswith(answer["content"])
        assert (answer["content"] == message["content"]) or answer["status"] == "interrupted"

    # G3: numbers without gaps. G2: every word that was shown is in the stored answer.
    numbers = sorted(witness.events)
    assert numbers == list(range(1, len(numbers) + 1))
    shown: dict[str, str] = defaultdict(str)
    order: list[str] = []
    for seq in numbers:
        event = witness.events[seq]
        if event["type"] == "delta":
            assert event["offset"] == len(shown[event["messageId"]])
            shown[event["messageId"]] += event["text"]
            order.append(event["messageId"])
    for id, text in shown.items():
        assert stored[id]["content"].startswith(text)

    # G6: one turn at a time: the words of two answers never mix, and answers are in order.
    turns = [id for index, id in enumerate(order) if index == 0 or order[index - 1] != id]
    assert len(turns) == len(set(turns)), "words of two answers are mixed"
    asked = [m["id"] for m in questions]
    answered = [stored[id]["replyTo"] for id in turns]
    assert answered == [id for id in asked if id in set(answered)]


@pytest.mark.timeout(1200)
async def test_kill_9_at_random_moments_under_load(tmp_path: Path, thorough: int) -> None:
    rounds, rng = 16 * thorough, random.Random()
    crowd = Crowd(rng)
    try:
        await kill_again_and_again(tmp_path, crowd, rounds)
        with Process(tmp_path) as server:
            crowd.url = server.url
            await crowd.end()
            await check_all(server, crowd)
    finally:
        await crowd.leave()
    assert crowd.sent > rounds, "the clients were able to send messages"
    assert crowd.resets == 0, "single events are kept for a minute, even after a crash"
    assert "Traceback" not in (tmp_path / "stderr.log").read_text()


async def kill_again_and_again(folder: Path, crowd: Crowd, rounds: int) -> None:
    for number in range(rounds):
        with await asyncio.to_thread(Process, folder, "--echo-delay", "0.004") as server:
            crowd.url = server.url
            if number == 0:
                crowd.begin()
            sent = crowd.sent
            await asyncio.sleep(crowd.rng.uniform(0.02, 0.5))
            while number % 3 == 0 and crowd.sent < sent + 5:  # also on a busy machine
                await asyncio.sleep(0.01)
            server.kill()
        for task in crowd.tasks:
            if task.done():
                task.result()


async def check_all(server: Process, crowd: Crowd) -> None:
    client = Client(server.url)
    async with client.http:
        for session, witness in crowd.witnesses.items():
            exported = await client.http.get(f"/sessions/{session}/export")
            check(witness, exported.json()["messages"])
