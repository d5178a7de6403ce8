"""JSON that a client sent to values, with what is wrong and where. Pure."""

import codecs
import json
import re
from typing import Any, TypeVar

import msgspec

from sessile.wire.errors import InvalidRequest

T = TypeVar("T")

# Byte order marks, the longer before those that they begin with.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

DEPTH = 64  # of JSON values inside JSON values
TOO_DEEP = f"The JSON is nested more than {DEPTH} deep."
CONTAINERS = 50_000  # arrays and objects in one value

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_strings = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_others = bytes(set(range(256)) - set(b"[]{}"))
_as_arrays = bytes.maketrans(b"{}", b"[]")


def marked_encoding(data: bytes) -> str | None:
    """The encoding that the byte order mark at the beginning of a text names, if there is one."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def parse(data: bytes | str, type: type[T]) -> T:
    """JSON to a value of a type; a byte order mark before it is ignored.

    Raises :class:`~sessile.wire.errors.InvalidRequest` with what is wrong and where.
    """
    decoder = _decoders.get(type)
    if decoder is None:
        decoder = _decoders[type] = msgspec.json.Decoder(type)
    data = _without_mark(data)
    _check_shape(data)
    try:
        value: T = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_sentence(str(error))) from None
    except RecursionError:
        raise InvalidRequest(TOO_DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(_why_not_json(data, error)) from None
    return value


def _without_mark(data: bytes | str) -> bytes | str:
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    if data[:1].isascii() and data[1:4].isascii():
        return data
    encoding = marked_encoding(data[:4])
    if encoding not in (None, "utf-8-sig"):
        raise InvalidRequest(f"The JSON is {encoding.upper()} text; send it as UTF-8.")
    return data.removeprefix(codecs.BOM_UTF8)


def _check_shape(data: bytes | str) -> None:
    """Bound what is made of the data, before it is made; few openings cannot be nested deep."""
    if isinstance(data, str):
        if data.count("[") + data.count("{") <= DEPTH:
            return
        data = data.encode(errors="replace")
    elif data.count(b"[") + data.count(b"{") <= DEPTH:
        return
    shape = _strings.sub(b"", data).translate(_as_arrays, _others)
    containers = shape.count(b"[")
    for _ in range(DEPTH):  # each time without its innermost
        shape = shape.replace(b"[]", b"")
    if b"[]" in shape or b"[" * DEPTH in shape:
        raise InvalidRequest(TOO_DEEP)
    if containers > CONTAINERS:
        raise InvalidRequest(f"The JSON has more than {CONTAINERS:,} arrays and objects.")


def _sentence(error: str) -> str:
    what, _, where = error.partition(" - at ")
    return f"{what}, at {where}." if where else f"{what}."


def _why_not_json(data: bytes | str, error: Exception) -> str:
    try:
        found = _lone_surrogate(json.loads(data), "$")
    except (ValueError, RecursionError):
        found = None
    if found:
        return f"The text at `{found}` has a lone surrogate, which is not a character."
    return f"The body is not JSON: {error}."


def _lone_surrogate(value: object, path: str) -> str | None:
    """Where a text is that UTF-8 cannot hold."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if found := _lone_surrogate(item, f"{path}[{index}]"):
                return found
    elif isinstance(value, dict):
        for name, item in value.items():
            if _lone_surrogate(name, path):
                return f"{path} (a name)"
            if found := _lone_surrogate(item, f"{path}.{name}"):
                return found
    return None
