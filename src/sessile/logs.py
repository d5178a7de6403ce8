"""What may stand in a log: one line for each record, no keys, and nothing that users wrote.

The text of an exception often comes from outside: it is a provider's reply, or has a user's message
in it. A log is read in terminals and by programs, so this text must not forge a line or control a
terminal.
"""

import logging
import traceback

from sessile.redact import escaped, without_content, without_keys

LONGEST = 500  # characters of an exception's text


def fit(text: str, content: str = "") -> str:
    """A text from elsewhere as it may stand in a log; ``content`` is what a user wrote."""
    short = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return escaped(without_content(without_keys(short), content))


def fit_error(error: BaseException, content: str = "") -> BaseException:
    """A copy of an exception for a log: its class's name, its traceback, and its text as it fits."""
    return _fit_error(error, content, set())


def _fit_error(error: BaseException, content: str, seen: set[int]) -> BaseException:
    seen.add(id(error))
    text = _text(error, content)
    copy: BaseException
    if isinstance(error, BaseExceptionGroup):
        inner = [_fit_error(one, content, seen) for one in error.exceptions]
        copy = BaseExceptionGroup(text.partition(" (")[0], inner)
    else:
        kind = type(error)
        named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        copy = type(kind.__name__, (Exception,), named)(*([text] if text else []))
    copy.__traceback__ = error.__traceback__
    for name in ("__cause__", "__context__"):
        other = getattr(error, name)
        if other is not None and id(other) not in seen:
            setattr(copy, name, _fit_error(other, content, seen))
    copy.__suppress_context__ = error.__suppress_context__
    for note in getattr(error, "__notes__", ()):
        copy.add_note(fit(str(note), content))
    return copy


def _text(error: BaseException, content: str) -> str:
    try:
        return fit(str(error), content)
    except Exception as unfit:
        return f"<its text failed with {type(unfit).__name__}>"


class Formatter(logging.Formatter):
    """Makes lines that other texts cannot forge: only a traceback has several."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(without_keys(super().formatMessage(record)))

    def formatException(self, ei: object) -> str:
        error = ei[1] if isinstance(ei, tuple) else None
        if not isinstance(error, BaseException):
            return ""
        return "".join(traceback.format_exception(fit_error(error))).rstrip("\n")
