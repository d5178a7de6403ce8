"""Events to messages: the one reducer, used by the turn, by recovery and by clients. Pure.

A delta says at which offset its text goes, so a client that folds can check that nothing is missing:
equal to what is there, it is appended; smaller, it was seen before; larger, something was lost.
"""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from sessile.wire.events import (
    DeletedEvent,
    DeltaEvent,
    Event,
    Kind,
    MessageEvent,
    PartEvent,
    PartsEvent,
    StatusEvent,
)
from sessile.wire.frames import Deltas, Piece
from sessile.wire.messages import Message, MessageStatus, Metadata
from sessile.wire.parts import DataPart, Part, ReasoningPart, TextPart, ToolCallPart, text_of

UNFINISHED = "The answer ended before this tool call did."


class GapError(Exception):
    """A delta starts beyond the text that is there: events before it were lost."""


class _Growing:
    """A text or reasoning part that grows, joined only when it is read."""

    __slots__ = ("chunks", "kind", "length")

    def __init__(self, kind: Kind, text: str = "") -> None:
        self.kind = kind
        self.chunks = [text] if text else []
        self.length = len(text)

    def append(self, text: str) -> None:
        self.chunks.append(text)
        self.length += len(text)

    def part(self) -> TextPart | ReasoningPart:
        text = "".join(self.chunks)
        self.chunks = [text]
        return TextPart(text) if self.kind == "text" else ReasoningPart(text)


class Answer:
    """A message while it is being written.

    The agent's side calls :meth:`write` and :meth:`put`, which return the place; all others call
    :meth:`apply` with the events that were made of it.
    """

    def __init__(
        self,
        id: str,
        reply_to: str | None = None,
        created_at: int = 0,
        seq: int = 0,
        parts: Iterable[Part] = (),
        metadata: Metadata | None = None,
    ) -> None:
        self.id = id
        self.reply_to = reply_to
        self.created_at = created_at
        self.seq = seq
        self.changed = seq
        self.metadata: Metadata = metadata or {}
        self._parts: list[_Growing | Part] = [_grow(part) for part in parts]
        self._calls: dict[str, int] = {}
        self._data: dict[str, int] = {}
        for index, part in enumerate(self._parts):
            self._name(part, index)

    @classmethod
    def of(cls, message: Message) -> "Answer":
        """Go on with a message as it stands."""
        return cls(
            message.id,
            None if message.reply_to is UNSET else message.reply_to,
            message.created_at,
            message.seq,
            message.parts,
            None if message.metadata is UNSET else dict(message.metadata),
        )

    def write(self, kind: Kind, text: str) -> tuple[int, int]:
        """Append to the last part if it is of this kind, else open one: (part, offset)."""
        parts = self._parts
        last = parts[-1] if parts else None
        if type(last) is not _Growing or last.kind != kind:
            last = _Growing(kind)
            parts.append(last)
        offset = last.length
        last.append(text)
        return len(parts) - 1, offset

    def put(self, part: Part) -> int:
        """Add a part, or replace the tool call of the same id or the data of the same name."""
        index = len(self._parts)
        if isinstance(part, ToolCallPart):
            index = self._calls.get(part.tool_call_id, index)
        elif isinstance(part, DataPart):
            index = self._data.get(part.name, index)
        self._set(index, part)
        return index

    def end_part(self) -> None:
        """Let the next text or reasoning begin a new part."""
        if self._parts and isinstance(self._parts[-1], _Growing):
            self._parts[-1] = self._parts[-1].part()

    def calls(self) -> list[ToolCallPart]:
        """Its tool calls as they stand."""
        parts = (self._parts[index] for index in self._calls.values())
        return [part for part in parts if isinstance(part, ToolCallPart)]

    def call(self, id: str) -> ToolCallPart | None:
        """A tool call as it stands."""
        index = self._calls.get(id)
        part = None if index is None else self._parts[index]
        return part if isinstance(part, ToolCallPart) else None

    def apply(self, event: DeltaEvent | PartEvent) -> None:
        """Take an event of this message.

        Raises :class:`GapError` if an event before it is missing.
        """
        if not self.seq:
            self.seq = event.seq
        self.changed = event.seq
        if isinstance(event, PartEvent):
            if event.index > len(self._parts):
                raise GapError(f"part {event.index} comes after {len(self._parts)} parts")
            self._set(event.index, event.part)
            return
        if event.part == len(self._parts):
            self._parts.append(_Growing(event.kind))
        growing = self._parts[event.part] if event.part < len(self._parts) else None
        if not isinstance(growing, _Growing) or event.offset > growing.length:
            raise GapError(f"the text at offset {event.offset} of part {event.part} was lost")
        missing = event.text[growing.length - event.offset :]
        if missing:
            growing.append(missing)

    def clear(self) -> None:
        """Begin again, in the same place."""
        self._parts, self._calls, self._data = [], {}, {}

    @property
    def used_tools(self) -> bool:
        """Whether a tool was called, and so may have done something."""
        return bool(self._calls)

    def parts(self) -> list[Part]:
        return [part.part() if isinstance(part, _Growing) else part for part in self._parts]

    def message(self, status: MessageStatus = "streaming") -> Message:
        """The message as it stands."""
        parts = self.parts()
        return Message(
            self.id,
            "assistant",
            text_of(parts),
            parts,
            self.created_at,
            self.seq,
            status,
            self.metadata or UNSET,
            UNSET if self.reply_to is None else self.reply_to,
        )

    def settled(self, status: MessageStatus) -> Message:
        """The message at its end: a tool call that is still open is an error.

        Model providers refuse a history in which a tool call has no result.
        """
        for index, part in enumerate(self._parts):
            if isinstance(part, ToolCallPart) and (part.is_open or part.asks):
                self._parts[index] = closed(part)
        return self.message(status)

    def _set(self, index: int, part: Part) -> None:
        grown = _grow(part)
        if index == len(self._parts):
            self._parts.append(grown)
        else:
            self._parts[index] = grown
        self._name(grown, index)

    def _name(self, part: "_Growing | Part", index: int) -> None:
        if isinstance(part, ToolCallPart):
            self._calls[part.tool_call_id] = index
        elif isinstance(part, DataPart):
            self._data[part.name] = index


def _grow(part: Part) -> "_Growing | Part":
    if isinstance(part, TextPart):
        return _Growing("text", part.content)
    if isinstance(part, ReasoningPart):
        return _Growing("reasoning", part.content)
    return part


def closed(part: ToolCallPart) -> ToolCallPart:
    """A tool call, which is an error if it is open, and its question, once its turn is over."""
    call = msgspec.structs.replace(part)
    if call.is_open:
        call.state, call.error = "error", UNFINISHED
    if call.question is not UNSET and call.question.is_open:
        call.question = msgspec.structs.replace(call.question, state="expired")
    return call


def fold_answer(answer: Answer, frames: Iterable[Piece]) -> None:
    """Apply those of a session's events that belong to an answer.

    Raises :class:`GapError`, after everything before the gap was applied.
    """
    for frame in frames:
        if isinstance(frame, Deltas):
            if frame.message_id == answer.id:
                answer.apply(frame.joined())
                answer.changed = frame.seq
            continue
        event = frame.event
        if isinstance(event, DeltaEvent | PartEvent) and event.message_id == answer.id:
            answer.apply(event)
        elif isinstance(event, MessageEvent) and event.message.id == answer.id:
            answer.clear()


class History:
    """What a watcher has of a session, folded from the events it received."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages: dict[str, Message] = {message.id: message for message in messages}
        self._answers: dict[str, Answer] = {}

    def apply(self, event: Event) -> None:
        """Take the next event.

        Raises :class:`GapError` if text before it was lost; the message must then be read again.
        """
        if isinstance(event, MessageEvent):
            self._answers.pop(event.message.id, None)
            self._messages[event.message.id] = event.message
        elif isinstance(event, DeltaEvent | PartEvent):
            self._answer(event.message_id).apply(event)
        elif isinstance(event, PartsEvent):
            if (message := self._messages.get(event.message_id)) is not None:
                unchanged = event.metadata is UNSET
                self._messages[event.message_id] = msgspec.structs.replace(
                    message,
                    parts=event.parts,
                    content=text_of(event.parts),
                    metadata=message.metadata if unchanged else event.metadata,
                )
        elif isinstance(event, StatusEvent):
            self._set_status(event)
        elif isinstance(event, DeletedEvent):
            if event.message_id is UNSET:
                self._messages.clear()
                self._answers.clear()
            else:
                self._messages.pop(event.message_id, None)
                self._answers.pop(event.message_id, None)

    def messages(self) -> list[Message]:
        """The messages by their seq, queued ones last; one that is being written as it stands."""
        running = {answer.id: answer.message() for answer in self._answers.values()}
        return sorted(
            (self._messages | running).values(),
            key=lambda message: (message.status == "queued", message.seq),
        )

    def _set_status(self, event: StatusEvent) -> None:
        message = self._messages.get(event.message_id)
        if message is None:
            return
        if event.status == "queued":
            changed = msgspec.structs.replace(message, status="queued")
        elif message.status == "queued":
            # Its place in the history is where its turn began.
            changed = msgspec.structs.replace(message, status="complete", seq=event.seq)
        else:
            return
        self._messages[event.message_id] = changed

    def _answer(self, message_id: str) -> Answer:
        if message_id not in self._answers:
            known = self._messages.get(message_id)
            self._answers[message_id] = Answer.of(known) if known else Answer(message_id)
        return self._answers[message_id]
