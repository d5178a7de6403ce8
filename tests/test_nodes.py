"""Which nodes are alive, judged from their beats."""

import pytest

from sessile.node.nodes import DEAD, GONE, Nodes, Verdict


def watch(nodes: Nodes, seconds: range, **beats: int) -> None:
    """Look once a second at nodes ``n1``, ``n2``, …, with these beats."""
    for second in seconds:
        nodes.saw({int(name[1:]): beat for name, beat in beats.items()}, float(second))


def test_a_node_without_a_new_beat_for_eight_seconds_is_dead() -> None:
    nodes = Nodes()
    found = {}
    for second in range(100, 112):
        nodes.saw({1: second, 2: min(second, 102)}, float(second))
        assert nodes.judge(1) is Verdict.ALIVE
        found[second - 102] = nodes.judge(2)
    assert [silence for silence, verdict in found.items() if verdict is Verdict.SILENT] == [
        *range(int(GONE), int(DEAD))
    ]
    assert [silence for silence, verdict in found.items() if verdict is Verdict.DEAD] == [8, 9]


def test_a_node_that_beats_again_is_alive() -> None:
    nodes = Nodes()
    watch(nodes, range(10), n1=1)
    assert nodes.judge(1) is Verdict.DEAD
    nodes.saw({1: 2}, 10.0)
    assert nodes.judge(1) is Verdict.ALIVE


@pytest.mark.parametrize("away", [4.0, 60.0])
def test_time_in_which_no_beats_could_be_seen_does_not_count(away: float) -> None:
    nodes = Nodes()
    watch(nodes, range(6), n1=1)
    assert nodes.judge(1) is Verdict.SILENT
    nodes.saw({1: 1}, 5 + away)  # the store was not reachable, or this node was paused
    assert nodes.judge(1) is Verdict.ALIVE


def test_a_node_that_is_not_listed_is_unknown() -> None:
    nodes = Nodes()
    watch(nodes, range(3), n1=1, n2=1)
    assert set(nodes) == {1, 2}
    nodes.saw({2: 1}, 3.0)
    assert nodes.judge(1) is Verdict.UNKNOWN
    assert set(nodes) == {2}
