"""A PydanticAI agent."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.exceptions import AgentRunError, ModelAPIError

from sessile.agents.base import Output, Turn
from sessile.agents.kit.alternate import alternating
from sessile.agents.kit.conversation import HistoryLimits
from sessile.agents.kit.files import FileHosts
from sessile.agents.kit.providers import provider_error, reason_in
from sessile.agents.pydantic_ai.failures import kind_of_error
from sessile.agents.pydantic_ai.messages import as_model_messages, contents
from sessile.agents.pydantic_ai.run import Run
from sessile.wire.errors import AgentError


class PydanticAIAgent:
    """A ``pydantic_ai.Agent``, which receives the session's history in its own types.

    With ``DeferredToolRequests`` among the agent's output types, tools that need approval
    (``requires_approval=True``) ask the users, and clients run external tools. An agent whose
    ``deps_type`` is :class:`Turn` receives the turn as its dependencies. Output that is not text is
    the ``data`` part ``output``.

    With each answer it keeps the messages between agent and model. So it continues a turn that was
    cut off, and a model gets back in later turns what it sent.
    """

    continues = True

    def __init__(
        self,
        agent: Agent[Any, Any],
        limits: HistoryLimits = HistoryLimits(),  # noqa: B008
        files: FileHosts = FileHosts(),  # noqa: B008
    ) -> None:
        self.name = f"pydantic-ai:{agent.name or 'agent'}"
        self._agent = agent
        self._limits = limits
        self._files = files

    async def open(self) -> None:
        await self._agent.__aenter__()

    async def close(self) -> None:
        await self._agent.__aexit__()

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        shown = await turn.history(self._limits.messages, self._limits.characters)
        *before, question = alternating(map(self._files.shown, [*shown, turn.message]))
        history = [known for message in before for known in as_model_messages(message)]
        run = Run(self._agent, turn, history, contents(question))
        try:
            async with aclosing(run.outputs()) as outputs:
                async for output in outputs:
                    yield output
        except ModelAPIError as error:
            reason = reason_in(getattr(error, "body", None))
            kind = kind_of_error(error, run.began)
            raise provider_error(kind, str(error), reason) from error
        except AgentRunError as error:
            sentence = f"The agent failed ({type(error).__name__}); the server's log says why."
            raise AgentError(sentence, details=str(error)) from error
