"""Texts from elsewhere, such as the reply of a model's provider, without what may not be shown: keys,
addresses, and what users wrote.
"""

import json
import os
import re
from urllib.parse import urlsplit

PIECE = 20  # characters of a user's text that are recognized
CONTENT = "[content]"
KEY = "[key]"
ADDRESS = "[address]"

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

LONGEST_REASON = 300  # characters
_SECRET = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_LONG = re.compile(r"(?=[a-zA-Z]*\d)(?=\d*[a-zA-Z])[a-zA-Z0-9]{18,}|\S*\*{3,}\S*")

_TOPS = "internal|local|localdomain|lan|corp|svc|intranet|home|private|test|example|invalid|com|net|org|io|ai|dev|app|cloud"
_ADDRESSES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>)\]}]+",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b(?::\d+)?(?:/[^\s\"'<>)\]}]*)?",
        r"\[[0-9a-f:.%]*:[0-9a-f:.%]*\](?::\d+)?(?:/[^\s\"'<>)\]}]*)?",
        r"\[?\b(?:[0-9a-f]{1,4}:){2,7}:?[0-9a-f]{0,4}(?:\]|\b)(?::\d+)?|\[?::1\b\]?(?::\d+)?",
        r"\b(?:[\w-]+\.)*[a-z][\w-]*:\d{2,5}\b(?:/[^\s\"'<>)\]}]*)?|\blocalhost\b",
        rf"\b(?:[\w-]+\.)+(?:{_TOPS}|[a-z]{{2}})\b(?!\.?\w)(?:/[^\s\"'<>)\]}}]*)?",
        r"(?<![\w./])~?(?:/[\w.@-]+){2,}/?|\b[a-z]:\\[^\s\"']+",
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


def reason_for_users(text: str, content: str = "") -> str:
    """A provider's reason as users may see it, in one line: without keys, addresses, paths and the
    text in ``content``, unless it is short; "" if nothing is left of it.
    """
    text = " ".join(text[: 4 * LONGEST_REASON].split())
    text = without_addresses(_without_secrets(without_keys(text)))
    if len(content) >= PIECE:
        text = without_content(text, content)
    text = escaped(text)
    if len(text) > LONGEST_REASON:
        text = text[:LONGEST_REASON].rstrip() + "…"
    left = re.sub(r"\[(?:key|address|content)\]", "", text)
    return text if re.search(r"\w{2}", left) else ""


def without_addresses(text: str) -> str:
    """A text without URLs, IP addresses, names of hosts and absolute paths."""
    for pattern in _ADDRESSES:
        text = pattern.sub(ADDRESS, text)
    return text


def has_code(text: str) -> bool:
    """Whether there is a word in a text that could be a part of a key."""
    return any(re.search(r"[\d*•…]|\.{3}", word) for word in re.findall(r"\S{4,}", text))


def _without_secrets(text: str) -> str:
    """A text without the values of environment variables that have secrets, and without what looks
    like one: long words of letters and digits."""
    for name, value in os.environ.items():
        if len(value) >= 6 and _SECRET.search(name):
            text = text.replace(value, KEY)
    return _LONG.sub(KEY, text)


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return url
    return url.replace(f":{password}@", ":***@") if password else url
