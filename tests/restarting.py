"""A turn whose server ends again and again while it is answered; what a client sees of it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from tests.serving import Client, Event, Process, events, process

Ending = Callable[[Process], object]
ENDINGS: dict[str, Ending] = {"kill -9": Process.kill, "SIGTERM": Process.terminate}


class Seen(NamedTuple):
    """What one client saw of a session over all restarts, and the answer as it is stored."""

    events: list[Event]
    answer: dict[str, Any]
    restarts: int


async def through_restarts(
    folder: Path,
    *flags: str,
    content: str,
    end: Ending,
    every: Sequence[int],
    **environment: str,
) -> Seen:
    """Send a message and end the server after so many more events, in each of its lives, until the
    answer is settled; the client reconnects with the last number that it saw."""
    seen: list[Event] = []
    flags = ("--drain-timeout", "0", *flags)
    for life, count in enumerate([*every, 1_000_000]):
        async with process(folder, *flags, **environment) as (server, chat):
            if not life:
                body = {"content": content}
                sent = await chat.http.post(
                    "/chat/s", json=body, headers={"prefer": "respond-async"}
                )
                assert sent.status_code == 202, sent.text
            await _follow(chat, seen, count)
            if is_settled(seen):
                answer = (await chat.messages("s"))[-1]
                check(seen, answer)
                return Seen(seen, answer, life)
            await asyncio.to_thread(end, server)
    raise AssertionError("the answer was never settled")


async def _follow(chat: Client, seen: list[Event], count: int) -> None:
    """Read so many more events, or all until the answer is settled."""
    after = seen[-1].id if seen else 0
    try:
        async with (
            asyncio.timeout(60),
            chat.http.stream("GET", f"/chat/s/events?after={after}") as response,
        ):
            async for event in events(response):
                seen.append(event)
                count -= 1
                if not count or is_settled(seen):
                    return
    except httpx2.HTTPError:
        return


def is_settled(seen: Sequence[Event]) -> bool:
    """Whether the newest event is the answer at its end."""
    if not seen or seen[-1].event != "message":
        return False
    data = seen[-1].data
    message = data.get("message", data)
    return bool(message["role"] == "assistant" and message["status"] != "streaming")


def check(seen: Sequence[Event], answer: dict[str, Any]) -> None:
    """The numbers have no gap, no text was shown twice, and what was shown is what is stored."""
    assert [event.id for event in seen] == list(range(1, len(seen) + 1))
    texts: dict[int, str] = {}
    for event in seen:
        if event.data["type"] == "delta":
            assert event.data["messageId"] == answer["id"]
            part = event.data["part"]
            assert event.data["offset"] == len(texts.get(part, ""))
            texts[part] = texts.get(part, "") + event.data["text"]
    stored = {
        index: part["content"]
        for index, part in enumerate(answer["parts"])
        if part["type"] in ("text", "reasoning")
    }
    assert texts == stored
