"""An ACP agent's failures as users see them, with the agent's own words as their details."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import acp

from sessile.agents.kit.providers import kind_in, kind_of, provider_error, reason_in
from sessile.wire.codec import encode
from sessile.wire.errors import AgentError

LOGIN = -32000  # the protocol's code for an agent that requires a login

_OF_PROVIDERS = ("APIError", "ProviderAuthError", "ContextOverflowError")  # OpenCode's names

# How agents write the HTTP status of their provider.
_STATUS = re.compile(r"(?:status|status_?code|code)[\\\"']*\s*[:=]?\s*([45]\d\d)\b", re.IGNORECASE)


@contextmanager
def failures() -> Iterator[None]:
    """Converts failures of the agent to :class:`~sessile.wire.errors.AgentError`."""
    try:
        yield
    except acp.RequestError as error:
        raise _failure(error) from error
    except TimeoutError as error:
        raise AgentError("The agent does not answer.") from error
    except OSError as error:
        raise AgentError("The agent's process ended during the answer.") from error


def said_by(error: acp.RequestError) -> str:
    """What the agent said, for the log."""
    return f"{error}: {encode(error.data).decode()}" if error.data else str(error)


def _failure(error: acp.RequestError) -> AgentError:
    said = said_by(error)
    if error.code == LOGIN:
        sentence = "The agent requires a login. Log in with the agent's own command."
        return AgentError(sentence, details=said)
    status, reason = _status(error, said), reason_in(error.data) or str(error)
    if status is not None:
        return provider_error(kind_of(status, said), said, reason)
    if isinstance(error.data, dict) and error.data.get("errorName") in _OF_PROVIDERS:
        return provider_error(kind_in(said), said, reason)
    return AgentError("The agent failed.", details=said, reason=reason)


def _status(error: acp.RequestError, said: str) -> int | None:
    """The HTTP status of the agent's provider, if the agent names it."""
    if 400 <= error.code < 600:  # Gemini CLI
        return error.code
    found = _STATUS.search(said)
    return int(found[1]) if found else None
