"""Standard input and output: they may be closed or full, and need not be UTF-8."""

import codecs
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from sessile.redact import escaped
from sessile.wire.codec import encode
from sessile.wire.errors import RemoteError
from sessile.wire.parse import marked_encoding

# How each is opened in place of one that is closed: reading finds nothing, writing standard output
# fails as it does on a full disk, and standard error is nowhere.
_CLOSED = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def prepare() -> None:
    """Open streams that are closed, and show characters that the output does not have as ``?``."""
    for name, flags, mode in _CLOSED:
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def silence() -> None:
    """Write what standard output has not written yet to nowhere: it failed, and the exit of Python
    would write it again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: object) -> None:
    """Print an error in one line."""
    with suppress(OSError):
        print(f"sessile: {escaped(str(text))}", file=sys.stderr, flush=True)


def write_json(value: Any) -> None:
    """Print a value in a line of JSON, which is UTF-8 whatever the terminal has."""
    sys.stdout.flush()
    sys.stdout.buffer.write(encode(value) + b"\n")
    sys.stdout.buffer.flush()


def decoded(data: bytes) -> str:
    """The text of what was read from standard input.

    It is UTF-8, or UTF-16 with a byte order mark, or has the encoding of the terminal. Raises
    :class:`~sessile.wire.errors.RemoteError` for anything else.
    """
    encodings = [marked_encoding(data) or "utf-8", sys.stdin.encoding]
    for encoding in encodings:
        if codecs.lookup(encoding).name != "ascii":
            with suppress(UnicodeDecodeError):
                return data.decode(encoding)
    raise RemoteError("standard input is not UTF-8 text; convert it, for example with iconv")


def recovered(text: str) -> str:
    """A text that was typed, where the terminal is read in another encoding than it writes, UTF-8.

    Raises :class:`~sessile.wire.errors.RemoteError` if it is not UTF-8.
    """
    try:
        return text.encode(errors="surrogateescape").decode()
    except UnicodeError:
        raise RemoteError("the text is not UTF-8, and was not sent") from None
