"""A Python function as an agent."""

import inspect
from collections.abc import AsyncGenerator, Callable
from typing import Any

from sessile.agents.base import Output, Turn
from sessile.wire.errors import SettingsError


class FunctionAgent:
    """``async def reply(turn)`` that yields or returns text or parts.

    Raises :class:`~sessile.wire.errors.SettingsError` for anything else: a function that blocks would
    stop every session.
    """

    def __init__(self, function: Callable[[Turn], Any]) -> None:
        self.name = f"{function.__module__}:{getattr(function, '__qualname__', repr(function))}"
        call = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004
        if not (inspect.isasyncgenfunction(call) or inspect.iscoroutinefunction(call)):
            raise SettingsError(
                f"the agent {self.name} must be `async def`, and yield or return text or parts"
            )
        self._function = function
        self._yields = inspect.isasyncgenfunction(call)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        if not self._yields:
            returned = await self._function(turn)
            for output in returned if isinstance(returned, list) else [returned]:
                if output is not None:
                    yield output
            return
        outputs = self._function(turn)
        try:
            async for output in outputs:
                yield output
        finally:
            await outputs.aclose()
