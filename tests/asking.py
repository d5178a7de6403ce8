"""Questions as the clients of a test see and answer them."""

import asyncio
from typing import Any

from tests.serving import Client, frames


async def send(chat: Client, content: str = "go", session: str = "s") -> None:
    """Send a message, and do not wait for its answer."""
    body, headers = {"content": content}, {"prefer": "respond-async"}
    response = await chat.http.post(f"/chat/{session}", json=body, headers=headers)
    assert response.status_code == 202, response.text


async def question(socket: Any) -> dict[str, Any]:
    """The tool call of the next question that a socket receives."""
    while True:
        seen = (await frames(socket, until="part"))[-1]
        part: dict[str, Any] = seen["part"]
        if part.get("question", {}).get("state") == "open":
            return part


async def answer(
    chat: Client, id: str, approve: bool | None = None, **reply: Any
) -> tuple[int, Any]:
    """Answer a question of the session ``s``."""
    body = reply if approve is None else {"approve": approve, **reply}
    response = await chat.http.post(f"/chat/s/questions/{id}", json=body)
    return response.status_code, response.json()


async def asked(chat: Client, session: str = "s") -> dict[str, Any]:
    """The one open question of a session, once it is there."""
    async with asyncio.timeout(30):
        while not (found := (await chat.http.get(f"/chat/{session}/questions")).json()):
            await asyncio.sleep(0.01)
    (question,) = found
    assert isinstance(question, dict)
    return question


async def settled(chat: Client, session: str = "s") -> dict[str, Any]:
    """The newest answer of a session, when it has ended."""
    async with asyncio.timeout(60):
        while True:
            *_, newest = [{"role": ""}, *await chat.messages(session)]
            if newest["role"] == "assistant" and newest["status"] != "streaming":
                return newest
            await asyncio.sleep(0.01)
