"""Ids for tool calls of an answer that goes on. Pure.

Some models use an id again. In an answer that goes on, a call with the id, the tool and the input of
one that has ended would be taken for that one.
"""

import re
from collections.abc import Iterable

from sessile.wire.parts import Part, ToolCallPart


class CallIds:
    """The ids of the tool calls that an answer had when its agent was called again."""

    def __init__(self, former: Iterable[Part]) -> None:
        self._used = {part.tool_call_id for part in former if isinstance(part, ToolCallPart)}

    def count(self, given: str) -> int:
        """How many calls there were with a model's id."""
        numbered = re.compile(re.escape(given) + r"(-[0-9]+)?")
        return sum(numbered.fullmatch(id) is not None for id in self._used)

    def of(self, given: str, known: ToolCallPart | None) -> str:
        """The id in the answer for a model's id: that of the ``known`` call, or one for another."""
        if known is not None:
            return known.tool_call_id
        id, count = given, 1
        while id in self._used:
            count += 1
            id = f"{given}-{count}"
        if count > 1:
            self._used.add(id)
        return id
