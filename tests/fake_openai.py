"""A server that speaks the OpenAI protocol and answers what the last message scripts.

The model behind it is what cannot be had in a test; the HTTP, the streaming and the errors are
real. Directives in the last user message: ``[[think:T]]`` thoughts first, ``[[http:N]]`` that
status, ``[[cut:N]]`` the connection breaks after N words, ``[[broken]]`` an error in mid-stream,
``[[endless]]`` words until the client leaves, ``[[unfinished]]`` a clean end without a finish,
``[[length]]`` a finish for length. Otherwise it says ``Echo: `` and the message.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class FakeOpenAI(Starlette):
    def __init__(self) -> None:
        super().__init__(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.left = asyncio.Event()

    async def _complete(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        self.keys.append(request.headers["authorization"])
        content = body["messages"][-1]["content"]
        said = content if isinstance(content, str) else content[0]["text"]
        if status := re.search(r"\[\[http:(\d+)\]\]", said):
            error = {"message": "the key is wrong", "type": "x", "code": "y"}
            headers = {"retry-after-ms": "1"}
            return JSONResponse({"error": error}, int(status[1]), headers)
        return StreamingResponse(self._stream(said), media_type="text/event-stream")

    async def _stream(self, said: str) -> AsyncGenerator[str, None]:
        try:
            if thought := re.search(r"\[\[think:(.*?)\]\]", said):
                for word in thought[1].split(" "):
                    yield chunk({"reasoning_content": word + " "})
            words = re.findall(r"\S+\s*", "Echo: " + said)
            cut = re.search(r"\[\[cut:(\d+)\]\]", said)
            for index, word in enumerate(words):
                if cut and index == int(cut[1]):
                    raise ConnectionError("cut off")
                yield chunk({"content": word})
            if "[[broken]]" in said:
                yield 'data: {"error":{"message":"the GPU caught fire","type":"x"}}\n\n'
                return
            while "[[endless]]" in said:
                await asyncio.sleep(0.005)
                yield chunk({"content": "on and "})
            if "[[unfinished]]" not in said:
                yield chunk({}, "length" if "[[length]]" in said else "stop")
                yield "data: " + json.dumps({**BASE, "choices": [], "usage": USAGE}) + "\n\n"
            yield "data: [DONE]\n\n"
        finally:
            self.left.set()


BASE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake"}


def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return "data: " + json.dumps({**BASE, "choices": [choice]}) + "\n\n"
