"""Sessile's own protocol: the session's events as server-sent events and as WebSocket frames. Pure.

A WebSocket frame is an event's JSON as it is. In an event stream a message is named by its
author: ``ack`` for the user's, ``assistant`` for an answer.
"""

from collections.abc import Iterable

from msgspec import UNSET

from sessile.wire.codec import encode
from sessile.wire.errors import ShuttingDown
from sessile.wire.events import (
    DeletedEvent,
    DeltaEvent,
    ErrorEvent,
    MessageEvent,
    PartEvent,
    StatusEvent,
)
from sessile.wire.frames import Deltas, Frame, Piece
from sessile.wire.messages import Message
from sessile.wire.sse import frame as sse_frame

_CUT = sse_frame("error", encode(ErrorEvent(str(ShuttingDown()), ShuttingDown.code)))
DONE = sse_frame("done", b'{"type":"done"}')

_DELTA = b"id: %d\nevent: delta\ndata: "
_BODY = b',"message":'


def ack(body: bytes, seq: int = 0) -> bytes:
    """A user message that is stored, from its JSON; without ``seq`` for one that was before."""
    return sse_frame(
        "message",
        b'{"type":"ack","content":"Message received","message":%s}' % body,
        seq,
    )


def assistant(body: bytes, seq: int) -> bytes:
    """A whole answer, from its JSON."""
    return sse_frame("message", b'{"type":"assistant",' + body[1:], seq)


def failure(message: Message) -> bytes:
    """Why an answer has the status ``error``."""
    known = {} if message.metadata is UNSET else message.metadata.get("error", {})
    event = ErrorEvent(known.get("error", "The agent failed."), known.get("code", "agent_error"))
    return sse_frame("error", encode(event))


def sse(frame: Piece) -> bytes:
    """A frame as a server-sent event; made once and kept with the frame."""
    if frame.sse is None:
        frame.sse = _sse(frame)
    return frame.sse


def _sse(frame: Piece) -> bytes:
    if isinstance(frame, Deltas):
        return b"".join(frame.lines(_DELTA, b"\n\n"))
    event = frame.event
    if isinstance(event, DeltaEvent):
        return sse_frame("delta", frame.data, frame.seq)
    if not isinstance(event, MessageEvent):
        return sse_frame(str(event.__struct_config__.tag), frame.data, frame.seq)
    body = frame.data[frame.data.index(_BODY) + len(_BODY) : -1]
    if event.message.role == "user":
        return ack(body, frame.seq)
    if event.message.role == "assistant":
        return assistant(body, frame.seq)
    return sse_frame("message", frame.data, frame.seq)


class SessionStream:
    """Everything that happens in a session."""

    def encode(self, frames: Iterable[Piece]) -> tuple[bytes, bool]:
        """The frames as bytes, and whether the stream is at its end."""
        ended = False
        taken: list[bytes] = []
        for frame in frames:
            taken.append(sse(frame))
            ended = frame.ends_session
        return b"".join(taken), ended


class TurnStream:
    """What belongs to one turn: its question, its answer, and what is said about the two."""

    def __init__(self, question: str, answer: str | None) -> None:
        self._question = question
        self._answer = answer
        self._acknowledged = False

    def begin(self, repeat: Message | None) -> bytes:
        self._acknowledged = repeat is not None
        return b"" if repeat is None else ack(encode(repeat))

    def encode(self, frames: Iterable[Piece]) -> tuple[bytes, bool]:
        taken: list[bytes] = []
        for frame in frames:
            if isinstance(frame, Deltas):
                if frame.message_id == self._answer:
                    taken.append(frame.sse or sse(frame))
            elif self._take(frame, taken):
                return b"".join(taken), True
        return b"".join(taken), False

    def settled(self, answer: Message) -> bytes:
        why = failure(answer) if answer.status == "error" else b""
        return assistant(encode(answer), 0) + why

    def cut(self) -> bytes:
        return _CUT

    def end(self) -> bytes:
        return DONE

    def _take(self, frame: Frame, taken: list[bytes]) -> bool:
        """Take an event if it belongs to the turn; True if nothing may follow."""
        about = frame.about
        if about is not None and about != self._answer and about != self._question:
            return False
        event = frame.event
        if isinstance(event, MessageEvent):
            return self._take_message(frame, event.message, taken)
        if isinstance(event, PartEvent | DeltaEvent):
            if about == self._answer:
                taken.append(frame.sse or sse(frame))
            return False
        if isinstance(event, StatusEvent):
            if about == self._question:
                taken.append(frame.sse or sse(frame))
            return False
        ends = isinstance(event, ErrorEvent | DeletedEvent)
        if ends:
            taken.append(sse(frame))
        return ends

    def _take_message(self, frame: Frame, message: Message, taken: list[bytes]) -> bool:
        if message.id == self._question:
            if not self._acknowledged:
                taken.append(frame.sse or sse(frame))
            return False
        taken.append(sse(frame))
        if message.status == "error":
            taken.append(failure(message))
        return message.status != "streaming"
