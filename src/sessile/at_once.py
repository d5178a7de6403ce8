"""Coroutines that mostly have nothing to wait for, run without a task."""

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class WouldWait(Exception):
    """What was asked for cannot be done at once. Nothing of it was done; await it instead."""


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, which changes nothing before it waits for the first time.

    Raises :class:`WouldWait` where it would have to wait.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise WouldWait
