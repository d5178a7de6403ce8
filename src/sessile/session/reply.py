"""Questions as clients see them, and what an answer makes of a tool call. Pure."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sessile.agents.base import DENIED, EXPIRED
from sessile.wire.parts import Question, QuestionKind, ToolCallPart


class Reply(Struct, omit_defaults=True):
    """A client's answer to a question: ``approve``, or an ``output`` or an ``error``.

    ``always`` gives permission for the whole session, and ``message`` is a person's reason.
    """

    approve: bool | UnsetType = UNSET
    always: bool = False
    message: str = ""
    output: Any = UNSET
    error: str | UnsetType = UNSET

    @property
    def kind(self) -> QuestionKind:
        """Which kind of question it answers."""
        return "output" if self.approve is UNSET else "approval"

    @property
    def state(self) -> Literal["approved", "denied", "answered"]:
        """What becomes of the question."""
        if self.kind == "output":
            return "answered"
        return "approved" if self.approve else "denied"


class AskedQuestion(Question, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """An open question, and the tool call that it is about."""

    message_id: str
    tool_call_id: str
    tool_name: str
    tool_input: Any


def asked_question(message_id: str, call: ToolCallPart) -> AskedQuestion:
    """The question about a tool call of a message."""
    assert call.question is not UNSET
    return AskedQuestion(
        **msgspec.structs.asdict(call.question),
        message_id=message_id,
        tool_call_id=call.tool_call_id,
        tool_name=call.tool_name,
        tool_input=call.tool_input,
    )


def asks(part: object, id: str) -> bool:
    """Whether a part of the history is what a question was about."""
    return isinstance(part, ToolCallPart) and part.question is not UNSET and part.question.id == id


def answered(call: ToolCallPart, question: Question, reply: Reply | None = None) -> ToolCallPart:
    """A tool call whose question is answered; without permission, or with an output, it is over."""
    call = msgspec.structs.replace(call, question=question)
    if not call.is_open or question.state == "approved":
        return call
    if question.state == "answered" and reply is not None and reply.error is UNSET:
        call.state, call.tool_output = "complete", reply.output
        return call
    call.state = "error"
    if reply is not None and reply.error is not UNSET:
        call.error = reply.error
    else:
        message = "" if question.message is UNSET else question.message
        call.error = message or (EXPIRED if question.state == "expired" else DENIED)
    return call
