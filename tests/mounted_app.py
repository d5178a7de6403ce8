"""An application as people mount the chat in it, with the middleware that is common."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from sessile import Turn, create_app


async def reply(turn: Turn) -> AsyncGenerator[str, None]:
    for index in range(int(turn.content)):
        yield f"word{index} "
        await asyncio.sleep(0.02)


chat = create_app(agent=reply, store="sqlite:///its.db", drain_timeout=0.2)
app = FastAPI(lifespan=chat.lifespan)


@app.middleware("http")
async def timed(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    async with asyncio.timeout(60):
        response = await call_next(request)
    response.headers["x-timed"] = "yes"
    return response


app.add_middleware(GZipMiddleware)
app.add_middleware(CORSMiddleware, allow_origins=["https://app.example.org"])
app.mount("/ai", chat)
