"""Agno's AgentOS with an agent whose model echoes, and its SQLite database."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.os import AgentOS
from common import serve, words


@dataclass
class Echo(Model):
    id: str = "echo"
    name: str = "Echo"
    provider: str = "bench"

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError

    async def ainvoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Iterator[ModelResponse]:
        raise NotImplementedError

    async def ainvoke_stream(self, messages: Any, **kwargs: Any) -> AsyncIterator[ModelResponse]:
        for word in words(messages[-1].content):
            yield ModelResponse(content=word)

    def _parse_provider_response(self, response: Any, **kwargs: Any) -> ModelResponse:
        return response  # type: ignore[no-any-return]

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response  # type: ignore[no-any-return]


agent = Agent(id="echo", model=Echo(), db=SqliteDb(db_file="agno.db"), telemetry=False)
serve(AgentOS(agents=[agent], telemetry=False).get_app())
