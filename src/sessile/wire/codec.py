"""JSON to values and back, and text as it can be stored. Pure.

JSON names are camelCase, Python names snake_case; times are unix seconds (UTC) as integers.
A field that holds its default is left out of the JSON, unless the contract always shows it.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import msgspec

from sessile.wire.errors import SessionUnreadable

P = ParamSpec("P")
T = TypeVar("T")

encode = msgspec.json.Encoder().encode
decode_json: Callable[[bytes | str], Any] = msgspec.json.decode


# What is raised for stored values that are damaged.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError)


def readable(decode: Callable[P, T]) -> Callable[P, T]:
    """A function that decodes a stored value, which raises
    :class:`~sessile.wire.errors.SessionUnreadable` for one that is damaged."""

    @wraps(decode)
    def decoded(*values: P.args, **named: P.kwargs) -> T:
        try:
            return decode(*values, **named)
        except UNREADABLE as error:
            raise SessionUnreadable from error

    return decoded


def encode_clean(value: Any) -> bytes:
    """A value as JSON that can be stored; raises ``TypeError`` for what JSON cannot represent."""
    try:
        return encode(value)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        return encode(decode_json(clean(text)))


def clean(text: str) -> str:
    """``text`` as it can be stored: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
