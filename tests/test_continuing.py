"""What agents with a memory of their own do with the calls that a restart cut off."""

from typing import Any

import pytest
from msgspec import UNSET

from sessile import Decision, Message, Question, TextPart, ToolCallPart, Turn, Unfinished
from sessile.agents.kit.continuing import AGAIN, UNKNOWN, Former


class Answering:
    """The host of a turn in which each question gets this decision."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    async def ask(self, call: ToolCallPart, key: str, about: str) -> Decision:
        return self._decision


def turn(decision: Decision) -> Turn:
    message = Message("q", "user", "x", [TextPart("x")], 1, 1, "complete")
    host: Any = Answering(decision)
    return Turn("s", message, "a", host)


@pytest.mark.parametrize(
    ("asked", "decision", "passed_on", "error"),
    [
        (None, "denied", [], UNKNOWN),
        ("open", "approved", [], AGAIN),
        ("approved", "denied", [], AGAIN),
        ("approved", "denied", ["1"], UNKNOWN),
    ],
)
async def test_a_call_that_was_cut_off_ends_and_may_be_tried_again_if_it_has_not_run(
    asked: Any, decision: Any, passed_on: list[str], error: str
) -> None:
    question = Question("a.1", "approval", asked) if asked else UNSET
    call = ToolCallPart("1", "pay", {"n": 1}, "running", question=question)
    former = Former(Unfinished([call]))
    (closed,) = await former.close_calls(turn(Decision(decision)), passed_on)
    assert isinstance(closed, ToolCallPart)
    assert (closed.state, closed.error) == ("error", error)
    again = ToolCallPart("2", "pay", {"n": 1}, "pending")
    assert former.is_granted(again) == (error == AGAIN)
    assert not former.is_granted(again), "only once"


async def test_a_denial_after_a_restart_stays_as_it_was_shown() -> None:
    question = Question("a.1", "approval", "open")
    call = ToolCallPart("1", "pay", {"n": 1}, "running", question=question)
    former = Former(Unfinished([call]))
    assert await former.close_calls(turn(Decision("denied", "not today")), []) == []
    assert "failed, not today" in former.reminder()
    assert former.new([call]) == [], "what the agent still has of it is not shown again"
