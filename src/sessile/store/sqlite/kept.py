"""What is known in memory of the sessions that were written lately. Pure.

The store's file belongs to one process, which so knows what it wrote: how far each session is,
and where the events of each are among those of all others.
"""

from array import array
from bisect import bisect_right

from sessile.store.base import Row


class KeptEvents:
    """Where the kept events of one session are in the tail, those of the oldest commit first."""

    __slots__ = ("_lasts", "_numbers")

    def __init__(self) -> None:
        self._numbers = array("q")
        self._lasts = array("q")

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def add(self, number: int, last: int) -> None:
        """Take a row of the tail, up to the event ``last``."""
        self._numbers.append(number)
        self._lasts.append(last)

    def after(self, seq: int) -> "array[int]":
        """The rows with events after a number."""
        return self._numbers[bisect_right(self._lasts, seq) :]

    def until(self, seq: int) -> "array[int]":
        """The rows without events after a number."""
        return self._numbers[: bisect_right(self._lasts, seq)]

    def forget(self, seq: int) -> None:
        """Take that the rows without events after a number are gone."""
        gone = bisect_right(self._lasts, seq)
        del self._numbers[:gone], self._lasts[:gone]


class Known:
    """A session: its number, its row as it is stored, and its kept events. ``drafted`` is the event
    up to which there is a draft of the answer that is being written; 0 where there is none.
    ``recorded`` says that its agent keeps something with that answer."""

    __slots__ = ("drafted", "events", "number", "recorded", "row")

    def __init__(self, number: int, row: Row) -> None:
        self.number = number
        self.row = row
        self.events = KeptEvents()
        self.drafted = 0
        self.recorded = False
