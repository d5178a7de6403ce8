"""What may stand in a log: one line for each record, no keys, and nothing that users wrote.

The text of an exception often comes from outside: it is a provider's reply, or has a user's message
in it. A log is read in terminals and by programs, so this text must not forge a line or control a
terminal.
"""

import json
import logging
import re
import traceback

LONGEST = 500  # characters of an exception's text
PIECE = 20  # characters of a user's text that are recognized
CONTENT = "[content]"
KEY = "[key]"

_KEYS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<=://)[^/\s@]+(?=@)",
        r"\b(?:bearer|basic)\s+[\w.~+/=*-]{6,}",
        r"\b(?:sk|pk|rk|gsk|xai|hf|r8|pplx|key|ghp|gho|ghs|github_pat|xox[abp])[-_][\w.*-]{6,}",
        r"\bAIza[\w-]{10,}",
        r"\beyJ[\w-]{10,}\.[\w.-]*",
        r"(?<=[?&]key=)[^&\s]+",
        r"(?:(?:api|access)[-_ ]?key|access[-_ ]?token|secret|password)[\"']?\s*[:=]\s*[\"']?[^\s\"',;}]{4,}",
    )
]


def escaped(text: str) -> str:
    """A text in one line: what is not printable as Python writes it, such as ``\\n`` or ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def without_keys(text: str) -> str:
    """A text without what looks like the key or the password of a service."""
    for pattern in _KEYS:
        text = pattern.sub(KEY, text)
    return text


def without_content(text: str, content: str) -> str:
    """A text without a user's text and without long pieces of it, also as Python or JSON quote it."""
    if not content.strip():
        return text
    text = re.sub(rf"(?<!\w){re.escape(content)}(?!\w)", CONTENT, text)
    quoted = [quote(content)[1:-1] for quote in (repr, ascii, json.dumps)]
    source = "\0".join((content, *quoted))
    kept, at = [], 0
    while at < len(text):
        end = at + PIECE
        if end <= len(text) and text[at:end] in source:
            while end < len(text) and text[at : end + 1] in source:
                end += 1
            kept.append(CONTENT)
        else:
            end = at + 1
            kept.append(text[at:end])
        at = end
    return "".join(kept)


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
