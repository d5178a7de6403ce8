"""What a session is asked, as values: the same for HTTP, for WebSocket and for another node."""

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from sessile.agents.base import Decision
from sessile.session.inbox import Draft, Sent
from sessile.session.session import Session
from sessile.wire.messages import Message, Metadata, WhileBusy
from sessile.wire.messages import Session as SessionValue
from sessile.wire.parts import Approval, Part


class Send(Struct, tag="send"):
    """Store a user message and have it answered."""

    draft: Draft
    while_busy: WhileBusy = "queue"
    replaces: str | None = None


class Stop(Struct, tag="stop"):
    """End the turn that runs."""


class Regenerate(Struct, tag="regenerate"):
    """Answer a question again."""

    answer_id: str | None = None


class Answer(Struct, tag="answer"):
    """Answer what an agent asks."""

    question_id: str
    decision: Decision


class Store(Struct, tag="store"):
    """Store a message without asking anybody to answer it."""

    draft: Draft


class Edit(Struct, tag="edit"):
    """Replace the parts of a stored message."""

    message_id: str
    parts: list[Part]


class Delete(Struct, tag="delete"):
    """Delete a message."""

    message_id: str


class Create(Struct, tag="create"):
    """Store the session before its first message."""

    title: str | None = None
    metadata: Metadata | None = None


class Update(Struct, tag="update"):
    """Change the session itself."""

    title: str | None = None
    archived: bool | None = None
    metadata: Metadata | None = None


class Drop(Struct, tag="drop"):
    """Delete the session with everything it has."""


class Broadcast(Struct, tag="broadcast"):
    """Send any JSON value to everybody who watches at this moment."""

    data: Any


Command: TypeAlias = (
    Send | Stop | Regenerate | Answer | Store | Edit | Delete | Create | Update | Drop | Broadcast
)

RESULTS: dict[type, Any] = {
    Send: Sent,
    Stop: bool,
    Regenerate: Sent,
    Answer: Approval,
    Store: Message,
    Edit: Message,
    Delete: None,
    Create: SessionValue,
    Update: SessionValue,
    Drop: None,
    Broadcast: None,
}


async def obey(session: Session, command: Command) -> Any:
    """Do what is asked; the result has the type that ``RESULTS`` names."""
    match command:
        case Send(draft, while_busy, replaces):
            return await session.send(draft, while_busy, replaces)
        case Stop():
            return await session.stop()
        case Regenerate(answer_id):
            return await session.regenerate(answer_id)
        case Answer(question_id, decision):
            return await session.approve(question_id, decision)
        case Store(draft):
            return await session.persist_message(draft)
        case Edit(message_id, parts):
            return await session.update_message_parts(message_id, parts)
        case Delete(message_id):
            return await session.delete_message(message_id)
        case Create(title, metadata):
            return await session.create(title, metadata)
        case Update(title, archived, metadata):
            return await session.update(title, archived, metadata)
        case Drop():
            return await session.delete()
        case Broadcast(data):
            session.broadcast(data)
    return None


class Request(Struct):
    """A command for a session that is busy at another node.

    ``id`` is the same for every attempt: the owner does it once.
    """

    id: str
    session: str
    command: Command


class Reply(Struct):
    """What became of it: the result's JSON, or an error's ``code`` and ``text``."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    text: str = ""


encode = msgspec.json.encode
decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Reply).decode


def result_of(reply: Reply, command: Command) -> Any:
    """The typed result of a command from what another node replied."""
    return msgspec.json.decode(reply.value, type=RESULTS[type(command)])
