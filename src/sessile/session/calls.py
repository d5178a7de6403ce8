"""Which tool call of an answer an agent means: some agents and models use an id again."""

from collections.abc import Callable

from msgspec import UNSET

from sessile.wire.parts import ToolCallPart

_OPEN = ("pending", "running")


class Calls:
    """The tool calls of one answer by the ids that its agent gives them. ``find`` gives a call by
    its id in the answer, as it stands."""

    def __init__(self, find: Callable[[str], ToolCallPart | None]) -> None:
        self._find = find
        self._ids: dict[str, str] = {}  # in the answer, of the newest call of an agent's id

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


def _is_another(known: ToolCallPart, part: ToolCallPart) -> bool:
    """Whether a call begins although there is one with its id: that one has ended."""
    if known.state in _OPEN:
        return False
    if part.state in _OPEN:
        # A call without permission has ended for its users before it has for its agent.
        return known.approval is UNSET or known.approval.state == "approved"
    return (known.tool_name, known.tool_input) != (part.tool_name, part.tool_input)
