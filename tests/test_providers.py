"""What servers that call themselves OpenAI-compatible really answer, and what becomes of it."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

import pytest

from sessile.agents.base import Output, Usage
from sessile.agents.kit.providers import reason_in
from sessile.agents.openai.chunks import Completion
from sessile.agents.openai.replies import DONE, values
from sessile.redact import ADDRESS, CONTENT, KEY, reason_for_users
from sessile.wire.errors import AgentError
from sessile.wire.parts import FilePart, ReasoningPart, SourcePart, ToolCallPart


def data(value: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return data({"object": "chat.completion.chunk", "choices": [choice], **more})


def message(**fields: Any) -> dict[str, Any]:
    """A chunk, or a whole completion, with a message for a delta."""
    return {"choices": [{"index": 0, "message": fields, "finish_reason": "stop"}]}


END = data(b"[DONE]")
HEL, LO, STOP = chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop")


class Read(NamedTuple):
    """What was read of a reply."""

    outputs: list[Output]
    error: str
    usage: Usage | None

    @property
    def text(self) -> str:
        return "".join(output for output in self.outputs if isinstance(output, str))


async def read(*pieces: bytes) -> Read:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    outputs: list[Output] = []
    completion, done = Completion(), False
    try:
        async for value in values(body()):
            done = done or value == DONE
            if not done:
                outputs += completion.take(value)
        outputs += completion.end(done)
    except AgentError as error:
        return Read(outputs, f"{error} {error.reason or ''}".strip(), completion.usage)
    return Read(outputs, "", completion.usage)


@pytest.mark.parametrize(
    "pieces",
    [
        (HEL, LO, STOP, END),
        (HEL, LO, STOP),
        (HEL, LO, END),
        (HEL, LO, chunk({}, ""), END),
        (HEL, LO, chunk({}, "eos"), END),
        (HEL, LO, chunk(None, "stop"), END),
        (data(b"null"), HEL, data(b"null"), LO, STOP, data(b"null"), END),
        (b": comment\n\nretry: 10\n\nid: 7\n\n", HEL, b"event: ping\ndata: {}\n\n", LO, STOP, END),
        (data(b"ping"), HEL, data({"type": "ping"}), LO, STOP, END),
        (data({"choices": [], "prompt_filter_results": []}), HEL, LO, STOP, END),
        (data({"choices": None}), HEL, LO, STOP, END),
        (data(message(content="Hel")), data(message(content="lo")), END),
        (HEL, LO, data(message(content="Hello")), END),
        (data({"choices": [{"text": "Hello", "finish_reason": "stop"}]}), END),
        (json.dumps(message(content="Hello")).encode(),),
        (b"\xef\xbb\xbf\n", json.dumps(message(content="Hello")).encode()),
        (b"\xef\xbb\xbf" + HEL, LO, STOP, END),
        (b"".join((HEL, LO, STOP)) + b"data: [DONE]",),
        (b"\r\n".join((HEL + LO + STOP + END).split(b"\n")),),
        (HEL[:20], HEL[20:] + LO + STOP[:3], STOP[3:] + END),
        (chunk({"content": [{"type": "text", "text": "Hel"}, {"type": "new"}]}), LO, STOP, END),
        (chunk({"content": [{"type": "reference", "reference_ids": [1]}, "Hel"]}), LO, STOP, END),
        (chunk({"content": {"type": "text", "text": "Hel"}}), LO, STOP, END),
        (chunk({"content": None, "refusal": "Hello"}), STOP, END),
        (chunk({"audio": {"transcript": "Hello"}}), STOP, END),
        (HEL, LO, STOP, data({"error": None, "choices": []}), END),
    ],
)
async def test_oddities_of_a_reply_change_nothing(pieces: Iterable[bytes]) -> None:
    found = await read(*pieces)
    assert (found.text, found.error) == ("Hello", "")


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        ((HEL,), "ended before its answer was complete"),
        ((STOP, END), "The model's answer is empty."),
        ((END,), "The model's answer is empty."),
        ((chunk({"content": "  \n"}), STOP, END), "The model's answer is empty."),
        ((chunk({"reasoning": "Hm."}), chunk({}, "length"), END), "It ended with: length."),
        ((HEL, chunk({"content": ""}, "error"), END), "broke off"),
        ((HEL, chunk({}, "network_error"), END), "broke off"),
        ((HEL, chunk({}, "content_filter"), END), "withheld the rest"),
        ((HEL, chunk({}, "SAFETY"), END), "withheld the rest"),
        ((HEL, data({"error": "overloaded right now"}), END), "overloaded right now"),
        (
            (
                HEL,
                data({"error": {"message": "overloaded right now"}}),
            ),
            "overloaded right now",
        ),
        ((b'event: error\ndata: {"message": "busy"}\n\n',), "busy"),
        ((b"event: error\ndata: busy\n\n",), "busy"),
        ((data({"error": {"code": 429, "message": "slow down"}}),), "too many requests"),
        ((b'{"object": "error", "message": "8192 fit", "code": 400}',), "refused the request"),
        ((b'{"object": "error", "message": "8192 fit", "code": 400}',), "8192 fit"),
        ((b'{"detail": "Not allowed"}',), "Not allowed"),
        ((b'{"error": "no such model"}',), "no such model"),
        ((b"<!DOCTYPE html><title>Login</title>",), "answers with a web page"),
        ((b"\n <html>",), "answers with a web page"),
        ((HEL, data(b'{"choices": [{"del')), "broke off"),
        ((b'{"choices": [{"mess',), "broke off"),
        ((b"",), "ended before its answer was complete"),
    ],
)
async def test_what_is_not_a_whole_answer_is_an_error_in_words(
    pieces: Iterable[bytes], sentence: str
) -> None:
    found = await read(*pieces)
    assert sentence in found.error
    assert "Error" not in found.error


@pytest.mark.parametrize(
    ("delta", "part"),
    [
        ({"reasoning_content": "Hm."}, ReasoningPart("Hm.")),
        ({"reasoning": "Hm."}, ReasoningPart("Hm.")),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}, ReasoningPart("Hm.")),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
            ReasoningPart("Hm."),
        ),
        ({"content": [{"type": "thinking", "thinking": "Hm."}]}, ReasoningPart("Hm.")),
        (
            {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            FilePart("image/png", "data:image/png;base64,AA=="),
        ),
        (
            {"content": [{"type": "image_url", "image_url": "https://images.example/a.webp?b"}]},
            FilePart("image/webp", "https://images.example/a.webp?b"),
        ),
        (
            {
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}},
                    {"type": "url_citation", "url": "https://a"},
                ]
            },
            SourcePart("https://a", "A"),
        ),
    ],
)
async def test_what_a_model_says_beside_text_is_a_part(delta: dict[str, Any], part: Output) -> None:
    found = await read(chunk(delta), LO, STOP, END)
    assert found == Read([part, "lo"], "", None)


async def test_sources_of_a_whole_reply_and_tool_calls_nobody_asked_for() -> None:
    cited = chunk({"content": "Hi"}, citations=["https://a", "https://b", "https://a"])
    found = await read(cited, chunk({}, "stop", search_results=[{"url": "https://b"}]), END)
    assert found.outputs == ["Hi", SourcePart("https://a"), SourcePart("https://b")]
    pieces = [
        {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ": 1}"}},
    ]
    called = await read(*(chunk({"tool_calls": [p]}) for p in pieces), chunk({}, "tool_calls"), END)
    (call,) = called.outputs
    assert isinstance(call, ToolCallPart)
    assert (call.tool_name, call.tool_input, call.state) == ("add", '{"a": 1}', "error")
    assert called.error == ""
    function = {"name": "add", "arguments": "{}"}
    (old,) = (await read(json.dumps(message(function_call=function)).encode())).outputs
    assert isinstance(old, ToolCallPart)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 11, "total_tokens": 11}, Usage(11)),
        ({"prompt_tokens": 11, "completion_tokens": None}, Usage(11)),
        ({"prompt_tokens_details": {"cached_tokens": 0}}, None),
        ({"prompt_tokens": 3, "prompt_tokens_details": None}, Usage(3)),
        ({"completion_tokens_details": {"reasoning_tokens": 4}}, Usage(0, 0, 0, 4)),
        ("none", None),
        (None, None),
    ],
)
async def test_token_counts_that_are_missing_are_not_null(usage: Any, expected: Any) -> None:
    found = await read(HEL, LO, chunk({}, "stop", usage=usage), END)
    assert (found.usage, found.error) == (expected, "")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"error": "model not found, try pulling it first"}, "model not found, try pulling it first"),
        ({"error": {"message": "no", "type": "x"}}, "no"),
        ({"error": {"error": {"message": "no"}}}, "no"),
        ({"detail": "Not allowed"}, "Not allowed"),
        ({"detail": [{"loc": ["body", "top_p"], "msg": "too large"}]}, "body.top_p: too large"),
        ({"errors": [{"message": "no"}]}, "no"),
        ({"object": "error", "message": "no"}, "no"),
        ({"error": "invalid", "error_description": "The token expired"}, "The token expired"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": '{"error": "busy"}'}}}, "Provider returned error: busy"),
        ('{"error": {"message": "no"}}', "no"),
        ("Service Unavailable", "Service Unavailable"),
        ("<html><h1>502</h1></html>", ""),
        ([{"error": {"message": "no"}}], "no"),
        ({}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_the_reason_in_a_reply(reply: Any, reason: str) -> None:
    assert reason_in(reply) == reason


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("The prompt has 9000 tokens, 8192 fit", "The prompt has 9000 tokens, 8192 fit"),
        ("messages.0.content: field required", "messages.0.content: field required"),
        ("gpt-4.1-mini-2025-04-14 is not here", "gpt-4.1-mini-2025-04-14 is not here"),
        ("key sk-abcdefghijkl at 10.0.0.7:8000/v1 is bad", f"key {KEY} at {ADDRESS} is bad"),
        ("see https://gw.corp/a?b=c for more", f"see {ADDRESS} for more"),
        ("no route to vllm-7.prod.internal", f"no route to {ADDRESS}"),
        ("dial tcp [fd00::7]:8000: refused", f"dial tcp {ADDRESS}: refused"),
        ("cannot reach gpu7:8000", f"cannot reach {ADDRESS}"),
        ("no file /srv/models/llama.gguf", f"no file {ADDRESS}"),
        ("key ab12**********wxyz", f"key {KEY}"),
        ("token 0123456789abcdefghij012345 expired", f"token {KEY} expired"),
        ("the value hunter2secret is wrong", f"the value {KEY} is wrong"),
        ("you said: my grandmother's recipe for soup", f"you said: {CONTENT}"),
        ("two\nlines\x1b[31m", "two lines\\x1b[31m"),
        ("x" * 1000, "x" * 300 + "…"),
        ("https://gw.corp", ""),
        ("", ""),
    ],
)
def test_what_users_see_of_a_reason(
    reason: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_API_KEY", "hunter2secret")
    assert reason_for_users(reason, "my grandmother's recipe for soup") == shown
    assert reason_for_users("there is no model m", "model") == "there is no model m"
