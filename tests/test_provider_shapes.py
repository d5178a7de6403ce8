"""What each provider in the table of docs/agents.md answers, in the shapes that its documentation
and reports of its users show."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.responses import Response

from tests.test_docs import ROOT
from tests.test_providers import END, HEL, LO, STOP, chunk, data
from tests.test_providers_http import answering

BARE = '{"error":"Unexpected endpoint or method. (POST /chat/completions)"}'
FULL = "the request exceeds the available context size"
REASONING = {"reasoning": "Hm."}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SOURCE = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}
FILTERED: dict[str, Any] = {"content_filter_results": {"hate": {"filtered": False}}}
OFFSETS = {"index": 0, "finish_reason": None, "content_filter_offsets": {}, **FILTERED}
LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
COUNTED = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Shape(NamedTuple):
    """A reply, and what becomes of it: a text, the kinds of other parts, and words of the error."""

    reply: Response
    text: str = ""
    error: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    usage: Mapping[str, int] | None = None


def said(*pieces: bytes, text: str = "Hello", **more: Any) -> Shape:
    return Shape(Response(b"".join(pieces), media_type="text/event-stream"), text, **more)


def refusal(status: int, body: Any, *error: str) -> Shape:
    content = body if isinstance(body, str) else json.dumps(body)
    at_once = {"retry-after-ms": "1"}
    return Shape(Response(content, status, at_once, "application/json"), error=error)


def broken(*pieces: bytes, error: tuple[str, ...], text: str = "Hel") -> Shape:
    return said(*pieces, text=text, error=error)


def openai_error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, **more}}


SHAPES: dict[str, dict[str, Shape]] = {
    "OpenAI": {
        "token counts in a chunk without choices": said(
            HEL, LO, STOP, data({"choices": [], "usage": COUNTED}), END,
            usage={"inputTokens": 3, "outputTokens": 2},
        ),
        "a refusal": said(chunk({"refusal": "Hello"}), STOP, END),
        "an organization that must be verified before it may stream": refusal(
            400, openai_error("Your organization must be verified to stream this model.", param="stream"),
            "refused the request", "must be verified",
        ),
        "a quota that is used up": refusal(
            429, openai_error("You exceeded your current quota.", code="insufficient_quota"),
            "quota", "is used up",
        ),
        "a conversation that is too long": refusal(
            400, openai_error("This model's maximum context length is 8 tokens.", code="context_length_exceeded"),
            "too long for the model",
        ),
    },
    "Azure OpenAI": {
        "results of the filter before and behind the text": said(
            data({"choices": [], "prompt_filter_results": [{"prompt_index": 0, **FILTERED}]}),
            HEL, LO, STOP, data({"id": "", "model": "", "choices": [OFFSETS]}), END,
        ),
        "a prompt that the filter refuses": refusal(
            400, openai_error("The prompt triggered the content policy.", code="content_filter", innererror=FILTERED),
            "refused the request", "triggered the content policy",
        ),
        "an answer that the filter ends": broken(
            HEL, chunk({}, "content_filter"), END, error=("withheld the rest",)
        ),
        "a deployment that does not exist": refusal(
            404, {"error": {"code": "DeploymentNotFound", "message": "It does not exist."}},
            "does not know the model", "It does not exist.",
        ),
    },
    "OpenRouter": {
        "comments between chunks": said(b": OPENROUTER PROCESSING\n\n", HEL, LO, STOP, END),
        "reasoning": said(
            chunk({"content": "", **REASONING, "reasoning_details": [{"text": "Hm."}]}),
            HEL, LO, STOP, END, others=("reasoning",),
        ),
        "sources": said(HEL, LO, chunk({"annotations": [SOURCE]}), STOP, END, others=("source",)),
        "images": said(HEL, LO, chunk({"images": [IMAGE]}), STOP, END, others=("file",)),
        "an error in the middle of an answer": broken(
            HEL, chunk({"content": ""}, "error", error={"code": 502, "message": "Upstream is gone"}),
            error=("provider failed", "Upstream is gone"),
        ),
        "the reason of the provider behind it": refusal(
            400, {"error": {"code": 400, "message": "Provider returned error", "metadata": {"raw": '{"error":"no"}'}}},
            "refused the request", "Provider returned error: no",
        ),
        "credits that are used up": refusal(
            402, {"error": {"code": 402, "message": "Insufficient credits"}}, "quota", "Insufficient"
        ),
    },
    "Ollama": {
        "reasoning": said(chunk({"content": "", **REASONING}), HEL, LO, STOP, END, others=("reasoning",)),
        "a model that was not pulled": refusal(
            404, openai_error("model 'm' not found", type="not_found_error"),
            "does not know the model", "model 'm' not found",
        ),
        "an error that is a text": refusal(400, {"error": "does not support chat"}, "does not support chat"),
    },
    "LM Studio": {
        "reasoning": said(chunk({"reasoning_content": "Hm."}), HEL, LO, STOP, END, others=("reasoning",)),
        "an error with the status 200 where `/v1` is missing": refusal(200, BARE, "Unexpected endpoint"),
        "no model that is loaded": refusal(
            404, openai_error("No models loaded.", param="model"), "No models loaded."
        ),
        "a stream without text where the prompt is too long": said(
            chunk({"role": "assistant"}), STOP, END, text="", error=("answer is empty",)
        ),
    },
    "vLLM": {
        "reasoning": said(chunk(REASONING), HEL, LO, STOP, END, others=("reasoning",)),
        "an error that is the whole reply": refusal(
            400, {"object": "error", "message": "The prompt is empty", "type": "BadRequestError", "code": 400},
            "refused the request", "The prompt is empty",
        ),
        "an error in the middle of an answer": broken(
            HEL, data({"object": "error", "message": "The engine is dead", "code": 500}), END,
            error=("provider failed", "The engine is dead"),
        ),
        "an answer that was aborted": broken(HEL, chunk({}, "abort"), END, error=("broke off",)),
    },
    "llama.cpp": {
        "an end without an empty line": said(chunk({"role": "assistant", "content": None}), HEL, LO, STOP, b"data: [DONE]"),
        "a prompt that is too long": refusal(
            400, {"error": {"code": 400, "message": FULL, "type": "exceed_context_size_error", "n_ctx": 8}},
            "too long for the model", FULL,
        ),
        "the same in a stream": broken(
            data({"error": {"code": 400, "message": FULL}}), END, text="", error=("too long for the model", FULL)
        ),
        "the same under the field `error` of older versions": broken(
            b"error: " + json.dumps({"code": 400, "message": FULL}).encode() + b"\n\n", END,
            text="", error=("too long for the model", FULL),
        ),
        "a model that still loads": refusal(503, LOADING, "provider failed", "Loading model"),
    },
    "Mistral": {
        "thoughts and text in lists": said(
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}),
            chunk({"content": [{"type": "text", "text": "Hel"}]}), LO, STOP, END, others=("reasoning",),
        ),
        "references between texts": said(
            chunk({"content": [{"type": "text", "text": "Hel"}, {"type": "reference", "reference_ids": [1]}]}),
            LO, STOP, END,
        ),
        "a field that is refused": refusal(
            422, {"object": "error", "message": {"detail": [{"loc": ["body", "top_p"], "msg": "not permitted"}]}},
            "refused the request", "body.top_p: not permitted",
        ),
        "the same as a text of JSON": refusal(
            422, {"object": "error", "message": '{"detail":[{"loc":["body"],"msg":"not permitted"}]}', "code": "1000"},
            "refused the request", "body: not permitted",
        ),
    },
    "Gemini": {
        "token counts in every chunk": said(
            chunk({"content": "Hel"}, usage=COUNTED | {"completion_tokens": 1}),
            chunk({"content": "lo"}, "stop", usage=COUNTED), END,
            usage={"inputTokens": 3, "outputTokens": 2},
        ),
        "signatures of thoughts": said(
            chunk({"content": "Hel", "extra_content": {"google": {"thought_signature": "AA"}}}), LO, STOP, END
        ),
        "an error in a list": refusal(
            429, [{"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}}],
            "too many requests", "Slow down",
        ),
        "the same with the status 200": refusal(
            200, [{"error": {"code": 429, "message": "Slow down"}}], "too many requests", "Slow down"
        ),
        "the same in a stream": broken(
            HEL, data([{"error": {"code": 503, "message": "Overloaded"}}]), error=("provider failed", "Overloaded")
        ),
        "a key that is not valid": refusal(
            400, [{"error": {"code": 400, "message": "API key not valid."}}], "refused the API key"
        ),
        "its own reasons for an end": broken(
            HEL, chunk({}, "IMAGE_PROHIBITED_CONTENT"), END, error=("withheld the rest",)
        ),
        "such a reason behind OpenAI's": broken(
            HEL, chunk({}, "content_filter: RECITATION"), END, error=("withheld the rest",)
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize("provider", SHAPES)
async def test_what_a_provider_answers(tmp_path: Path, provider: str) -> None:
    shapes = SHAPES[provider]

    def reply(body: dict[str, Any]) -> Response:
        return shapes[body["messages"][-1]["content"]].reply

    async with answering(tmp_path, reply) as served:
        for number, (name, shape) in enumerate(shapes.items()):
            await served.chat.send(f"s{number}", name)
            _, answer = await served.chat.messages(f"s{number}")
            error = answer["metadata"].get("error", {}).get("error", "")
            assert answer["content"] == shape.text, name
            assert answer["status"] == ("error" if shape.error else "complete"), (name, error)
            assert all(words in error for words in shape.error), (name, error)
            others = [part["type"] for part in answer["parts"] if part["type"] != "text"]
            assert others == list(shape.others), name
            assert shape.usage in (None, answer["metadata"].get("usage")), name


def test_the_page_names_what_is_tried() -> None:
    page = (ROOT / "docs" / "agents.md").read_text()
    _, _, section = page.partition("\n## Providers\n")
    section = section.partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    named = {name: cell.split("; ") for name, cell in rows if name in SHAPES}
    assert named == {name: list(shapes) for name, shapes in SHAPES.items()}
