"""Who lives: a judgement from the beats of nodes. Pure; no clocks of others are compared."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple

BEAT = 1.0  # seconds between two beats of a node
HOLD = 6.0  # seconds without a beat of its own after which a node drops its turns
DEAD = 8.0  # seconds after which a node that stands still is dead
GONE = 3.0  # the same where the bus says too that nobody is there
MISSED = 2 * BEAT + 1  # seconds between two looks that make the silence of others prove nothing


class Verdict(Enum):
    """``SILENT`` is dead if the bus says that nobody is there; ``UNKNOWN`` may be new."""

    ALIVE = "alive"
    SILENT = "silent"
    DEAD = "dead"
    UNKNOWN = "unknown"


class _Seen(NamedTuple):
    beat: int
    since: float


class Nodes:
    """What one node knows of all others.

    Each node increments a number of its own in the store, its beat. A node whose beat stands still
    while the store answers is dead. That only permits others to take over its sessions: their
    integrity rests on the store, which refuses the commits of every node but the owner.
    """

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._looked = 0.0

    def saw(self, beats: Mapping[int, int], now: float) -> None:
        """Take the beats of all nodes, read at ``now``, in seconds of a clock of this node."""
        missed = now - self._looked > MISSED  # nobody is blamed for what could not be seen
        self._looked = now
        seen = self._seen
        self._seen = {
            node: _Seen(beat, now)
            if missed or node not in seen or seen[node].beat != beat
            else seen[node]
            for node, beat in beats.items()
        }

    def judge(self, node: int) -> Verdict:
        """What a node is, by all that was seen."""
        if node not in self._seen:
            return Verdict.UNKNOWN
        silence = self.silence(node)
        if silence >= DEAD:
            return Verdict.DEAD
        return Verdict.SILENT if silence >= GONE else Verdict.ALIVE

    def silence(self, node: int) -> float:
        """Seconds for which a node's beat was seen to stand still."""
        return self._looked - self._seen[node].since

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._seen))
