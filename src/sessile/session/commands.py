"""What a session is asked, as values: the same however it is asked."""

from typing import Any, TypeAlias

from msgspec import Struct

from sessile.session.inbox import Draft
from sessile.session.reply import Reply
from sessile.session.session import Session
from sessile.wire.messages import Metadata, WhileBusy
from sessile.wire.parts import Part


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
    reply: Reply


class Store(Struct, tag="store"):
    """Store a message without asking the agent to answer it."""

    draft: Draft


class Edit(Struct, tag="edit"):
    """Replace the parts of a stored message, and merge into its metadata."""

    message_id: str
    parts: list[Part] | None = None
    metadata: Metadata | None = None


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


async def obey(session: Session, command: Command) -> Any:
    """Do what is asked.

    The result is that of the session's method: :class:`~sessile.session.inbox.Sent` for ``Send``
    and ``Regenerate``, a bool for ``Stop``, a ``Question`` for ``Answer``, a ``Message`` for
    ``Store`` and ``Edit``, the session's value for ``Create`` and ``Update``, and None.
    """
    match command:
        case Send(draft, while_busy, replaces):
            return await session.send(draft, while_busy, replaces)
        case Stop():
            return await session.stop()
        case Regenerate(answer_id):
            return await session.regenerate(answer_id)
        case Answer(question_id, reply):
            return await session.answer(question_id, reply)
        case Store(draft):
            return await session.persist_message(draft)
        case Edit(message_id, parts, metadata):
            return await session.update_message(message_id, parts, metadata)
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
