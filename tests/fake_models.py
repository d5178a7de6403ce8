"""A server for the OpenAI and the Gemini protocol whose answers are scripted by the messages.

Only the model is a fake; the HTTP, the streaming and the errors are real. Directives in the last
user message:

``[[think:T]]`` thoughts first · ``[[tool:NAME:JSON]]`` call a tool (several are allowed), then say
what it returned · ``[[http:N]]`` status N, to be retried at once · ``[[down]]`` status 500, to be
retried at any time · ``[[cut:N]]`` the connection breaks after N words · ``[[broken]]`` an error in
the middle of the stream · ``[[endless]]`` words until the client disconnects · ``[[unfinished]]`` a
clean end without a finish reason · ``[[length]]`` the finish reason is the length.

``[[work:N]]`` in any message: N times ten words and a call of ``bash``, one after the other, each of
which writes a line into ``ran.txt`` unless it is there; a call whose result is known is not called again.

Otherwise it says ``Echo: `` and the message.
"""

import asyncio
import json
import re
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sessile.agents.kit.continuing import GO_ON

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}

_TOOL = re.compile(r"\[\[tool:([\w.-]+):(\{.*?\})\]\]", re.DOTALL)


class Step(NamedTuple):
    """A piece of an answer: ``think``, ``say``, ``call`` (name and JSON) or ``finish``."""

    kind: str
    text: str
    arguments: str = ""


def work(messages: list[dict[str, Any]]) -> Iterator[Step] | None:
    """The next steps of a task of several tool calls, as far as the conversation shows it."""
    texts = [openai_text(m) for m in messages if m["role"] in ("user", "tool")]
    if (asked := re.search(r"\[\[work:(\d+)\]\]", "\n".join(texts))) is None:
        return None
    outputs = [openai_text(m) for m in messages if m["role"] == "tool"]
    number = next(n for n in range(100) if not any(f"ran call{n}." in text for text in outputs))

    def found() -> Iterator[Step]:
        for index in range(10):
            yield Step("say", f"word{10 * number + index} ")
        if number == int(asked[1]):
            yield Step("finish", "stop")
            return
        line = f"call{number}"
        command = f"grep -qx {line} ran.txt 2>/dev/null || echo {line} >> ran.txt; echo ran {line}."
        yield Step("call", "bash", json.dumps({"command": command, "description": line}))
        yield Step("finish", "tool_calls")

    return found()


async def _slowly(found: Iterator[Step]) -> AsyncGenerator[Step, None]:
    for step in found:
        await asyncio.sleep(0.01)
        yield step


async def steps(said: str, results: list[str]) -> AsyncGenerator[Step, None]:
    """The steps that a message scripts; ``results`` are those of the tools called since."""
    if (thought := re.search(r"\[\[think:(.*?)\]\]", said)) and not results:
        for word in thought[1].split(" "):
            yield Step("think", word + " ")
    calls = _TOOL.findall(said)
    if calls and not results:
        for name, arguments in calls:
            yield Step("call", name, arguments)
        yield Step("finish", "tool_calls")
        return
    answer = f"Tool said: {' | '.join(results)}" if results else "Echo: " + said
    cut = re.search(r"\[\[cut:(\d+)\]\]", said)
    for index, word in enumerate(re.findall(r"\S+\s*", answer)):
        if cut and index == int(cut[1]):
            raise ConnectionError("cut off")
        yield Step("say", word)
    while "[[endless]]" in said:
        await asyncio.sleep(0.01)
        yield Step("say", "on and ")
    if "[[unfinished]]" not in said:
        yield Step("finish", "length" if "[[length]]" in said else "stop")


def refusal(said: str) -> Response | None:
    """The error that a message scripts."""
    if status := re.search(r"\[\[http:(\d+)\]\]", said):
        return JSONResponse(_ERROR, int(status[1]), {"retry-after-ms": "1"})
    return JSONResponse(_ERROR, 500) if "[[down]]" in said else None


_ERROR = {
    "error": {"message": "the key sk-abcdefghijkl is wrong at 10.0.0.7", "type": "x", "code": "y"}
}


class FakeModels(Starlette):
    """``requests`` has the bodies of all requests; ``left`` is set when a client disconnects.

    ``answers`` maps messages without directives to the steps of their answers. The steps after the
    last tool call are sent when the results of the tools are known.
    """

    def __init__(self, answers: Mapping[str, list[Step]] | None = None) -> None:
        gemini = "/v1beta/models/{model}:streamGenerateContent"
        super().__init__(
            routes=[
                Route("/v1/chat/completions", self._openai, methods=["POST"]),
                Route(gemini, self._gemini, methods=["POST"]),
            ]
        )
        self._answers = answers or {}
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.left = threading.Event()

    async def _openai(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        self.keys.append(request.headers["authorization"])
        messages = body["messages"]
        questions = [i for i, message in enumerate(messages) if message["role"] == "user"]
        asked = questions[-1]
        if len(questions) > 1 and "[[tool:" in openai_text(messages[questions[-2]]):
            # Asked to go on with an answer that was cut off, it does what it was asked before.
            asked = questions[-2] if GO_ON in openai_text(messages[asked]) else asked
        # The history that an agent was sent comes before the question.
        said = openai_text(messages[asked]).rpartition("what is asked next.")[2].lstrip()
        # Questions without any answer are in the same message as the next one.
        said = re.sub(r"^(?:\[\[(?:http:\d+|down)\]\]\n\n)+", "", said)
        results = [openai_text(m).strip() for m in messages[asked:] if m["role"] == "tool"]
        results = [result for result in results if "interrupted" not in result]
        if "title generator" in openai_text(messages[0]):
            said, results = "A title", []  # OpenCode asks for one in every first turn
        if refused := refusal(said):
            return refused
        if (working := work(messages)) is not None and said != "A title":
            return StreamingResponse(
                self._chunks(said, _slowly(working)), media_type="text/event-stream"
            )
        if said in self._answers:
            known = self._answers[said]
            called = [step for step in known if step.kind == "call"]
            before = known.index(called[-1]) + 1 if called else 0
            answer = known[before:] if results else known[:before] or known
            finish = "tool_calls" if answer[-1].kind == "call" else "stop"
            found = _split_words([*answer, Step("finish", finish)])
        else:
            found = steps(said, results)
        return StreamingResponse(self._chunks(said, found), media_type="text/event-stream")

    async def _chunks(
        self, said: str, answer: AsyncGenerator[Step, None]
    ) -> AsyncGenerator[str, None]:
        try:
            calls = 0
            async for step in answer:
                if step.kind == "think":
                    yield _chunk({"reasoning_content": step.text})
                elif step.kind == "say":
                    yield _chunk({"content": step.text})
                elif step.kind == "call":
                    for call in _pieces(step, calls, len(self.requests)):
                        yield _chunk({"tool_calls": [call]})
                    calls += 1
                elif "[[broken]]" in said:
                    yield 'data: {"error":{"message":"the GPU of 10.0.0.7 caught fire","type":"x"}}\n\n'
                    return
                else:
                    yield _chunk({}, step.text)
                    yield "data: " + json.dumps({**_BASE, "choices": [], "usage": USAGE}) + "\n\n"
            if "[[unfinished]]" not in said:
                yield "data: [DONE]\n\n"
        finally:
            self.left.set()

    async def _gemini(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        parts = body["contents"][-1]["parts"]
        results = [json.dumps(p["functionResponse"]["response"]) for p in parts if _returned(p)]
        asked = next(
            content
            for content in reversed(body["contents"])
            if content["role"] == "user" and not any(map(_returned, content["parts"]))
        )
        # An earlier question without an answer may be in the same message.
        said = [part["text"] for part in asked["parts"] if "text" in part][-1]
        if refused := refusal(said):
            return refused
        return StreamingResponse(self._contents(said, results), media_type="text/event-stream")

    async def _contents(self, said: str, results: list[str]) -> AsyncGenerator[str, None]:
        try:
            async for step in steps(said, results):
                if step.kind == "think":
                    yield _content({"text": step.text, "thought": True})
                elif step.kind == "say":
                    yield _content({"text": step.text})
                elif step.kind == "call":
                    call = {"name": step.text, "args": json.loads(step.arguments)}
                    yield _content({"functionCall": call})
                else:
                    yield _content({"text": ""}, "STOP")
        finally:
            self.left.set()


async def _split_words(answer: list[Step]) -> AsyncGenerator[Step, None]:
    for step in answer:
        for word in re.findall(r"\S+\s*", step.text) if step.kind == "say" else [step.text]:
            yield step._replace(text=word)


def openai_text(message: dict[str, Any]) -> str:
    """The text of a message in a request."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def _pieces(step: Step, index: int, request: int) -> Iterator[dict[str, Any]]:
    """A tool call as providers stream it: its name, and then its arguments in pieces."""
    call = {"index": index, "id": f"call_{request}_{index}", "type": "function"}
    yield {**call, "function": {"name": step.text, "arguments": ""}}
    half = len(step.arguments) // 2
    for piece in (step.arguments[:half], step.arguments[half:]):
        yield {"index": index, "function": {"arguments": piece}}


_BASE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake"}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return "data: " + json.dumps({**_BASE, "choices": [choice]}) + "\n\n"


def _returned(part: dict[str, Any]) -> bool:
    return "functionResponse" in part


def _content(part: dict[str, Any], finish: str | None = None) -> str:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [part]}}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
    whole = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake"}
    return "data: " + json.dumps(whole) + "\r\n\r\n"


@contextmanager
def serve_in_thread(app: Starlette) -> Iterator[str]:
    """Serve it in a thread, for processes that outlive a test's event loop; yields its address."""
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
