"""Limits updates of tools that send their whole output at every change."""

from collections.abc import Callable, Iterable

from msgspec import UNSET

from sessile.agents.base import Output
from sessile.wire.parts import ToolCallPart

EVERY = 0.2  # seconds between two updates of a running tool


class Pace:
    """Holds back the updates of a running tool until the next one is due.

    The first output and each change of state pass at once. An update without a change does not
    pass. ``clock`` returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown: dict[str, tuple[ToolCallPart, float]] = {}
        self._held: dict[str, ToolCallPart] = {}

    def due(self, outputs: Iterable[Output] = ()) -> list[Output]:
        """The outputs to show now, from these and from those held back."""
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
        """All outputs held back."""
        held, self._held = self._held, {}
        return list(held.values())

    def seconds(self) -> float | None:
        """Seconds until :meth:`due` has an output; None if nothing is held back."""
        times = [self._shown[id][1] + EVERY for id in self._held]
        return max(0.0, min(times) - self._clock()) if times else None


def _more_output(shown: ToolCallPart, call: ToolCallPart) -> bool:
    return shown.state == call.state == "running" and shown.tool_output is not UNSET
