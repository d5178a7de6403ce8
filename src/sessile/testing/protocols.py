"""What every protocol must do."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from msgspec import UNSET

from sessile.protocols.base import Protocol
from sessile.wire.codec import encode
from sessile.wire.events import (
    DeletedEvent,
    DeltaEvent,
    Event,
    MessageEvent,
    PartEvent,
    SessionEvent,
    StatusEvent,
)
from sessile.wire.frames import Frame
from sessile.wire.messages import Message, MessageStatus, Session
from sessile.wire.parts import Part, ReasoningPart, TextPart, ToolCallPart

QUESTION, ANSWER = "question", "answer"
TOOL = ToolCallPart("call", "look", {"at": "ü"}, "running")


def question() -> Message:
    parts: list[Part] = [TextPart("Why?\n")]
    return Message(QUESTION, "user", "Why?\n", parts, 1_700_000_000, 1, "complete")


def answer(status: MessageStatus = "complete") -> Message:
    """The answer that :func:`turn` makes."""
    done = ToolCallPart("call", "look", {"at": "ü"}, "complete", tool_output=[1, None])
    parts: list[Part] = [ReasoningPart("Hm. "), TextPart("Because\n😀"), done, TextPart("So.")]
    metadata = {"error": {"error": "It broke.", "code": "agent_error"}}
    return Message(
        ANSWER,
        "assistant",
        "Because\n😀So.",
        parts,
        1_700_000_001,
        3,
        status,
        metadata if status == "error" else UNSET,
        reply_to=QUESTION,
    )


def turn(status: MessageStatus = "complete") -> list[Frame]:
    """The events of a turn: all kinds, with events of other turns between them."""
    whole = answer(status)
    done = whole.parts[2]
    session = Session("s", "Why?", "running", 1, 1, 1, False, {}, 9)
    events: list[Event] = [
        MessageEvent(1, question()),
        StatusEvent(2, QUESTION, "running"),
        DeltaEvent(3, ANSWER, 0, "reasoning", 0, "Hm. "),
        DeltaEvent(4, ANSWER, 1, "text", 0, "Because\n"),
        *other(5),
        DeltaEvent(8, ANSWER, 1, "text", 8, "😀"),
        SessionEvent(9, session),
        PartEvent(10, ANSWER, 2, TOOL),
        PartEvent(11, ANSWER, 2, done),
        DeltaEvent(12, ANSWER, 3, "text", 0, "So."),
        MessageEvent(13, whole),
    ]
    return [frame_of(event) for event in events]


def other(seq: int) -> list[Event]:
    """Events of other turns: a queued message, and the text of another answer."""
    message = Message("other", "user", "?", [TextPart("?")], 1_700_000_000, seq, "queued")
    return [
        MessageEvent(seq, message),
        StatusEvent(seq + 1, "other", "queued", 1),
        DeltaEvent(seq + 2, "other answer", 0, "text", 0, "no"),
    ]


def frame_of(event: Event) -> Frame:
    """An event as it is read from the store: only its JSON."""
    return Frame(getattr(event, "seq", 0), encode(event))


class ProtocolSuite:
    """The promises of :class:`~sessile.protocols.base.Protocol`, for one view of the turn of
    the message ``question`` with the answer ``answer``."""

    @pytest.fixture
    def make_protocol(self) -> Callable[[], Protocol]:
        raise NotImplementedError("Define a fixture that returns a factory of the protocol.")

    def test_a_turn_is_encoded_the_same_however_its_frames_are_split(
        self, make_protocol: Callable[[], Protocol]
    ) -> None:
        whole = self.encode_turn(make_protocol(), [turn()])
        assert whole == self.encode_turn(make_protocol(), [turn()]), "not deterministic"
        for portions in self.portions(turn()):
            assert self.encode_turn(make_protocol(), portions) == whole

    def test_events_of_other_turns_are_left_out(
        self, make_protocol: Callable[[], Protocol]
    ) -> None:
        alone = [frame for frame in turn() if frame.seq not in (5, 6, 7)]
        whole = self.encode_turn(make_protocol(), [turn()])
        assert whole == self.encode_turn(make_protocol(), [alone])

    @pytest.mark.parametrize("status", ["complete", "stopped", "interrupted", "error"])
    def test_it_ends_with_the_answer_and_not_before(
        self, make_protocol: Callable[[], Protocol], status: MessageStatus
    ) -> None:
        protocol = make_protocol()
        protocol.begin(None)
        *before, last = turn(status)
        for frame in before:
            assert protocol.encode([frame])[1] is False, frame.data
        assert protocol.encode([last])[1] is True

    @pytest.mark.parametrize("gone", [UNSET, QUESTION, ANSWER])
    def test_it_ends_when_the_session_or_one_of_its_messages_is_deleted(
        self, make_protocol: Callable[[], Protocol], gone: str
    ) -> None:
        protocol = make_protocol()
        protocol.begin(None)
        assert protocol.encode(turn()[:4])[1] is False
        assert protocol.encode([frame_of(DeletedEvent(5, "other"))])[1] is False
        assert protocol.encode([frame_of(DeletedEvent(6, gone))])[1] is True

    def test_an_error_is_reported(self, make_protocol: Callable[[], Protocol]) -> None:
        assert b"It broke." in self.encode_turn(make_protocol(), [turn("error")])
        assert b"It broke." in self.encode_settled(make_protocol(), "error")

    def test_an_answer_that_is_already_settled_is_sent_whole(
        self, make_protocol: Callable[[], Protocol]
    ) -> None:
        spoken = self.encode_settled(make_protocol(), "complete")
        assert spoken == self.encode_settled(make_protocol(), "complete")
        for text in ("Because", "So."):
            assert text.encode() in spoken

    def test_a_client_that_is_cut_off_is_notified(
        self, make_protocol: Callable[[], Protocol]
    ) -> None:
        protocol = make_protocol()
        protocol.begin(None)
        protocol.encode(turn()[:4])
        assert protocol.cut() + protocol.end()

    def encode_turn(self, protocol: Protocol, portions: Sequence[Sequence[Frame]]) -> bytes:
        """The response to a turn whose frames come in these portions."""
        chunks = [protocol.begin(None)]
        for frames in portions:
            data, ended = protocol.encode(frames)
            chunks.append(data)
            if ended:
                break
        return b"".join([*chunks, protocol.end()])

    def encode_settled(self, protocol: Protocol, status: MessageStatus) -> bytes:
        return protocol.begin(question()) + protocol.settled(answer(status)) + protocol.end()

    def portions(self, frames: Sequence[Frame]) -> Iterator[list[Sequence[Frame]]]:
        """The frames one by one, and in two portions, split at every place."""
        yield [[frame] for frame in frames]
        for cut in range(len(frames) + 1):
            yield [frames[:cut], frames[cut:]]
