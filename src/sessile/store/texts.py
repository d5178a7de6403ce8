"""Texts as they are compared when people look for something. Pure."""

import unicodedata


def folded(text: str) -> str:
    """A text without its case and its diacritics, in every script."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFD", text)
    return "".join(c for c in plain if unicodedata.category(c) != "Mn").casefold()
