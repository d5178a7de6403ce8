"""A session whose model's provider refuses, fails, or is not where its settings say."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sessile.agents.openai.agent import OpenAIAgent
from sessile.wire.errors import SettingsError
from tests.serving import Client, running, serving
from tests.test_providers import END, HEL, LO, STOP


class Provider(NamedTuple):
    chat: Client
    requests: list[dict[str, Any]]


@asynccontextmanager
async def answering(
    folder: Path, reply: Callable[[dict[str, Any]], Response], **settings: Any
) -> AsyncGenerator[Provider, None]:
    """A server whose model's provider gives these replies."""
    requests: list[dict[str, Any]] = []

    async def complete(request: Request) -> Response:
        requests.append(await request.json())
        return reply(requests[-1])

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    with pytest.MonkeyPatch.context() as environment:
        async with running(app) as url:
            environment.setenv("OPENAI_BASE_URL", f' "{url}/v1/chat/completions"\r\n')
            environment.setenv("OPENAI_API_KEY", "'sk-test'\r\n")
            async with serving(folder, agent="openai:m", **settings) as chat:
                yield Provider(chat, requests)


def stream(*pieces: bytes) -> Response:
    return StreamingResponse(iter(pieces), media_type="text/event-stream")


def refused(status: int, body: Any) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


@pytest.mark.parametrize("status", [400, 422])
async def test_a_provider_that_refuses_stream_options_is_asked_without(
    tmp_path: Path, status: int
) -> None:
    def reply(body: dict[str, Any]) -> Response:
        if "stream_options" in body:
            return refused(
                status, {"detail": [{"loc": ["body", "stream_options"], "msg": "extra"}]}
            )
        return stream(HEL, LO, STOP, END)

    async with answering(tmp_path, reply) as provider:
        together = (provider.chat.send(session, "Hi") for session in "ab")
        for events in [*await asyncio.gather(*together), await provider.chat.send("c", "Hi")]:
            assert events[-2].data["content"] == "Hello"
    asked = ["stream_options" in body for body in provider.requests]
    assert asked[0]
    assert asked.count(True) <= 2  # two turns at once may both learn it, in any order
    assert asked.count(False) == 3
    assert not asked[-1]


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (404, {"error": "model 'm' not found, try pulling it first"}, "try pulling it first"),
        (400, {"detail": "top_p is too large"}, "top_p is too large"),
        (401, {"error": {"message": "The subscription has expired"}}, "subscription has expired"),
        (401, {"error": "Incorrect key abc1...xyz9"}, "The server's log has its reply."),
        (403, {"message": "Not in this region"}, "Not in this region"),
    ],
)
async def test_a_provider_that_refuses_says_why(
    tmp_path: Path, status: int, body: Any, sentence: str
) -> None:
    async with answering(tmp_path, lambda _: refused(status, body)) as provider:
        events = await provider.chat.send("s", "Hi")
    assert events[-3].data["status"] == "error"
    assert sentence in events[-2].data["error"]
    assert "abc1" not in events[-2].data["error"]


async def test_strict_templates_take_the_history_after_turns_without_an_answer(
    tmp_path: Path,
) -> None:
    failing = True

    def reply(body: dict[str, Any]) -> Response:
        return refused(400, {"error": "no"}) if failing else stream(HEL, LO, STOP, END)

    async with answering(tmp_path, reply, system_prompt="Be brief.") as provider:
        chat = provider.chat
        await chat.http.post(
            "/sessions/s/messages",
            json={"role": "assistant", "parts": [{"type": "text", "content": "Welcome!"}]},
        )
        await chat.http.post(
            "/sessions/s/messages",
            json={"role": "system", "parts": [{"type": "text", "content": "Speak French."}]},
        )
        await chat.send("s", "one")
        image = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
        await chat.stream("POST", "/chat/s", json={"parts": [image]})
        failing = False
        await chat.send("s", "three")
        await chat.http.delete(f"/sessions/s/messages/{(await chat.messages('s'))[-1]['id']}")
        await chat.send("s", "four")
    system, *turns = provider.requests[-1]["messages"]
    assert system == {"role": "system", "content": "Be brief.\n\nSpeak French."}
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == "Welcome!"
    texts = [block.get("text", "an image") for block in turns[2]["content"]]
    assert texts == ["one", "an image", "three\n\nfour"]


@pytest.mark.parametrize(
    ("key", "address", "sentence"),
    [
        ("", "", "needs OPENAI_API_KEY"),
        ("x", "localhost:11434/v1", "must begin with http:// or https://"),
        ("sk-one sk-two", "", "has a character in it that no key has"),
        ("sk-ä", "", "has a character in it that no key has"),
        ("x", "http://[::1", "is not a valid address"),
    ],
)
def test_a_key_or_an_address_that_cannot_be_one(
    monkeypatch: pytest.MonkeyPatch, key: str, address: str, sentence: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(SettingsError, match=sentence):
        OpenAIAgent("m")


def test_a_server_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/")
    OpenAIAgent("m")
