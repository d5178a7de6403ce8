"""What an agent yields becomes events of its answer, within the limits of an answer."""

from typing import Protocol

import msgspec

from sessile.agents.base import Output
from sessile.session.calls import Calls, is_same
from sessile.session.limits import Sizes, size_of
from sessile.wire.codec import clean, encode, encode_clean
from sessile.wire.errors import AnswerTooLong
from sessile.wire.events import Kind, PartEvent
from sessile.wire.fold import Answer
from sessile.wire.frames import ENVELOPE
from sessile.wire.parts import Part, ReasoningPart, TextPart, ToolCallPart, decode_part

# Bytes of events, and as many as the answer has, after which it is stored as it stands.
DRAFT = 256 * 1024

LOST = "\ufffd"  # stands for what is not a character


class Events(Protocol):
    """Where the events of an answer are stored."""

    def write(self, answer_id: str, part: int, kind: Kind, offset: int, text: str) -> int:
        """Store more text of a running turn's answer, and then publish it; its number."""

    def record(self, event: PartEvent, durable: bool = False) -> None:
        """Give an event of a running turn the next number, store it, and then publish it."""

    def draft(self, answer: Answer) -> None:
        """Store an answer as it stands, so that nobody who comes late needs its events."""


class AnswerWriter:
    """Writes one answer. Where its agent ``continues``, tool calls survive the loss of power."""

    __slots__ = (
        "_continues",
        "_ended",
        "_events",
        "_half",
        "_part_sizes",
        "_sizes",
        "_undrafted",
        "answer",
        "calls",
        "puts",
        "size",
    )

    def __init__(self, answer: Answer, events: Events, sizes: Sizes, continues: bool) -> None:
        self.answer = answer
        self.size = 0  # bytes of the answer so far
        self.puts = 0  # how many parts were put
        self._events = events
        self._sizes = sizes
        self._continues = continues
        self._undrafted = 0  # bytes of events since the newest draft
        self._half: tuple[Kind, str] | None = None  # half of a surrogate pair at the text's end
        self._part_sizes: dict[str, int] = {}  # of its tool calls and data, by their names
        self._ended: set[str] = set()  # calls that had ended when the agent was called again
        if answer.seq:
            self.calls = Calls(answer.call, answer.calls())
            self._take_stock()
        else:
            self.calls = Calls(answer.call)

    def take(self, output: Output | None) -> bool:
        """Write what an agent yields.

        True for a tool call that begins or begins to run: the agent that continues must not go on
        before that is stored. Raises :class:`~sessile.wire.errors.AnswerTooLong`.
        """
        opens = False
        if isinstance(output, str):
            self._write("text", output)
        elif output is None:
            return False
        elif isinstance(output, TextPart):
            self._write("text", output.content)
        elif isinstance(output, ReasoningPart):
            self._write("reasoning", output.content)
        elif isinstance(output, Part):
            self.write_half()
            opens = self._take_part(output)
        else:
            raise TypeError(f"an agent yields text or parts, not {type(output).__name__}")
        if self._undrafted > DRAFT and self._undrafted > self.size:
            self._undrafted = 0
            self._events.draft(self.answer)
        return opens

    def show(self, part: ToolCallPart) -> None:
        """Write a tool call about which something was asked or answered."""
        own, size = self._own(part)
        if isinstance(own, ToolCallPart) and own.tool_output is not msgspec.UNSET:
            own.tool_output = self._sizes.cut_output(own.tool_output)
            size = len(encode(own))
        self.size += size - self._part_sizes.get(part.tool_call_id, 0)
        self._part_sizes[part.tool_call_id] = size
        self._put(own, durable=True)

    def begin_part(self) -> None:
        """Let the next text or reasoning begin a new part."""
        self.write_half()
        self.answer.end_part()

    def write_half(self) -> None:
        """Write a half of a character whose other half did not come."""
        if self._half is not None:
            kind, _ = self._half
            self._half = None
            self._write(kind, LOST)

    def _take_stock(self) -> None:
        """Take up what the answer has."""
        for part in self.answer.parts():
            size = len(encode(part))
            self.size += size
            if name := _name(part):
                self._part_sizes[name] = size
            if isinstance(part, ToolCallPart) and not part.is_open:
                self._ended.add(part.tool_call_id)

    def _is_over(self, call: ToolCallPart) -> bool:
        """Whether an agent that was called again begins a call that had ended before."""
        known = self.calls.find(call.tool_call_id)
        if known is None or known.tool_call_id not in self._ended:
            return False
        if call.is_open and is_same(known, call):
            return True
        self._ended.discard(known.tool_call_id)
        return False

    def _take_part(self, output: Part) -> bool:
        if self._ended and isinstance(output, ToolCallPart) and self._is_over(output):
            return False
        part = self._fitting(*self._own(output))
        if isinstance(part, ToolCallPart):
            part.question = msgspec.UNSET  # it is the session's
        if not (self._continues and isinstance(part, ToolCallPart)):
            self._check_count(self._put(part))
            return False
        known = self.answer.call(part.tool_call_id)
        changed = known is None or known.state != part.state
        self._check_count(self._put(part, durable=changed))
        return changed and part.is_open

    def _write(self, kind: Kind, text: str) -> None:
        if self._half is not None or not text.isascii():
            text = self._whole(kind, text)
        if not text:
            return
        room = self._sizes.answer - self.size
        self.size += size_of(text)
        is_cut = self.size > self._sizes.answer
        if is_cut:
            text = _cut(text, room)
        if text:
            answer = self.answer
            part, offset = answer.write(kind, text)
            seq = self._events.write(answer.id, part, kind, offset, text)
            if not answer.seq:
                answer.seq = seq
            self._undrafted += ENVELOPE + len(text)
            self._check_count(part)
        if is_cut:
            raise AnswerTooLong

    def _whole(self, kind: Kind, text: str) -> str:
        """A text as it can be stored. A half of a surrogate pair at its end waits for the other half."""
        if self._half is not None and self._half[0] == kind:
            text = self._half[1] + text
        else:
            self.write_half()
        self._half = None
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._half = kind, text[-1]
            text = text[:-1]
        return clean(text)

    def _check_count(self, index: int) -> None:
        if index + 1 >= self._sizes.answer_parts:
            raise AnswerTooLong

    def _own(self, part: Part) -> tuple[Part, int]:
        """A copy of an agent's part, which the agent cannot change any more, and its bytes of JSON;
        raises if it is not JSON."""
        body = encode_clean(part)
        own = decode_part(body)
        if isinstance(own, ToolCallPart):
            own.tool_call_id = self.calls.id_of(own)
        return own, len(body)

    def _fitting(self, part: Part, size: int) -> Part:
        """A part, of so many bytes of JSON, as it has room in the answer, where it replaces the
        one that it stands for."""
        name = _name(part)
        if isinstance(part, ToolCallPart) and size > self._sizes.tool_output:
            if part.tool_output is not msgspec.UNSET:
                part.tool_output = self._sizes.cut_output(part.tool_output)
            size = len(encode(part))
        former = self._part_sizes.get(name, 0) if name else 0
        if self.size + size - former > self._sizes.answer:
            raise AnswerTooLong
        self.size += size - former
        self._undrafted += size
        if name:
            self._part_sizes[name] = size
        return part

    def _put(self, part: Part, durable: bool = False) -> int:
        if isinstance(part, ToolCallPart) and part.question is msgspec.UNSET:
            known = self.answer.call(part.tool_call_id)
            if known is not None:
                part.question = known.question
        index = self.answer.put(part)
        event = PartEvent(0, self.answer.id, index, part)
        self._events.record(event, durable)
        if not self.answer.seq:
            self.answer.seq = event.seq
        self.puts += 1
        return index


def _name(part: Part) -> str:
    """What a part is replaced by, where it can be."""
    return part.tool_call_id if isinstance(part, ToolCallPart) else getattr(part, "name", "")


def _cut(text: str, room: int) -> str:
    """As much of a text as has room in so many bytes."""
    return text.encode()[: max(room, 0)].decode(errors="ignore")
