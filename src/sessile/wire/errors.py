"""The errors of Sessile, with the code and the HTTP status of each.

    SessileError                      500 internal_error
    ├── InvalidRequest                400 invalid_request
    │   ├── ContentRequired           400 content_required
    │   ├── InvalidOutput             400 invalid_output
    │   ├── InvalidSessionId          400 invalid_session_id
    │   └── InvalidMessageId          400 invalid_message_id
    ├── HostNotAllowed                403 host_not_allowed
    ├── OriginNotAllowed              403 origin_not_allowed
    ├── OtherUser                     403 other_user
    ├── NotFound                      404 not_found
    │   ├── SessionNotFound           404 session_not_found
    │   ├── MessageNotFound           404 message_not_found
    │   └── QuestionNotFound          404 question_not_found
    ├── MethodNotAllowed              405 method_not_allowed
    ├── Conflict                      409 conflict
    │   ├── SessionExists             409 session_exists
    │   ├── MessageConflict           409 message_conflict
    │   ├── TurnInProgress            409 turn_in_progress
    │   └── QuestionAnswered          409 question_answered
    ├── MessageDeleted                410 message_deleted
    ├── TooSlow                       408 too_slow
    ├── BodyTooLarge                  413 body_too_large
    ├── MetadataTooLarge              413 metadata_too_large
    ├── UpgradeRequired               426 upgrade_required
    ├── QueueFull                     429 queue_full
    ├── TooManyConnections            429 too_many_connections
    ├── HeadTooLarge                  431 head_too_large
    ├── StillRunning                  504 still_running
    ├── Unavailable                   503 unavailable
    │   ├── StoreUnavailable          503 store_unavailable
    │   │   └── Moved                 503 store_unavailable
    │   ├── SessionUnreadable         503 session_unreadable
    │   ├── SearchTooSlow             503 search_too_slow
    │   ├── Elsewhere                 503 unavailable
    │   └── ShuttingDown              503 shutting_down
    ├── AgentError                    raised by an agent; its text is shown to the clients
    │   ├── AnswerTooLong             ends an answer with the code answer_too_long
    │   └── ContinuedTooOften         ends an answer with the code continued_too_often
    ├── RemoteError                   ends a client command with one line and exit status 1
    ├── BackupFailed                  ends `sessile backup` with one line and exit status 1
    └── SettingsError                 prevents the start, with one line and exit status 2

The text of an error is a sentence for a person: what is wrong and, if possible, what to do. Every
non-2xx body is built from the text and the code, and of one of them from the id of a message.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar


class SessileError(Exception):
    """Something went wrong inside the server."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    extra: Mapping[str, str] = {}  # what a client gets beside text and code

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidRequest(SessileError):
    """The request is not valid."""

    code = "invalid_request"
    status = 400


class ContentRequired(InvalidRequest):
    """Message content required"""

    code = "content_required"


class InvalidOutput(InvalidRequest):
    """The output does not match the schema of the question."""

    code = "invalid_output"


class InvalidSessionId(InvalidRequest):
    """A session id must have 1 to 128 characters, each of A-Z a-z 0-9 . _ ~ : @ -"""

    code = "invalid_session_id"


class InvalidMessageId(InvalidRequest):
    """A message id must have 1 to 255 characters and no control characters."""

    code = "invalid_message_id"


class HostNotAllowed(SessileError):
    """Requests to this Host are not allowed. Add it with --allow-host."""

    code = "host_not_allowed"
    status = 403


class OriginNotAllowed(SessileError):
    """Requests from this Origin are not allowed. Add it with --allow-origin."""

    code = "origin_not_allowed"
    status = 403


class OtherUser(SessileError):
    """This server is for the user of this machine who runs it. Allow others with --local any."""

    code = "other_user"
    status = 403


class NotFound(SessileError):
    """Nothing was found at this address."""

    code = "not_found"
    status = 404


class SessionNotFound(NotFound):
    """The session does not exist."""

    code = "session_not_found"


class MessageNotFound(NotFound):
    """The message does not exist in this session."""

    code = "message_not_found"


class QuestionNotFound(NotFound):
    """The question does not exist in this session."""

    code = "question_not_found"


class MethodNotAllowed(SessileError):
    """This address does not support the method of the request."""

    code = "method_not_allowed"
    status = 405


class Conflict(SessileError):
    """The request conflicts with what is stored."""

    code = "conflict"
    status = 409


class SessionExists(Conflict):
    """A session with this id already exists. Use another id."""

    code = "session_exists"


class MessageConflict(Conflict):
    """A message with this id already exists with different content. Use another id."""

    code = "message_conflict"


class MessageDeleted(SessileError):
    """A message with this id was deleted, and is not stored again. Use another id."""

    code = "message_deleted"
    status = 410


class TurnInProgress(Conflict):
    """A turn is running in this session. Stop it, or wait until it ends."""

    code = "turn_in_progress"


class QuestionAnswered(Conflict):
    """The question was already answered, or is no longer open."""

    code = "question_answered"


class StillRunning(SessileError):
    """The turn has not ended yet, and goes on. Ask for the answer by its id."""

    code = "still_running"
    status = 504

    def __init__(self, message_id: str = "") -> None:
        super().__init__()
        self.extra = {"messageId": message_id}


class TooSlow(SessileError):
    """The request took too long to arrive."""

    code = "too_slow"
    status = 408


class BodyTooLarge(SessileError):
    """The body exceeds the server's limit. Raise it with --max-body or --max-import."""

    code = "body_too_large"
    status = 413


class MetadataTooLarge(SessileError):
    """The metadata exceeds the server's limit."""

    code = "metadata_too_large"
    status = 413


class UpgradeRequired(SessileError):
    """This address accepts WebSocket connections only. Send Upgrade: websocket."""

    code = "upgrade_required"
    status = 426


class QueueFull(SessileError):
    """Too many messages are queued in this session. Wait until some are answered."""

    code = "queue_full"
    status = 429


class TooManyConnections(SessileError):
    """There are too many connections from this address. Close some."""

    code = "too_many_connections"
    status = 429


class HeadTooLarge(SessileError):
    """The head of the request has too many bytes or fields."""

    code = "head_too_large"
    status = 431


class Unavailable(SessileError):
    """The server cannot process this request at the moment. Try again."""

    code = "unavailable"
    status = 503


class StoreUnavailable(Unavailable):
    """The store is not available at the moment, and nothing was acknowledged. Try again."""

    code = "store_unavailable"


class SessionUnreadable(Unavailable):
    """A part of this session in the store cannot be read. The server's log says more."""

    code = "session_unreadable"


class SearchTooSlow(Unavailable):
    """The search takes too long. Search for longer or fewer words."""

    code = "search_too_slow"


class Elsewhere(Unavailable):
    """The session is in use by another node. Try again."""

    def __init__(self, owner: int) -> None:
        super().__init__()
        self.owner = owner


class Moved(StoreUnavailable):
    """Another node has written to the session, and the request had no effect. Try again."""


class ShuttingDown(Unavailable):
    """The server is shutting down and starts no new turns. Try again in a moment."""

    code = "shutting_down"


class AgentError(SessileError):
    """The agent failed.

    An agent raises it to show an error to users: its text is stored with the answer and sent to
    the clients. ``details``, and the text of any other exception, are only logged. ``reason`` is
    what a model's provider gives as its reason: it is shown after the text, without keys, addresses
    and what the user wrote.
    """

    code = "agent_error"

    def __init__(
        self, message: str | None = None, *, details: str = "", reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.details = details
        self.reason = reason


class AnswerTooLong(AgentError):
    """The answer is cut here, because it has reached the limit of its size."""

    code = "answer_too_long"


class ContinuedTooOften(AgentError):
    """The server ended again and again while it continued this answer, before anything new came."""

    code = "continued_too_often"


class RemoteError(SessileError):
    """The server refused the request, or does not answer."""

    code = "remote_error"

    def __init__(self, message: str | None = None, code_of_server: str = "") -> None:
        super().__init__(message)
        self.code_of_server = code_of_server


class BackupFailed(SessileError):
    """The backup was not written."""

    code = "backup_failed"


class SettingsError(SessileError):
    """The settings are not valid."""

    code = "settings_error"


def error_with(code: str, text: str) -> SessileError:
    """The error that has a code, with this text; one of another program has the code as its own."""
    kind = _KINDS.get(code)
    if kind is not None:
        return kind(text)
    error = SessileError(text)
    error.code = code  # type: ignore[misc]
    return error


def _kinds(kind: type[SessileError]) -> Iterator[type[SessileError]]:
    if "code" in vars(kind):
        yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


_KINDS = {kind.code: kind for kind in _kinds(SessileError)}
