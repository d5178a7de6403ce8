"""What clients send: the values of request bodies and WebSocket commands."""

from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from sessile.http.query import MESSAGE_ID_SCHEMA, SESSION_ID_SCHEMA, check_message_id
from sessile.session.inbox import Draft
from sessile.session.reply import Reply
from sessile.wire.errors import ContentRequired, InvalidRequest
from sessile.wire.messages import Metadata, Role, WhileBusy
from sessile.wire.parts import Part, TextPart, text_of

SessionId: TypeAlias = Annotated[str, Meta(extra_json_schema=SESSION_ID_SCHEMA)]
MessageId: TypeAlias = Annotated[str, Meta(extra_json_schema=MESSAGE_ID_SCHEMA)]


class MessageBody(Struct, rename="camel"):
    """A message as a client sends it: ``content``, or ``parts``."""

    content: str | None = None
    parts: list[Part] | None = None
    id: MessageId | None = None
    metadata: Metadata | None = None


class SendBody(MessageBody, rename="camel"):
    """A message to be answered; ``request`` is for the agent, such as a model or settings."""

    while_busy: WhileBusy = "queue"
    replaces: MessageId | None = None
    request: dict[str, Any] | None = None


class StoreBody(MessageBody, rename="camel"):
    """A message to be stored."""

    role: Role = "user"


class RegenerateBody(Struct, rename="camel"):
    """Which answer to write again; the last by default."""

    message_id: MessageId | None = None


class AnswerBody(Struct, rename="camel"):
    """An answer to a question of an agent: ``approve``, or an ``output`` or an ``error``."""

    approve: bool | UnsetType = UNSET
    always: bool = False
    message: str = ""
    output: Any = UNSET
    error: str | UnsetType = UNSET


class MessageChangesBody(Struct):
    """The new parts of a message, or what to merge into its metadata; or both."""

    parts: list[Part] | None = None
    metadata: Metadata | None = None


class CreateBody(Struct):
    """A session before its first message."""

    id: SessionId | None = None
    title: str | None = None
    metadata: Metadata | None = None


class ForkBody(Struct):
    """Up to and with which message; all by default. ``id`` and ``title`` are the fork's."""

    at: MessageId | None = None
    id: SessionId | None = None
    title: str | None = None


class UpdateBody(Struct):
    """What to change of a session; ``metadata`` is merged, null removes a name."""

    title: str | None = None
    archived: bool | None = None
    metadata: Metadata | None = None


def draft_of(body: MessageBody, role: Role = "user", key: str | None = None) -> Draft:
    """The message that a body asks to store.

    ``key`` is an ``Idempotency-Key``. Raises :class:`~sessile.wire.errors.ContentRequired` and
    :class:`~sessile.wire.errors.InvalidRequest`.
    """
    id = body.id
    if key is not None:
        if id is not None and id != key:
            raise InvalidRequest("`id` and the Idempotency-Key header differ.")
        id = key
    if id is not None:
        check_message_id(id)
    request = body.request if isinstance(body, SendBody) else None
    return Draft(_parts(body), role, id, body.metadata, request)


def reply_of(body: AnswerBody) -> Reply:
    """What a body answers; raises :class:`~sessile.wire.errors.InvalidRequest`."""
    given = [value for value in (body.approve, body.output, body.error) if value is not UNSET]
    if len(given) != 1:
        raise InvalidRequest("An answer has one of `approve`, `output` and `error`.")
    return Reply(body.approve, body.always, body.message, body.output, body.error)


def _parts(body: MessageBody) -> list[Part]:
    if body.parts is None:
        if body.content is None or not body.content.strip():
            raise ContentRequired
        return [TextPart(body.content)]
    text = text_of(body.parts)
    if body.content is not None and body.content != text:
        raise InvalidRequest("`content` is not the text of `parts`; send one of the two.")
    if not text.strip() and all(isinstance(part, TextPart) for part in body.parts):
        raise ContentRequired
    return body.parts
