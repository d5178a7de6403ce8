"""JSON to values and back, and text as it can be stored. Pure.

JSON names are camelCase, Python names snake_case; times are unix seconds (UTC) as integers.
A field that holds its default is left out of the JSON, unless the contract always shows it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

encode = msgspec.json.Encoder().encode
decode_json: Callable[[bytes | str], Any] = msgspec.json.decode


def clean(text: str) -> str:
    """``text`` as it can be stored: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
