"""Any text inside a Markdown document: none of it has an effect on what follows. Pure."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.token import Token

PARSED = 128 * 1024  # characters of a text up to which its Markdown is parsed
ROUNDS = 4  # of repairing a text: HTML may have hidden HTML, and code that stays open

_blocks = MarkdownIt("commonmark").disable("inline")  # what is inside a block ends with it
_END = "\n\n# end"  # appended to a text, it is a heading if the text has ended

_FENCE = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_SUSPICIOUS = re.compile(r"```|~~~|<[A-Za-z/!?]")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_TICKS = re.compile("`+")
# What may begin a tag or code, but for what is escaped or an address.
_BEGINS = re.compile(
    rf"\\[!-/:-@\[-`{{-~]|{_TICKS.pattern}|<(?:https?://|mailto:)[^\s<>]*>|{_TAG.pattern}"
)
_SPECIAL = re.compile(r"[\\`*_\[\]<>#~|]|&(?=[#A-Za-z])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_URL = "!#$%&'*+,/:;=?@~[]"  # what is left as it is in a URL


def contained(text: str) -> str:
    """A text in Markdown that ends by itself.

    HTML in it is shown as text, and a code block that is still open is closed. Where that is not
    enough, the text is shown as it is written, in a code block.
    """
    return _contained(_in_lines(text))


def quoted(text: str) -> str:
    """A text in Markdown as a quotation that ends by itself."""
    return _contained("\n".join(f"> {line}".rstrip() for line in _in_lines(text).split("\n")))


def _in_lines(text: str) -> str:
    """A text as Markdown reads it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _contained(text: str) -> str:
    if not _SUSPICIOUS.search(text) or not _SUSPICIOUS.search(_outside_code(text)):
        return text
    repaired = text
    for _ in range(ROUNDS if len(text) <= PARSED else 0):
        tokens = _blocks.parse(repaired + _END)
        if _has_html(tokens):
            repaired = _without_html(repaired, tokens)
        elif tokens[-1].type == "fence":
            repaired += f"\n{tokens[-1].markup}"
        else:
            return repaired
    return fenced(text, "markdown")


def fenced(text: str, language: str = "") -> str:
    """A text as it is, in a code block."""
    ticks = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"


def inline(text: str) -> str:
    """A text without Markdown, in a line."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(_CONTROLS.sub(" ", text).split()))


def link(text: str, url: str) -> str:
    """A link."""
    return f"[{inline(text)}]({quote(url, safe=_URL)})"


def _outside_code(text: str) -> str:
    """What is not in a code block between fences at the beginning of a line, which stand for
    themselves wherever they are; the whole text if the last block is open."""
    outside = []
    fence = ""
    for line in text.split("\n"):
        if fence:
            if line.startswith(fence) and not line.strip(f"{fence[0]} \t"):
                fence = ""
        elif found := _FENCE.match(line):
            fence = found[1] or found[2]
        else:
            outside.append(line)
    return text if fence else "\n".join(outside)


def _has_html(tokens: Iterable[Token]) -> bool:
    return any(
        token.type == "html_block" or (token.type == "inline" and _tags(token.content))
        for token in tokens
    )


def _without_html(text: str, tokens: Iterable[Token]) -> str:
    """A text with a backslash before each tag, which then is text."""
    lines = text.split("\n")
    for token in tokens:
        if token.map is None or token.type not in ("html_block", "inline"):
            continue
        start, end = token.map
        if start >= len(lines):
            break  # what was appended
        block = "\n".join(lines[start:end])
        inside = token.type == "inline"
        places = _tags(block) if inside else [found.start() for found in _TAG.finditer(block)]
        pieces = [block[i:j] for i, j in pairwise([0, *places, len(block)])]
        lines[start:end] = "\\".join(pieces).split("\n")
    return "\n".join(lines)


def _tags(text: str) -> list[int]:
    """Where HTML begins in a paragraph."""
    ends: dict[int, list[int]] = {}  # of code, by how many ticks end it
    for ticks in _TICKS.finditer(text):
        ends.setdefault(len(ticks[0]), []).append(ticks.start())
    found: list[int] = []
    position = 0
    while begins := _BEGINS.search(text, position):
        position = begins.end()
        if begins[0] == "<":
            found.append(begins.start())
        elif begins[0][0] == "`":
            size = len(begins[0])
            starts = ends.get(size, [])
            end = bisect_left(starts, position)
            if end < len(starts):
                position = starts[end] + size
    return found
