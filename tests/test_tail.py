"""Runs of deltas: each event of a run is what it would be by itself, wherever the run goes."""

from hypothesis import given
from hypothesis import strategies as st

from sessile import TextPart
from sessile.protocols.native import SessionStream, TurnStream
from sessile.store.tail import pack, unpack
from sessile.wire.events import PartEvent, StatusEvent
from sessile.wire.fold import Answer, fold_answer
from sessile.wire.frames import Deltas, Frame, Piece, after, before, singly

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
runs = st.builds(
    Deltas,
    first=st.just(1),
    message_id=st.sampled_from(["a", '%d"\\é']),
    part=st.integers(0, 1),
    kind=st.sampled_from(["text", "reasoning"]),
    offset=st.integers(0, 6),
    texts=st.lists(texts, min_size=1, max_size=5),
)
others = st.one_of(
    st.builds(PartEvent, st.just(0), st.just("a"), st.just(0), st.builds(TextPart, texts)),
    st.builds(StatusEvent, st.just(0), st.just("q"), st.just("queued"), st.integers(1, 9)),
)
FIRST = 7


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    """Events with consecutive numbers, from ``FIRST`` on."""
    seq = FIRST
    found: list[Piece] = []
    for drawn in draw(st.lists(runs | others, max_size=8)):
        if isinstance(drawn, Deltas):
            drawn.first, drawn.seq = seq, seq + len(drawn.texts) - 1
            found.append(drawn)
        else:
            drawn.seq = seq
            found.append(Frame.of(drawn, seq))
        seq = found[-1].seq + 1
    return found


def plain(frames: list[Piece]) -> list[tuple[int, bytes]]:
    return [(frame.seq, frame.data) for frame in singly(frames)]


@given(pieces())
def test_unpacked_events_are_equal_to_the_packed_ones(found: list[Piece]) -> None:
    assert plain(unpack(FIRST, pack(found))) == plain(found)


@given(pieces())
def test_the_json_and_the_streams_of_a_run_are_those_of_its_events(found: list[Piece]) -> None:
    for piece in found:
        if isinstance(piece, Deltas):
            assert piece.lines() == [data for _, data in plain([piece])]
            assert piece.seq == piece.first + len(piece.texts) - 1
    alone = list(singly(found))
    assert SessionStream().encode(found) == SessionStream().encode(alone)
    assert TurnStream("q", "a").encode(found) == TurnStream("q", "a").encode(alone)


@given(pieces(), st.integers(FIRST - 1, FIRST + 20))
def test_a_run_is_cut_at_any_number(found: list[Piece], seq: int) -> None:
    assert plain(after(found, seq)) == [one for one in plain(found) if one[0] > seq]
    assert plain(before(found, seq)) == [one for one in plain(found) if one[0] < seq]


@given(st.lists(texts, min_size=1, max_size=9), st.integers(0, 8))
def test_a_run_is_folded_as_its_events_are(words: list[str], known: int) -> None:
    run = Deltas(FIRST, "a", 0, "text", 0, words)
    together, apart = Answer("a"), Answer("a")
    for answer in (together, apart):
        fold_answer(answer, before([run], FIRST + known))
    fold_answer(together, [run])
    fold_answer(apart, singly([run]))
    assert together.message() == apart.message()
    assert (together.seq, together.changed) == (apart.seq, apart.changed)


def test_a_run_grows_by_what_continues_it() -> None:
    run = Deltas(FIRST, "a", 0, "text", 0, ["one "])
    assert run.continues("a", 0, "text")
    assert not run.continues("b", 0, "text")
    assert not run.continues("a", 1, "text")
    assert not run.continues("a", 0, "reasoning")
    run.add("two")
    assert [frame.event for frame in singly([run])] == list(run.events())
    assert [(event.seq, event.offset, event.text) for event in run.events()] == [
        (FIRST, 0, "one "),
        (FIRST + 1, 4, "two"),
    ]


def test_the_packed_tokens_of_an_answer_take_little_more_space_than_their_text() -> None:
    words = [f"word{index} " for index in range(100)]
    run = Deltas(FIRST, "answer", 0, "text", 0, words)
    assert len(pack([run])) < 1.5 * sum(map(len, words)) < run.size / 5
