"""What an agent's code raises stays in its turn, in every task that it starts.

asyncio lets ``SystemExit`` and ``KeyboardInterrupt`` out of a task, which ends the event loop and with
it the server: a tool that calls ``sys.exit()``, as argparse and click do, must not do that.
"""

import asyncio
import os
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_OURS = str(Path(__file__).parent.parent) + os.sep

_contained: ContextVar[bool] = ContextVar("the code of an agent runs", default=False)


class AgentExit(Exception):
    """The agent's code asked for the end of the whole program."""


def contain() -> None:
    """Mark the current task as an agent's, and with it every task that it starts, except for tasks
    of Sessile itself, such as those that send what the agent says."""
    _contained.set(True)


@contextmanager
def containing() -> Iterator[None]:
    """Make the running event loop keep what marked tasks raise to themselves."""
    loop = asyncio.get_running_loop()
    former, task, is_contained = loop.get_task_factory(), asyncio.Task, _contained.get

    def create(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> "asyncio.Future[Any]":
        if is_contained() and asyncio.iscoroutine(coroutine) and not _is_ours(coroutine):
            coroutine = _Contained(coroutine)
        if former is not None:
            return former(loop, coroutine, **options)
        return task(coroutine, loop=loop, **options)

    loop.set_task_factory(create)
    try:
        yield
    finally:
        if loop.get_task_factory() is create:
            loop.set_task_factory(former)


def _is_ours(coroutine: Any) -> bool:
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    return code is not None and code.co_filename.startswith(_OURS)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that raises :class:`AgentExit` instead of what would end the event loop."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("only a task runs it")

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise AgentExit(repr(error)) from error

    def throw(self, *error: Any) -> Any:
        try:
            return self._inner.throw(*error)
        except (SystemExit, KeyboardInterrupt) as raised:
            raise AgentExit(repr(raised)) from raised

    def close(self) -> None:
        self._inner.close()
