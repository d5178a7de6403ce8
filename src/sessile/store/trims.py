"""When the single events of sessions may be forgotten. Pure.

A store notes every commit that it stored. What no running turn needs may go some time after the
session's last commit.
"""

from collections.abc import Iterator

from sessile.store.base import Row


class _Due:
    """Events up to ``seq`` may go from ``since`` on; ``newest`` may go later."""

    __slots__ = ("newest", "seq", "since")

    def __init__(self, seq: int, since: float) -> None:
        self.seq = self.newest = seq
        self.since = since


class Trims:
    """The sessions whose events may be forgotten, those that wait longest first."""

    def __init__(self) -> None:
        self._due: dict[str, _Due] = {}

    def stored(self, row: Row, now: float, drafted: int = 0) -> None:
        """A session was stored like this; ``now`` is in seconds of a monotonic clock.

        Of the answer that is being written there is a draft up to the event ``drafted``.
        """
        seq = row.seq
        if row.running is not None and not row.running.parked:
            seq = max(row.running.since, drafted)
        due = self._due.get(row.id)
        if due is None:
            self._due[row.id] = _Due(seq, now)
        else:
            due.newest = seq

    def __contains__(self, session: str) -> bool:
        """Whether events of a session will be forgotten."""
        return session in self._due

    def dropped(self, session: str) -> None:
        self._due.pop(session, None)

    def due(self, before: float, most: int) -> list[tuple[str, int]]:
        """(session, seq up to which events may go), for what was noted at ``before`` or earlier."""
        return list(self._some(before, most))

    def trimmed(self, gone: list[tuple[str, int]], now: float) -> None:
        """These were forgotten; what was noted of them since comes later."""
        for session, seq in gone:
            due = self._due.pop(session, None)
            if due is not None and due.newest > seq:
                self._due[session] = _Due(due.newest, now)

    def _some(self, before: float, most: int) -> Iterator[tuple[str, int]]:
        for count, (session, due) in enumerate(self._due.items()):
            if due.since > before or count == most:
                return
            yield session, due.seq
