"""How much of its answer an agent had said when it kept something. Pure.

Text is counted in units of UTF-16: halves of surrogate pairs count the same when they are joined.
"""

from sessile.wire.parts import Part, text_of


def units(text: str) -> int:
    """The length of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def said_since(parts: list[Part], said: int) -> str:
    """The text of an answer behind its first ``said`` units."""
    return text_of(parts).encode("utf-16-le")[2 * said :].decode("utf-16-le", "replace")
