"""What ACP agents send that this version of the protocol does not say, or says otherwise."""

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from sessile.agents.acp.agent import ACPAgent
from tests.acp_raw import text
from tests.serving import Client, serving, work_in

SCRIPT = Path(__file__).parent / "acp_raw.py"


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncGenerator[Client, None]:
    command = shlex.join([sys.executable, str(SCRIPT)])
    async with serving(tmp_path, agent=ACPAgent(command, work_in(tmp_path))) as client:
        yield client


async def ask(chat: Client, session: str = "s", **prompt: Any) -> dict[str, Any]:
    message: dict[str, Any] = (await chat.send(session, json.dumps(prompt)))[-2].data
    return message


async def failure(chat: Client, session: str = "s", **prompt: Any) -> str:
    events = await chat.send(session, json.dumps(prompt))
    assert events[-3].data["status"] == "error"
    error: str = events[-2].data["error"]
    return error


async def test_updates_after_the_end_of_a_prompt_belong_to_its_answer(chat: Client) -> None:
    first = asyncio.create_task(ask(chat, before=[text("begin ")], after=[text("end")], pause=0.05))
    second = asyncio.create_task(ask(chat, before=[text("next")]))
    assert (await first)["content"] == "begin end"
    assert (await second)["content"] == "next"


async def test_methods_that_were_not_offered_are_refused(chat: Client) -> None:
    for method, params in (
        ("fs/read_text_file", {"path": "/etc/passwd"}),
        ("fs/write_text_file", {"path": "/tmp/x", "content": "x"}),
        ("terminal/create", {"command": "true"}),
        ("terminal/output", {"terminalId": "1"}),
        ("elicitation/create", {"message": "?"}),
        ("_vendor/ask", {}),
    ):
        assert (await ask(chat, ask=[method, params]))["content"] == "-32601", method


async def test_what_is_unknown_is_passed_over(chat: Client) -> None:
    call = {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "t", "rawInput": {"a": 1}}
    answer = await ask(
        chat,
        before=[
            {"sessionUpdate": "a_new_kind", "content": {"x": 1}},
            "not an object",
            {"sessionUpdate": "agent_message_chunk", "content": {"type": "hologram"}},
            {"sessionUpdate": "plan", "entries": [{"content": "first", "new": 1}, "second"]},
            {**call, "kind": "teleport", "status": "queued"},
            {**call, "status": "completed", "content": [{"type": "new"}], "newField": 1},
            {"sessionUpdate": "usage_update", "cost": {"currency": "USD", "amount": None}},
            {**text("Hello"), "newField": {"a": 1}},
        ],
        result={"stopReason": "paused", "usage": {"inputTokens": 3, "outputTokens": None}},
    )
    plan, tool, said = answer["parts"]
    assert plan["data"][0] == {"content": "first", "status": None, "priority": None}
    assert (tool["state"], tool["toolInput"], tool["toolOutput"]) == ("complete", {"a": 1}, [{"type": "new"}])  # fmt: skip
    assert said["content"] == "Hello"
    assert answer["status"] == "complete"
    assert answer["metadata"] == {"usage": {"inputTokens": 3}, "finishReason": "paused"}


@pytest.mark.parametrize("result", [{}, None, [], {"stopReason": None}, "end"])
async def test_an_answer_without_a_reason_to_stop_is_complete(chat: Client, result: Any) -> None:
    answer = await ask(chat, before=[text("Hello")], result=result)
    assert (answer["content"], answer["status"]) == ("Hello", "complete")


async def test_errors_are_shown_in_words(chat: Client) -> None:
    def error(**fields: Any) -> dict[str, Any]:
        return {"code": -32603, "message": "Internal error", **fields}

    for data, said in (
        ({"details": "no such branch"}, "The agent failed. It says: no such branch"),
        ({"error": {"message": "no such branch"}}, "It says: no such branch"),
        ("no such branch", "It says: no such branch"),
        (None, "The agent failed. It says: Internal error"),
        ({"message": "model is overloaded", "status": 529}, "provider failed. Try again. It says: model is overloaded"),
        ({"details": "no file /home/me/.key sk-12345678"}, "It says: no file [address] [key]"),
    ):  # fmt: skip
        assert said in await failure(chat, error=error(data=data))
    assert "empty" in await failure(chat)
    assert "ended with: paused" in await failure(chat, result={"stopReason": "paused"})


@pytest.mark.parametrize(
    ("kinds", "chosen"), [(["allow_for_session", "reject_for_session"], 0), (["maybe"], None)]
)
async def test_permission_options_of_unknown_kinds(
    tmp_path: Path, kinds: list[str], chosen: int | None
) -> None:
    command = shlex.join([sys.executable, str(SCRIPT)])
    agent = ACPAgent(command, work_in(tmp_path))
    options = [{"optionId": str(n), "name": k, "kind": k} for n, k in enumerate(kinds)]
    asked = ["session/request_permission", {"toolCall": {"toolCallId": "1"}, "options": options}]
    async with serving(tmp_path, agent=agent, approve="allow") as chat:
        outcome = json.loads((await ask(chat, ask=asked))["content"])["outcome"]
    assert outcome.get("optionId") == (None if chosen is None else str(chosen))
