"""Commands on their way to another node, and what became of them."""

from typing import Any

import msgspec
from msgspec import Struct

from sessile.session import commands
from sessile.session.inbox import Sent
from sessile.wire.codec import encode
from sessile.wire.errors import SessileError, error_with
from sessile.wire.messages import Message
from sessile.wire.messages import Session as SessionValue
from sessile.wire.parts import Question


class Request(Struct):
    """A command for a session that is busy at another node.

    ``id`` is the same for each attempt, so that the owner does it once.
    """

    id: str
    session: str
    command: commands.Command


class Done(Struct, tag="done"):
    """The command's result, as JSON."""

    value: msgspec.Raw


class Failed(Struct, tag="failed"):
    """The command raised an error with this code and text."""

    code: str
    text: str


class NotMine(Struct, tag="not_mine"):
    """The node that was asked does not have the session, and did nothing."""


Reply = Done | Failed | NotMine

_RESULTS: dict[type, Any] = {
    commands.Send: Sent,
    commands.Stop: bool,
    commands.Regenerate: Sent,
    commands.Answer: Question,
    commands.Store: Message,
    commands.Edit: Message,
    commands.Delete: None,
    commands.Create: SessionValue,
    commands.Update: SessionValue,
    commands.Drop: None,
    commands.Broadcast: None,
}

decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Reply).decode


def done(value: Any) -> Done:
    return Done(msgspec.Raw(encode(value)))


def failed(error: SessileError) -> Failed:
    return Failed(error.code, str(error))


def result_of(reply: Done, command: commands.Command) -> Any:
    """The typed result of a command, as its session's method returned it."""
    return msgspec.json.decode(reply.value, type=_RESULTS[type(command)])


def error_of(reply: Failed) -> SessileError:
    """The error that a command raised."""
    return error_with(reply.code, reply.text)
