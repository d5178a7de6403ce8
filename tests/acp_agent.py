"""An agent for the Agent Client Protocol that does on request what real agents do rarely.

python acp_agent.py [can-load] [needs-login]
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import acp
from acp.schema import AgentCapabilities, PermissionOption, PlanEntry, ToolCallUpdate


class Agent:
    def on_connect(self, conn: Any) -> None:
        self._client = conn
        self._sessions = 0
        self._cancelled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def initialize(self, *_: Any, **__: Any) -> acp.InitializeResponse:
        can = AgentCapabilities(load_session="can-load" in sys.argv)
        return acp.InitializeResponse(protocol_version=1, agent_capabilities=can)

    async def new_session(self, *_: Any, **__: Any) -> acp.NewSessionResponse:
        if "needs-login" in sys.argv:
            raise acp.RequestError.auth_required()
        self._sessions += 1
        return acp.NewSessionResponse(session_id=f"session-{self._sessions}")

    async def load_session(self, session_id: str, **_: Any) -> acp.LoadSessionResponse:
        async def replay() -> None:
            for word in ("what ", "was ", "said"):
                await asyncio.sleep(0.02)
                await self._say(session_id, word)

        task = asyncio.create_task(replay())
        self._tasks.add(task)
        return acp.LoadSessionResponse()

    async def prompt(self, prompt: list[Any], session_id: str, **_: Any) -> acp.PromptResponse:
        await asyncio.gather(*self._tasks)
        said = " / ".join(getattr(block, "text", block.type) for block in prompt)
        if said == "the server's environment":
            said = _environment_of(_parent(os.getppid()))  # its own parent is the keeper
        if said == "environment":
            said = " ".join(f"{name}={value}" for name, value in os.environ.items())
        reasons: dict[str, Any] = {"refuse": "refusal", "too long": "max_tokens"}
        if said == "plan":
            entry = PlanEntry(content="first", priority="low", status="pending")
            await self._client.session_update(session_id, acp.update_plan([entry]))
        while said == "deaf":
            await self._say(session_id, "on ")
            await asyncio.sleep(0.01)
        if said == "ask late":
            await self._say(session_id, "on ")
            await self._cancelled.wait()
            call = ToolCallUpdate(tool_call_id="1", title="late")
            allow = PermissionOption(option_id="yes", name="Yes", kind="allow_once")
            asked = await self._client.request_permission(session_id, call, [allow])
            assert asked.outcome.outcome == "cancelled"
            return acp.PromptResponse(stop_reason="cancelled")
        if said == "crash":
            raise acp.RequestError.internal_error({"details": "it broke"})
        await self._say(session_id, f"{session_id} received: {said}")
        return acp.PromptResponse(stop_reason=reasons.get(said, "end_turn"))

    async def cancel(self, session_id: str, **_: Any) -> None:
        """Only a prompt that waits for the cancellation ends."""
        self._cancelled.set()

    async def _say(self, session_id: str, words: str) -> None:
        await self._client.session_update(session_id, acp.update_agent_message_text(words))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text()
    except OSError as error:
        return f"{error.strerror}"


if __name__ == "__main__":
    asyncio.run(acp.run_agent(Agent()))  # type: ignore[arg-type]
