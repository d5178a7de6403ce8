"""The files of other chats: JSON of conversations, or a zip archive that contains it."""

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from sessile.imports import chatgpt, claude, open_webui
from sessile.imports.kinds import kind_of, kind_of_json
from sessile.wire.errors import InvalidRequest
from sessile.wire.messages import ExportedSession, Message, Skipped

KINDS = (chatgpt, claude, open_webui)
ZIP = b"PK\x03\x04"

_ENTRY = re.compile(r"(?:.*/)?conversations(?:[-_]\d+)?\.json", re.IGNORECASE)
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._~:@-]")
_LONGEST = 100  # characters of an id that is taken over
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError, RuntimeError, OSError, ValueError),
)


class Imported(NamedTuple):
    """A conversation as a session, which has the same id in every import."""

    session: ExportedSession
    messages: list[Message]


class Foreign(NamedTuple):
    """A file of another chat: how many conversations, how many bytes of JSON, and each of them."""

    number: int
    size: int
    conversations: Iterator[Imported | Skipped]


def read_foreign(data: bytes, most: int) -> Foreign:
    """The conversations of a file, the oldest first.

    ``most`` is how many bytes a zip archive may contain. Raises
    :class:`~sessile.wire.errors.InvalidRequest`, which says what the file seems to be.
    """
    texts = _unpacked(data, most) if data.startswith(ZIP) else [data]
    found = [one for text in texts for one in _values(text)]
    if found and not any(_is_known(one) for one in found[:100]):
        raise refusal(kind_of_json(_decoded(found[0])))
    if not found:
        raise InvalidRequest("The file has no conversations.")
    size = sum(map(len, texts))
    return Foreign(len(found), size, (_read(one) for one in reversed(found)))


def refusal(kind: str) -> InvalidRequest:
    """The error for a file of another kind."""
    return InvalidRequest(
        f"The file seems to be {kind}. Import an export of Sessile (JSON or SQLite), or of ChatGPT, "
        "Claude or Open WebUI (JSON, or the zip archive with conversations.json)."
    )


def _values(data: bytes) -> Sequence[Raw]:
    """The conversations of a JSON text: its items, or the one that it is."""
    start = data.lstrip()[:1]
    if start not in (b"[", b"{"):
        raise refusal(kind_of(data))
    try:
        return msgspec.json.decode(data, type=list[Raw]) if start == b"[" else [Raw(data)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The JSON of the file is damaged: {error}.") from None


def _unpacked(data: bytes, most: int) -> list[bytes]:
    """The JSON of a zip archive; nothing is written, and nothing else in it is read."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = sorted(name for name in archive.namelist() if _ENTRY.fullmatch(name))
            if not names:
                raise refusal("a zip archive without a conversations.json")
            texts: list[bytes] = []
            for name in names:
                with archive.open(name) as entry:
                    texts.append(entry.read(most + 1))
                most -= len(texts[-1])
                if most < 0:
                    raise InvalidRequest(
                        "The contents of the zip archive exceed the server's limit."
                    )
            return texts
    except _BROKEN as error:
        raise InvalidRequest(f"The zip archive cannot be read: {error}.") from None


def _decoded(one: Raw) -> Any:
    try:
        return msgspec.json.decode(one)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _is_known(one: Raw) -> bool:
    value = _decoded(one)
    return isinstance(value, dict) and any(kind.is_one(value) for kind in KINDS)


def _read(one: Raw) -> Imported | Skipped:
    value = _decoded(one)
    if not isinstance(value, dict):
        return Skipped("", "It cannot be read.")
    for kind in KINDS:
        if kind.is_one(value):
            try:
                found = kind.read(value)
            except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError):
                return Skipped("", "It has a form that cannot be read.")
            if not found.messages:
                return Skipped(found.title, "It has no messages.")
            source = {"importedFrom": {"source": kind.SOURCE, "id": found.id[:_LONGEST]}}
            id = _session_id(kind.SOURCE, found.id, one)
            return Imported(
                ExportedSession(id, found.title, found.archived, source), found.messages
            )
    return Skipped("", f"It seems to be {kind_of_json(value)}.")


def _session_id(source: str, id: str, one: Raw) -> str:
    prefix = source.lower().replace(" ", "-")
    if not id or len(id) > _LONGEST or _NOT_IN_IDS.search(id):
        id = sha256(one).hexdigest()[:32]
    return f"{prefix}-{id}"
