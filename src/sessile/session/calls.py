"""Which tool call of an answer an agent means: some agents and models use an id again."""

import re
from collections.abc import Callable, Iterable

import msgspec
from msgspec import UNSET

from sessile.wire.codec import decode_json, encode_clean
from sessile.wire.parts import ToolCallPart

# With the names of objects in one order; in Python, 1 is True.
_sorted = msgspec.json.Encoder(order="sorted").encode
_AGAIN = re.compile(r"(.+)-([2-9]|[1-9][0-9]+)")


class Calls:
    """The tool calls of one answer by the ids that its agent gives them. ``find`` gives a call by
    its id in the answer, as it stands; ``known`` are those that the answer has already."""

    def __init__(
        self, find: Callable[[str], ToolCallPart | None], known: Iterable[ToolCallPart] = ()
    ) -> None:
        self._find = find
        self._ids: dict[str, str] = {}  # in the answer, of the newest call of an agent's id
        for call in known:
            again = _AGAIN.fullmatch(call.tool_call_id)
            if again is not None and find(again[1]) is not None:
                self._ids[again[1]] = call.tool_call_id

    def find(self, id: str) -> ToolCallPart | None:
        """The newest call of an agent's id."""
        return self._find(self._ids.get(id, id))

    def id_of(self, part: ToolCallPart) -> str:
        """The id in the answer for a call that the agent yields: that of the call which it
        replaces, or a new one."""
        given = part.tool_call_id
        known = self.find(given)
        if known is None or not _is_another(known, part):
            return self._ids.get(given, given)
        count = 2
        while self._find(f"{given}-{count}") is not None:
            count += 1
        self._ids[given] = f"{given}-{count}"
        return self._ids[given]


def is_same(known: ToolCallPart, call: ToolCallPart) -> bool:
    """Whether two calls are of one tool with one input, as JSON."""
    if known.tool_name != call.tool_name:
        return False
    given = decode_json(encode_clean(call.tool_input))
    return _sorted(known.tool_input) == _sorted(given)


def _is_another(known: ToolCallPart, part: ToolCallPart) -> bool:
    """Whether a call begins although there is one with its id: that one has ended."""
    if known.is_open:
        return False
    if part.is_open:
        # A call without permission has ended for its users before it has for its agent.
        return known.question is UNSET or known.question.state in ("approved", "answered")
    return (known.tool_name, known.tool_input) != (part.tool_name, part.tool_input)
