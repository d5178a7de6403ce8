"""Every agent passes the suite of its port."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from openai import AsyncOpenAI
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.function import FunctionModel

from sessile import Agent, ToolCallPart, Turn
from sessile.agents.acp.agent import ACPAgent
from sessile.agents.echo import EchoAgent
from sessile.agents.function import FunctionAgent
from sessile.agents.langgraph.agent import LangGraphAgent
from sessile.agents.openai.agent import OpenAIAgent
from sessile.agents.opencode.agent import OpenCodeAgent
from sessile.agents.pydantic_ai import PydanticAIAgent
from sessile.testing import AgentSuite
from tests import real
from tests.fake_models import FakeModels
from tests.serving import LONG, work_in
from tests.test_frameworks import ChatModel, Model, calls, graph

pytestmark = pytest.mark.timeout(120)


class TestEcho(AgentSuite):
    slow, tool, failing = LONG, "[[tool]] and [[ask]]", "[[fail]] in the middle"

    @pytest.fixture
    async def agent(self) -> Agent:
        return EchoAgent(delay=0.005)


class TestFunction(AgentSuite):
    slow, tool, failing = "slow", "tool", "fail"

    @pytest.fixture
    async def agent(self) -> Agent:
        return FunctionAgent(self.reply)

    async def reply(self, turn: Turn) -> AsyncGenerator[Any, None]:
        yield "so "
        if turn.content == "tool":
            yield ToolCallPart("1", "left open", {}, "running")
        if turn.content == "fail":
            raise RuntimeError("as asked")
        while turn.content == "slow":
            yield "on "
            await asyncio.sleep(0.005)


class TestOpenAI(AgentSuite):
    slow, failing = "[[endless]]", "[[http:401]]"

    @pytest.fixture
    async def agent(self, models: FakeModels) -> Agent:
        return OpenAIAgent(
            "fake", client=AsyncOpenAI(base_url=f"{models.state.url}/v1", api_key="x")
        )


class TestPydanticAI(AgentSuite):
    slow, tool, failing = "slow", "tool 1", "401"

    @pytest.fixture
    async def agent(self) -> Agent:
        agent = PydanticAgent(FunctionModel(stream_function=Model()))

        @agent.tool_plain
        def run(x: str) -> str:
            return x

        return PydanticAIAgent(agent)


class _Scripted(ChatModel):
    """Answers according to the last message."""

    async def _astream(
        self, messages: list[BaseMessage], *more: Any, **given: Any
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        said = messages[-1].text
        if said == "fail":
            raise RuntimeError("as asked")
        self.endless = said == "slow"
        uses = said == "tool" and not isinstance(messages[-1], ToolMessage)
        self.script.append(calls("add", a=1, b=2) if uses else AIMessage("fine"))
        async for chunk in super()._astream(messages, *more, **given):
            yield chunk


class TestLangGraph(AgentSuite):
    slow, tool, failing = "slow", "tool", "fail"

    @pytest.fixture
    async def agent(self) -> Agent:
        return LangGraphAgent(graph(_Scripted(script=[])))


def shell(name: str) -> str:
    given = {"command": "echo ask; echo done", "description": "d"}
    return f"[[tool:{name}:{json.dumps(given)}]]"


class _Real(AgentSuite):
    slow, tool, failing = "[[endless]]", shell("bash"), "[[http:401]]"
    environment = staticmethod(real.opencode_environment)

    @pytest.fixture
    async def agent(
        self, tmp_path: Path, models: FakeModels, monkeypatch: pytest.MonkeyPatch
    ) -> Agent:
        for name, value in self.environment(tmp_path / "home", models.state.url).items():
            monkeypatch.setenv(name, value)
        return self.make(work_in(tmp_path))

    def make(self, folder: Path) -> Agent:
        raise NotImplementedError


class TestOpenCode(_Real):
    def make(self, folder: Path) -> Agent:
        return OpenCodeAgent(command=str(real.OPENCODE), directory=folder)


class TestOpenCodeOverACP(_Real):
    def make(self, folder: Path) -> Agent:
        return ACPAgent(f"{real.OPENCODE} acp", folder)


class TestGeminiOverACP(_Real):
    tool = shell("run_shell_command")
    environment = staticmethod(real.gemini_environment)

    def make(self, folder: Path) -> Agent:
        return ACPAgent(real.GEMINI, folder)
