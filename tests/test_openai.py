"""A conversation with a fake model on a real server for the OpenAI protocol."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sessile.agents.kit.continuing import GO_ON
from sessile.agents.kit.providers import SENTENCES, kind_of
from tests.fake_models import FakeModels
from tests.serving import Client, frames, kinds, process, running, serving, text


@pytest.fixture
async def model() -> FakeModels:
    return FakeModels()


@pytest.fixture
async def settings(
    model: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[dict[str, Any], None]:
    async with running(model) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield {"agent": "openai:fake"}


@pytest.fixture
async def chat(tmp_path: Path, settings: dict[str, Any]) -> AsyncGenerator[Client, None]:
    async with serving(tmp_path, **settings) as client:
        yield client


async def test_text_thoughts_and_usage_are_kept(chat: Client, model: FakeModels) -> None:
    events = await chat.send("s", "[[think:let me see]] Hello")
    answer = events[-2].data
    assert [part["type"] for part in answer["parts"]] == ["reasoning", "text"]
    assert answer["parts"][0]["content"] == "let me see "
    assert answer["content"] == text(events) == "Echo: [[think:let me see]] Hello"
    assert answer["metadata"]["usage"] == {"inputTokens": 11, "outputTokens": 7}
    assert answer["metadata"]["model"] == "fake"
    assert model.keys == ["Bearer sk-test"]


async def test_the_model_is_shown_the_conversation(chat: Client, model: FakeModels) -> None:
    await chat.send("s", "one")
    await chat.send("s", "two")
    assert model.requests[-1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Echo: one"},
        {"role": "user", "content": "two"},
    ]


async def test_history_has_limits_so_that_a_turn_costs_the_same(
    tmp_path: Path, settings: dict[str, Any], model: FakeModels
) -> None:
    limits = {"system_prompt": "Be brief.", "history_messages": 4, "history_characters": 30}
    async with serving(tmp_path, **settings, **limits) as chat:
        for index in range(6):
            await chat.send("s", f"number {index}")
        shown = model.requests[-1]["messages"]
        assert [message["content"] for message in shown] == [
            "Be brief.",
            "number 4",
            "Echo: number 4",
            "number 5",
        ]
        await chat.send("s", "x" * 100)
        await chat.send("s", "last")
        assert [m["content"] for m in model.requests[-1]["messages"]] == ["Be brief.", "last"]


async def test_an_answer_follows_its_question_when_others_are_queued(
    tmp_path: Path, settings: dict[str, Any], model: FakeModels
) -> None:
    async with serving(tmp_path, **settings) as chat, chat.socket("s") as socket:
        first = asyncio.create_task(chat.send("s", "[[endless]]"))
        await frames(socket, until="delta")
        second = asyncio.create_task(chat.send("s", "second"))
        await frames(socket, until="status")
        third = asyncio.create_task(chat.send("s", "third"))
        await frames(socket, until="status")
        await chat.http.post("/chat/s/stop")
        await asyncio.gather(first, second, third)
    roles = [message["role"] for message in model.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert [m["content"] for m in model.requests[-1]["messages"][2:]] == [
        "second",
        "Echo: second",
        "third",
    ]


async def test_images_are_shown_to_the_model(chat: Client, model: FakeModels) -> None:
    parts = [
        {"type": "text", "content": "What is this?"},
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="},
    ]
    await chat.stream("POST", "/chat/s", json={"parts": parts})
    assert model.requests[-1]["messages"][-1]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]


@pytest.mark.parametrize(
    ("said", "kept", "sentence"),
    [
        ("[[http:401]]", "", "provider refused the API key"),
        ("[[http:403]]", "", "provider refused the API key"),
        ("[[http:404]]", "", "does not know the model"),
        ("[[http:413]]", "", "too long for the model"),
        ("[[http:422]]", "", "refused the request"),
        ("[[http:429]]", "", "too many requests"),
        ("[[http:500]]", "", "provider failed"),
        ("[[cut:2]] a b c", "Echo: [[cut:2]] ", "broke off in the middle"),
        ("[[broken]]", "Echo: [[broken]]", "broke off in the middle"),
        ("[[unfinished]]", "Echo: [[unfinished]]", "ended before its answer was"),
    ],
)
async def test_after_an_error_the_text_so_far_is_kept_and_the_session_continues(
    chat: Client, said: str, kept: str, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    events = await chat.send("s", said)
    assert kinds(events)[-3:] == ["assistant", "error", "done"]
    assert events[-3].data["status"] == "error"
    assert events[-3].data["content"] == kept
    assert sentence in events[-2].data["error"]
    assert events[-2].data["code"] == "agent_error"
    shown = str(events) + str(await chat.messages("s"))
    for detail in ("sk-", "10.0.0.7", "127.0.0.1"):
        assert detail not in shown
    assert "sk-abc" not in caplog.text
    if "10.0.0.7" in caplog.text:
        assert "the agent openai:fake: The " in caplog.text
    assert (await chat.send("s", "again"))[-2].data["content"] == "Echo: again"


async def test_a_provider_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    async with serving(tmp_path, agent="openai:fake") as chat:
        events = await chat.send("s", "Hello")
        assert events[-3].data["status"] == "error"
        assert "could not be reached" in events[-2].data["error"]


async def test_an_answer_cut_off_by_length_says_so(chat: Client) -> None:
    answer = (await chat.send("s", "[[length]]"))[-2].data
    assert answer["status"] == "complete"
    assert answer["metadata"]["finishReason"] == "length"


async def test_a_stop_ends_the_request_to_the_model(chat: Client, model: FakeModels) -> None:
    async with chat.socket("s") as socket:
        sending = asyncio.create_task(chat.send("s", "[[endless]]"))
        await frames(socket, until="delta")
        model.left.clear()
        assert (await chat.http.post("/chat/s/stop")).json() == {"stopped": True}
        assert await asyncio.to_thread(model.left.wait, 10)
        assert (await sending)[-2].data["status"] == "stopped"


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (400, "This model's maximum context length is 8192 tokens", "length"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", "length"),
        (400, "API key not valid. Please pass a valid API key.", "key"),
        (400, "unknown parameter", "refused"),
        (402, "", "quota"),
        (403, "", "key"),
        (408, "", "timeout"),
        (413, "", "length"),
        (429, "You exceeded your current quota, please check your plan", "quota"),
        (429, "Rate limit reached", "rate"),
        (503, "overloaded", "failed"),
        (504, "", "timeout"),
    ],
)
def test_what_a_providers_reply_means(status: int, reply: str, kind: str) -> None:
    assert kind_of(status, reply) == kind
    assert SENTENCES[kind_of(status, reply)].endswith(".")


async def test_a_cut_answer_is_continued_as_a_new_part(tmp_path: Path, model: FakeModels) -> None:
    async with running(model) as url:
        environment = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "sk-test"}
        flags = ("--agent", "openai:fake")
        async with process(tmp_path, *flags, **environment) as (server, chat):
            sending = asyncio.create_task(
                chat.http.post("/chat/s", json={"content": "[[endless]]"})
            )
            async with chat.socket("s", "?after=0") as socket:
                for _ in range(5):
                    await frames(socket, until="delta")
            server.kill()
            await asyncio.gather(sending, return_exceptions=True)
        async with process(tmp_path, *flags, **environment) as (_, chat):
            async with chat.socket("s", "?after=0") as socket:
                await frames(socket)
            answer = (await chat.messages("s"))[1]
    question, said, go_on = model.requests[-1]["messages"]
    assert question == {"role": "user", "content": "[[endless]]"}
    first, second = answer["parts"]
    assert said == {"role": "assistant", "content": first["content"]}
    assert first["content"].startswith("Echo: [[endless]]on and ")
    assert go_on == {"role": "user", "content": GO_ON}
    assert (answer["status"], second["content"]) == ("complete", f"Echo: {GO_ON}")


async def test_signed_reasoning_goes_back_to_the_model_that_gave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def complete(request: Request) -> Response:
        seen.append((await request.json())["messages"])
        pieces = [
            {"type": "reasoning.text", "index": 0, "text": "let me "},
            {"type": "reasoning.text", "index": 0, "text": "see", "signature": "sig"},
            {"type": "reasoning.encrypted", "index": 1, "data": "xyz"},
        ]
        deltas: list[dict[str, Any]] = [{"reasoning_details": [piece]} for piece in pieces]
        chunks = [{"choices": [{"delta": delta}]} for delta in [*deltas, {"content": "Hi"}]]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return Response("".join(lines) + "data: [DONE]\n\n", media_type="text/event-stream")

    fake = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    async with running(fake) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        async with serving(tmp_path, agent="openai:thinker") as chat:
            await chat.send("s", "one")
            events = await chat.send("s", "two")
        async with serving(tmp_path, agent="openai:other") as chat:
            await chat.send("s", "three")
    details = [
        {"type": "reasoning.text", "index": 0, "text": "let me see", "signature": "sig"},
        {"type": "reasoning.encrypted", "index": 1, "data": "xyz"},
    ]
    assert seen[1][1] == {"role": "assistant", "content": "Hi", "reasoning_details": details}
    assert seen[2][1] == {"role": "assistant", "content": "Hi"}, "another model refuses it"
    assert "sig" not in str(events)
