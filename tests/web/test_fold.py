"""The web client folds events into messages as the server does, even repeated or lost ones."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import UNSET

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
from tests.test_fold import outputs, write_answer
from tests.web.script import script

Fold = Callable[..., Any]


@pytest.fixture(scope="module")
def fold() -> Iterator[Fold]:
    """The web client's reducer, in its own Node.js process."""
    with script("fold.ts") as reducer:

        def fold(events: list[Event], *pages: tuple[list[Message], bool]) -> Any:
            read_before = [{"messages": messages, "hasMore": more} for messages, more in pages]
            asked = json.loads(encode({"pages": read_before, "events": events}))
            return read(reducer.ask(asked))

        fold([])  # starting Node.js takes longer than the deadline of an example
        yield fold


@st.composite
def sessions(draw: st.DrawFn) -> list[Event]:
    """A question, its answer up to some point, questions queued during it, and later changes."""
    events: list[Event] = []
    queue: list[str] = []

    def number() -> int:
        return len(events) + 1

    def ask(id: str, queued: bool) -> None:
        status: MessageStatus = "queued" if queued else "complete"
        message = Message(id, "user", "why?", [TextPart("why?")], 1, number(), status)
        events.append(MessageEvent(number(), message))
        if queued:
            queue.append(id)
            events.append(StatusEvent(number(), id, "queued", len(queue)))

    def begin(id: str) -> None:
        events.append(StatusEvent(number(), id, "running"))
        if id in queue:
            queue.remove(id)

    ask("q", draw(st.booleans()))
    if draw(st.booleans()):
        ask("queued-before", queued=True)
    begin("q")
    answer, said = write_answer(list(draw(outputs)))
    answer.seq = number()
    continued_at = draw(st.integers(0, 2 * len(said) + 1))
    queued_at = draw(st.integers(0, 2 * len(said) + 1))
    for at, event in enumerate(said):
        if at == queued_at:
            ask("queued-later", queued=True)
        event.seq = number()
        events.append(event)
        if at == continued_at:
            events.append(StatusEvent(number(), "q", "running", continued=True))
    ends: list[MessageStatus | None] = [None, "complete", "stopped"]
    over = draw(st.sampled_from(ends))
    names = st.sampled_from(["q", "a", "queued-before", "queued-later", "nobody"])
    if over is not None:
        events.append(MessageEvent(number(), answer.settled(over)))
        begins = draw(st.booleans())
        if queue and begins:
            begin(queue[0])
        if draw(st.booleans()):
            parts: list[Part] = [TextPart("other words")]
            metadata: Any = draw(st.sampled_from([UNSET, {}, {"a": 1}]))
            events.append(PartsEvent(number(), draw(names), parts, metadata))
    if draw(st.booleans()):
        events.append(DeletedEvent(number(), draw(names)))
    return events


def fold_on_server(events: list[Event]) -> Any:
    """The result of the server's reducer."""
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
    """Only the fields that events have before the end of an answer."""
    if messages == "gap":
        return messages
    known = ("id", "role", "content", "parts", "seq", "status")
    return [{name: message[name] for name in known} for message in messages]


@given(sessions())
def test_the_web_client_folds_as_the_server_does(fold: Fold, events: list[Event]) -> None:
    assert comparable(fold(events)) == comparable(fold_on_server(events))


@given(sessions())
def test_a_queued_question_is_last_until_its_turn_starts(fold: Fold, events: list[Event]) -> None:
    later = {
        event.message_id: event.seq
        for event in events
        if isinstance(event, StatusEvent) and event.status == "running" and not event.continued
    }
    queued = {
        event.message_id
        for event in events
        if isinstance(event, StatusEvent) and event.status == "queued"
    }
    messages = fold(events)
    places = [(message["status"] == "queued", message["seq"]) for message in messages]
    assert places == sorted(places)
    for message in messages:
        if message["id"] in queued:
            assert (message["status"] == "complete") == (message["id"] in later)
            if message["id"] in later:
                assert message["seq"] == later[message["id"]]
        elif message["role"] == "user":
            assert message["seq"] == 1


@given(sessions(), st.data())
def test_repeated_events_change_nothing(
    fold: Fold, events: list[Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events)))
    back = data.draw(st.integers(0, cut))
    twice = fold([*events[:cut], *events[back:]])
    # If the answer was deleted, the web client may notice that it has lost its beginning.
    if twice != "gap" or not isinstance(events[-1], DeletedEvent):
        assert comparable(twice) == comparable(fold(events))  # createdAt may differ


@given(sessions(), st.data())
def test_a_lost_event_is_detected_when_the_server_detects_it(
    fold: Fold, events: list[Event], data: st.DataObject
) -> None:
    deltas = [at for at, event in enumerate(events) if isinstance(event, DeltaEvent | PartEvent)]
    assume(deltas)
    lost = data.draw(st.sampled_from(deltas))
    rest = events[:lost] + events[lost + 1 :]
    assert comparable(fold(rest)) == comparable(fold_on_server(rest))


def test_a_queued_message_is_kept_however_low_its_number_is(fold: Fold) -> None:
    page = [
        question("m8", 8),
        question("m9", 9),
        question("q3", 3, "queued"),
        question("q4", 4, "queued"),
    ]
    known = (page, True)
    assert places(fold([], known)) == [("m8", 8), ("m9", 9), ("q3", 3), ("q4", 4)]
    again: list[Event] = [MessageEvent(10, question("q4", 4, "queued"))]
    again.append(MessageEvent(11, question("m7", 7)))
    assert places(fold(again, known)) == places(fold([], known))
    later = [*again, StatusEvent(12, "q3", "running"), MessageEvent(13, question("m13", 13))]
    earlier = ([question("m6", 6), question("m7", 7)], False)
    assert places(fold(later, known, earlier)) == [
        *[("m6", 6), ("m7", 7), ("m8", 8), ("m9", 9), ("q3", 12), ("m13", 13)],
        ("q4", 4),
    ]


def test_a_turn_that_is_continued_moves_nothing(fold: Fold) -> None:
    known = ([question("m1", 1), question("q2", 2, "queued")], False)
    events: list[Event] = [
        StatusEvent(3, "m1", "running"),
        DeltaEvent(4, "a", 0, "text", 0, "so "),
        StatusEvent(5, "m1", "running", continued=True),
        DeltaEvent(6, "a", 0, "text", 3, "on"),
    ]
    found = fold(events, known)
    assert places(found) == [("m1", 1), ("a", 4), ("q2", 2)]
    assert found[1]["content"] == "so on"


def test_a_page_of_only_queued_messages_leaves_all_others_to_earlier_pages(fold: Fold) -> None:
    queued = ([question("q5", 5, "queued"), question("q6", 6, "queued")], True)
    later: list[Event] = [MessageEvent(9, question("m8", 8))]
    assert places(fold(later, queued)) == [("q5", 5), ("q6", 6)]
    earlier = ([question("m7", 7), question("m8", 8)], True)
    assert places(fold(later, queued, earlier)) == [("m7", 7), ("m8", 8), ("q5", 5), ("q6", 6)]


def question(id: str, seq: int, status: MessageStatus = "complete") -> Message:
    return Message(id, "user", id, [TextPart(id)], 1, seq, status)


def places(messages: Any) -> list[tuple[str, int]]:
    return [(message["id"], message["seq"]) for message in messages]
