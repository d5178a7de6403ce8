"""Events are stored packed and unpacked without changes."""

from hypothesis import given
from hypothesis import strategies as st

from sessile import TextPart
from sessile.store.tail import pack, unpack
from sessile.wire.events import DeltaEvent, PartEvent, StatusEvent
from sessile.wire.frames import Frame

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
deltas = st.builds(
    DeltaEvent,
    seq=st.just(0),
    message_id=st.sampled_from(["a", "b"]),
    part=st.integers(0, 1),
    kind=st.sampled_from(["text", "reasoning"]),
    offset=st.integers(0, 6),
    text=texts,
)
others = st.one_of(
    st.builds(PartEvent, st.just(0), st.just("a"), st.just(0), st.builds(TextPart, texts)),
    st.builds(StatusEvent, st.just(0), st.just("q"), st.just("queued"), st.integers(1, 9)),
)


@given(st.lists(deltas | others, max_size=12), st.integers(1, 2**40))
def test_unpacked_events_are_equal_to_the_packed_ones(
    events: list[DeltaEvent | PartEvent | StatusEvent], first: int
) -> None:
    frames = []
    for seq, event in enumerate(events, first):
        event.seq = seq
        frames.append(Frame.of(event, seq))
    unpacked = unpack(first, pack(frames))
    assert [(f.seq, f.data) for f in unpacked] == [(f.seq, f.data) for f in frames]


def test_the_packed_tokens_of_an_answer_take_little_more_space_than_their_text() -> None:
    words = [f"word{index} " for index in range(100)]
    offset, frames = 0, []
    for seq, word in enumerate(words, 7):
        frames.append(Frame.of(DeltaEvent(seq, "answer", 0, "text", offset, word), seq))
        offset += len(word)
    packed = pack(frames)
    assert len(packed) < 1.5 * sum(map(len, words)) < sum(len(frame.data) for frame in frames) / 5
    assert [frame.event for frame in unpack(7, packed)] == [frame.event for frame in frames]
