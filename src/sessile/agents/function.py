"""A Python function as an agent."""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from sessile.agents.base import Output, Turn
from sessile.wire.errors import SettingsError

Function = TypeVar("Function", bound=Callable[[Turn], Any])


def agent(*, continues: bool = False) -> Callable[[Function], Function]:
    """Decorate a function that is an agent. One that ``continues`` is called again after a restart,
    with what its answer has so far as ``turn.unfinished``."""

    def said(function: Function) -> Function:
        function.continues = continues  # type: ignore[attr-defined]
        return function

    return said


class FunctionAgent:
    """``async def reply(turn)`` that yields or returns text or parts.

    It may be a method, a ``functools.partial``, an object that can be called, or what a decorator
    made of one of these. Raises :class:`~sessile.wire.errors.SettingsError` for anything else: a
    function that blocks would stop every session.
    """

    def __init__(self, function: Callable[[Turn], Any]) -> None:
        written = _as_written(function)
        self.continues = any(getattr(one, "continues", None) is True for one in (function, written))
        self.name = f"{written.__module__}:{getattr(written, '__qualname__', repr(written))}"
        if not (inspect.isasyncgenfunction(written) or inspect.iscoroutinefunction(written)):
            raise SettingsError(
                f"the agent {self.name} must be `async def`, and yield or return text or parts; "
                "call code that blocks with `await asyncio.to_thread(...)`"
            )
        self._function = function

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        answer = self._function(turn)
        if inspect.isawaitable(answer):
            returned = await answer
            for output in returned if isinstance(returned, list) else [returned]:
                yield output
            return
        async with aclosing(answer) as outputs:
            async for output in outputs:
                yield output


def _as_written(function: Any) -> Any:
    """The function behind partials, decorators, methods and objects."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.isroutine(function):
            inner = inspect.unwrap(function)
            if inner is function:
                return function
            function = inner
        elif inspect.isroutine(call := getattr(type(function), "__call__", None)):  # noqa: B004
            return call if inspect.isfunction(call) else function
        else:
            return function
