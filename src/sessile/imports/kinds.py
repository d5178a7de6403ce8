"""What a file seems to be that cannot be imported, for the sentence that refuses it."""

import re
from typing import Any

_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image (PNG)",
    b"\xff\xd8\xff": "an image (JPEG)",
    b"GIF8": "an image (GIF)",
    b"RIFF": "an image, a sound or a video (RIFF)",
    b"BM": "an image (BMP)",
    b"\x7fELF": "a program",
    b"SQLite format 3\0": "a SQLite database",
}
_HTML = re.compile(
    rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body|title)\b", re.IGNORECASE | re.DOTALL
)
_CSV = re.compile(rb"[^\n,;\t<{\[]+([,;\t])[^\n<{\[]*\r?\n[^\n]*\1", re.ASCII)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a]")
_START = 4096  # bytes that are looked at


def kind_of(data: bytes) -> str:
    """What the beginning of a file seems to be, for "The file seems to be …"."""
    start = data[:_START]
    if not start.strip():
        return "empty"
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "a tar archive"
    if _HTML.match(start):
        return "an HTML page"
    if start.lstrip().startswith(b"<"):
        return "XML"
    if _BINARY.search(start):
        return "binary data"
    if start.lstrip()[:1] in (b"{", b"["):
        return "JSON"
    return "a CSV table" if _CSV.match(start) else "text"


def kind_of_json(value: Any) -> str:
    """What a JSON value seems to be."""
    if isinstance(value, list):
        return kind_of_json(value[0]) if value else "an empty list in JSON"
    if value is None:
        return "JSON that is damaged or nested very deep"
    if not isinstance(value, dict):
        return "JSON of something else"
    if "conversationId" in value or "exportAt" in value:
        return "an export of LibreChat"
    if "openapi" in value or "swagger" in value:
        return "an OpenAPI document"
    if "session" in value or "messages" in value:
        return "JSON, but not a whole export"
    return "JSON of something else"
