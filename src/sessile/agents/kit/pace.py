"""Tools that tell their whole output at every change, shown a few times a second."""

from collections.abc import Callable, Iterable

from msgspec import UNSET

from sessile.agents.base import Output
from sessile.wire.parts import ToolCallPart

EVERY = 0.2  # seconds between two looks at the output of a tool that runs


class Pace:
    """Holds back what a running tool has become, until it is time to show that again.

    A first output is shown at once, and a change of state too. What is the same as what was shown
    is not shown again. ``clock`` gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown: dict[str, tuple[ToolCallPart, float]] = {}
        self._held: dict[str, ToolCallPart] = {}

    def due(self, outputs: Iterable[Output] = ()) -> list[Output]:
        """What is to be shown by this time, of these and of what was held back."""
        now = self._clock()
        due: list[Output] = []
        for output in outputs:
            if not isinstance(output, ToolCallPart):
                due.append(output)
                continue
            id = output.tool_call_id
            self._held.pop(id, None)
            shown, at = self._shown.get(id, (None, 0.0))
            if output == shown:
                continue
            if shown is not None and _more_output(shown, output) and at + EVERY > now:
                self._held[id] = output
            else:
                self._shown[id] = output, now
                due.append(output)
        for id in [id for id in self._held if self._shown[id][1] + EVERY <= now]:
            call = self._held.pop(id)
            self._shown[id] = call, now
            due.append(call)
        return due

    def rest(self) -> list[Output]:
        """All that was held back."""
        held, self._held = self._held, {}
        return list(held.values())

    def seconds(self) -> float | None:
        """Until :meth:`due` has something; None if it has nothing."""
        times = [self._shown[id][1] + EVERY for id in self._held]
        return max(0.0, min(times) - self._clock()) if times else None


def _more_output(shown: ToolCallPart, call: ToolCallPart) -> bool:
    return shown.state == call.state == "running" and shown.tool_output is not UNSET
