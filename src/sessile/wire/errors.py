"""What can go wrong, and the code a program knows it by.

    SessileError                      500 internal_error
    ├── InvalidRequest                400 invalid_request
    │   ├── ContentRequired           400 content_required
    │   ├── InvalidSessionId          400 invalid_session_id
    │   └── InvalidMessageId          400 invalid_message_id
    ├── HostNotAllowed                403 host_not_allowed
    ├── OriginNotAllowed              403 origin_not_allowed
    ├── NotFound                      404 not_found
    │   ├── SessionNotFound           404 session_not_found
    │   ├── MessageNotFound           404 message_not_found
    │   └── ApprovalNotFound          404 approval_not_found
    ├── MethodNotAllowed              405 method_not_allowed
    ├── Conflict                      409 conflict
    │   ├── SessionExists             409 session_exists
    │   ├── MessageConflict           409 message_conflict
    │   ├── TurnInProgress            409 turn_in_progress
    │   └── ApprovalAnswered          409 approval_answered
    ├── BodyTooLarge                  413 body_too_large
    ├── UpgradeRequired               426 upgrade_required
    ├── QueueFull                     429 queue_full
    ├── Unavailable                   503 unavailable
    │   ├── StoreUnavailable          503 store_unavailable
    │   │   └── Moved                 503 store_unavailable
    │   ├── Elsewhere                 503 unavailable
    │   └── ShuttingDown              503 shutting_down
    ├── AgentError                    an agent's own words; shown to the clients
    ├── RemoteError                   ends a command that talks to a server with one line and exit 1
    └── SettingsError                 ends the start with one line and exit 2

The text of an error is a sentence for a person: what is wrong, and where it can be known, what
to do. Every non-2xx body is made from these two attributes and nothing else.
"""

from typing import ClassVar


class SessileError(Exception):
    """Something went wrong inside the server."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidRequest(SessileError):
    """The request is not valid."""

    code = "invalid_request"
    status = 400


class ContentRequired(InvalidRequest):
    """Message content required"""

    code = "content_required"


class InvalidSessionId(InvalidRequest):
    """A session id is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ -"""

    code = "invalid_session_id"


class InvalidMessageId(InvalidRequest):
    """A message id is 1 to 255 characters, none of them a control character."""

    code = "invalid_message_id"


class HostNotAllowed(SessileError):
    """Requests to this Host are not allowed. Add it with --allow-host."""

    code = "host_not_allowed"
    status = 403


class OriginNotAllowed(SessileError):
    """Requests from this Origin are not allowed. Add it with --allow-origin."""

    code = "origin_not_allowed"
    status = 403


class NotFound(SessileError):
    """Nothing was found at this address."""

    code = "not_found"
    status = 404


class SessionNotFound(NotFound):
    """There is no such session."""

    code = "session_not_found"


class MessageNotFound(NotFound):
    """There is no such message in this session."""

    code = "message_not_found"


class ApprovalNotFound(NotFound):
    """There is no such question in this session."""

    code = "approval_not_found"


class MethodNotAllowed(SessileError):
    """This address does not support that method."""

    code = "method_not_allowed"
    status = 405


class Conflict(SessileError):
    """The request conflicts with what is stored."""

    code = "conflict"
    status = 409


class SessionExists(Conflict):
    """A session with that id exists already."""

    code = "session_exists"


class MessageConflict(Conflict):
    """A message with that id exists already, with other content."""

    code = "message_conflict"


class TurnInProgress(Conflict):
    """A turn is running in this session. Stop it, or wait until it ends."""

    code = "turn_in_progress"


class ApprovalAnswered(Conflict):
    """That question was answered already, or is no longer open."""

    code = "approval_answered"


class BodyTooLarge(SessileError):
    """The body is over the server's limit."""

    code = "body_too_large"
    status = 413


class UpgradeRequired(SessileError):
    """This address is a WebSocket. Send Upgrade: websocket."""

    code = "upgrade_required"
    status = 426


class QueueFull(SessileError):
    """Too many messages are queued in this session."""

    code = "queue_full"
    status = 429


class Unavailable(SessileError):
    """The server cannot do that at the moment. Try again."""

    code = "unavailable"
    status = 503


class StoreUnavailable(Unavailable):
    """The store is not available at the moment, and nothing was acknowledged. Try again."""

    code = "store_unavailable"


class Elsewhere(Unavailable):
    """The session is busy at another node."""

    def __init__(self, owner: int) -> None:
        super().__init__()
        self.owner = owner


class Moved(StoreUnavailable):
    """Another node has written the session; what was asked was not done."""


class ShuttingDown(Unavailable):
    """The server is shutting down and starts no new turns. Try again in a moment."""

    code = "shutting_down"


class AgentError(SessileError):
    """The agent failed.

    An agent raises it to say something to the people who watch: its text is stored with the
    answer and sent to the clients, which the text of any other exception is not.
    """

    code = "agent_error"


class RemoteError(SessileError):
    """The server refused, or does not answer."""

    code = "remote_error"

    def __init__(self, message: str | None = None, code_of_server: str = "") -> None:
        super().__init__(message)
        self.code_of_server = code_of_server


class SettingsError(SessileError):
    """The settings cannot be used."""

    code = "settings_error"
