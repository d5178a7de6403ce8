"""The pure functions: folding events, server-sent events, ids."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sessile.wire.codec import clean
from sessile.wire.events import (
    DeletedEvent,
    DeltaEvent,
    MessageEvent,
    PartEvent,
    PartsEvent,
    StatusEvent,
)
from sessile.wire.fold import Answer, GapError, History
from sessile.wire.ids import new_id
from sessile.wire.messages import Message
from sessile.wire.parts import DataPart, Question, ReasoningPart, TextPart, ToolCallPart
from sessile.wire.sse import Parser, frame

outputs = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["text", "reasoning"]), st.text(min_size=1)),
        st.builds(
            ToolCallPart,
            st.sampled_from(["1", "2"]),
            st.just("tool"),
            st.integers(),
            st.sampled_from(["pending", "running", "complete"]),
        ),
        st.builds(DataPart, st.sampled_from(["plan", "todo"]), st.integers()),
    )
)


def write_answer(found: list[object]) -> tuple[Answer, list[DeltaEvent | PartEvent]]:
    """Write the output of an agent to an answer; returns the answer and its events."""
    answer = Answer("a", "q", 1)
    events: list[DeltaEvent | PartEvent] = []
    for seq, output in enumerate(found, 1):
        answer.seq = answer.seq or seq
        if isinstance(output, tuple):
            part, offset = answer.write(*output)
            events.append(DeltaEvent(seq, "a", part, output[0], offset, output[1]))
        else:
            index = answer.put(output)  # type: ignore[arg-type]
            events.append(PartEvent(seq, "a", index, output))  # type: ignore[arg-type]
    return answer, events


@given(outputs)
def test_folding_the_events_gives_what_was_written(found: list[object]) -> None:
    answer, events = write_answer(found)
    folded = Answer("a", "q", 1)
    for event in events:
        folded.apply(event)
    assert folded.message() == answer.message()


@given(outputs, st.data())
def test_events_may_be_repeated_from_any_point(found: list[object], data: st.DataObject) -> None:
    """Repeated text is there once. A replaced part is as the last event says."""
    answer, events = write_answer([output for output in found if isinstance(output, tuple)])
    cut = data.draw(st.integers(0, len(events)))
    back = data.draw(st.integers(0, cut))
    folded = Answer("a", "q", 1)
    for event in [*events[:cut], *events[back:]]:
        folded.apply(event)
    assert folded.message().parts == answer.message().parts


@given(outputs, st.data())
def test_a_client_that_joins_in_the_middle_continues_from_the_answer_so_far(
    found: list[object], data: st.DataObject
) -> None:
    _, events = write_answer(found)
    cut = data.draw(st.integers(0, len(events)))
    until = Answer("a", "q", 1)
    for event in events[:cut]:
        until.apply(event)
    history = History([until.message()] if cut else [])
    whole = History()
    for event in events:
        whole.apply(event)
    for event in events[cut:]:
        history.apply(event)
    assert [m.parts for m in history.messages()] == [m.parts for m in whole.messages()]


def test_lost_text_is_detected() -> None:
    answer = Answer("a")
    answer.apply(DeltaEvent(1, "a", 0, "text", 0, "abc"))
    with pytest.raises(GapError):
        answer.apply(DeltaEvent(3, "a", 0, "text", 4, "e"))
    with pytest.raises(GapError):
        answer.apply(PartEvent(3, "a", 2, DataPart("x", 1)))
    assert answer.message().content == "abc"


def test_an_answer_that_ends_closes_its_tool_calls() -> None:
    answer = Answer("a")
    answer.put(ToolCallPart("1", "t", {}, "complete", tool_output=1))
    answer.put(ToolCallPart("2", "t", {}, "running"))
    answer.put(ToolCallPart("3", "t", {}, "pending", question=Question("p", "approval", "open")))
    done, running, asked = answer.settled("stopped").parts
    assert isinstance(done, ToolCallPart)
    assert isinstance(running, ToolCallPart)
    assert isinstance(asked, ToolCallPart)
    assert (done.state, done.error) == ("complete", UNSET)
    assert (running.state, bool(running.error)) == ("error", True)
    assert asked.question == Question("p", "approval", "expired")


def test_a_history_is_what_its_events_say() -> None:
    def message(id: str, seq: int) -> MessageEvent:
        return MessageEvent(seq, Message(id, "user", id, [TextPart(id)], 1, seq, "complete"))

    history = History()
    history.apply(message("a", 1))
    history.apply(message("b", 2))
    history.apply(StatusEvent(3, "b", "queued", 1))
    assert [m.status for m in history.messages()] == ["complete", "queued"]
    history.apply(StatusEvent(4, "b", "running"))
    history.apply(PartsEvent(5, "a", [ReasoningPart("r"), TextPart("new")]))
    history.apply(PartsEvent(6, "a", [TextPart("new")], {"b": 2}))
    assert [(m.content, m.status, m.metadata) for m in history.messages()] == [
        ("new", "complete", {"b": 2}),
        ("b", "complete", UNSET),
    ]
    history.apply(DeletedEvent(6, "a"))
    assert [m.id for m in history.messages()] == ["b"]
    history.apply(DeletedEvent(7))
    assert history.messages() == []


@given(st.lists(st.tuples(st.sampled_from(["delta", "done"]), st.text(), st.integers(0, 9))),
       st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())  # fmt: skip
def test_server_sent_events_are_parsed_however_the_bytes_are_split(
    sent: list[tuple[str, str, int]], newline: bytes, data: st.DataObject
) -> None:
    lines = [(name, text.translate({10: 32, 13: 32}), seq) for name, text, seq in sent]
    whole = b":comment\n\n" + b"".join(frame(n, t.encode(), seq) for n, t, seq in lines)
    whole = whole.replace(b"\n", newline)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    parser = Parser()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        got += list(parser.feed(whole[start:end]))
    got += list(parser.feed(b"\n"))
    assert got == [(name, text, str(seq) if seq else None) for name, text, seq in lines]


def test_ids_are_uuids_ordered_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {uuid.UUID(id).version for id in ids} == {7}
    assert {uuid.UUID(id).variant for id in ids} == {uuid.RFC_4122}
    assert [id[:8] for id in ids] == sorted(id[:8] for id in ids)


@given(st.text(st.characters(exclude_categories=())))
def test_cleaned_text_can_be_stored_and_valid_text_is_unchanged(text: str) -> None:
    clean(text).encode()
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        assert clean(text) == text


def test_surrogate_pairs_become_one_character() -> None:
    assert clean("\ud83d\ude42!") == "🙂!"
    assert clean("a\ud83db") == "a\ufffdb"
