"""Reads exports that a client sent, of sessions and of other chats: each in a process of its own.

A file can be made to take any amount of memory or time to read, or to hit a fault in a parser. So
a child with limits reads it, without secrets in its environment, and hands on what it read as
frames: a byte that says what it is, the length, the data. What comes of it is checked again.

``python -m sessile.store.reading`` is such a child, for JSON; a store's adapter has another for
its own files.
"""

import asyncio
import codecs
import mmap
import os
import re
import resource
import struct
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import IO, NamedTuple

import msgspec
from msgspec import Raw, Struct

from sessile.imports.files import Imported, read_foreign, refusal
from sessile.store.base import READ
from sessile.wire.codec import UNREADABLE, decode_json, encode
from sessile.wire.errors import InvalidRequest
from sessile.wire.ids import LAST_DATE
from sessile.wire.loose import items, record
from sessile.wire.messages import ExportedSession, ForeignExport, Message, ReadPiece, Skipped
from sessile.wire.parse import marked_encoding, parse

MEMORY = 512 * 1024 * 1024  # bytes that a child may take, and four times those of the file
SECONDS = 60  # of computing that a child may take
SILENCE = 30.0  # seconds without a frame from it
SMALL = 256 * 1024  # bytes of JSON that are read without a child
UNITS = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
RECENT = range(10**8, 10**10)  # seconds

_SESSION_FIELD = re.compile(rb'"session"\s*:')
_HEAD = struct.Struct(">cI")
_FOREIGN, _SKIPPED, _SESSION, _MESSAGE, _ERROR, _END = b"F", b"K", b"S", b"M", b"E", b"."

# What is handed on as it is.
_PIECES: dict[bytes, type[ForeignExport | Skipped | ExportedSession]] = {
    _FOREIGN: ForeignExport,
    _SKIPPED: Skipped,
    _SESSION: ExportedSession,
}

TOO_MUCH = "The file takes too much memory or time to read."


class _Export(Struct):
    session: ExportedSession
    messages: list[Raw]


class Read(NamedTuple):
    """A session, and the JSON of its messages one by one."""

    session: ExportedSession
    messages: Iterator[bytes]


class Contents(NamedTuple):
    """What a child reads. ``most`` is how many bytes of messages it may be, and ``foreign`` how many
    conversations of another chat it has, which may be skipped."""

    most: int
    found: Iterator[Read | Skipped]
    foreign: int | None = None


def read_json(data: bytes | memoryview) -> Read:
    """An export in JSON; raises :class:`~sessile.wire.errors.InvalidRequest`."""
    try:  # each message is parsed by itself, with what JSON may hold checked before
        export = msgspec.json.decode(data, type=_Export)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        export = parse(bytes(data), _Export)  # says what is wrong
    return Read(export.session, map(bytes, export.messages))


def is_own(data: bytes) -> bool:
    """Whether a text begins as an export in JSON does."""
    start = data[:1024].removeprefix(codecs.BOM_UTF8).lstrip()
    return start.startswith(b"{") and _SESSION_FIELD.search(start) is not None


def check_message(data: bytes, number: int) -> Message:
    """A message of an export; raises :class:`~sessile.wire.errors.InvalidRequest`."""
    try:
        message = parse(_with_questions(data), Message)
    except InvalidRequest as error:
        raise InvalidRequest(f"Message {number}: {error}") from None
    time = message.created_at
    if not 0 <= time <= LAST_DATE:
        units = [f" {time} seems to be {UNITS[unit]}." for unit in UNITS if time // unit in RECENT]
        raise InvalidRequest(
            f"Message {number}: `createdAt` must be seconds from 0 to {LAST_DATE}.{''.join(units)}"
        )
    return message


def _with_questions(data: bytes) -> bytes:
    """A message in which an older Sessile wrote questions for approval under another name."""
    if b'"approval":' not in data:
        return data
    try:
        value = decode_json(data)
    except UNREADABLE:
        return data  # it is reported where it is read
    parts = map(record, items(record(value).get("parts")))
    asked = [part for part in parts if "approval" in part and "question" not in part]
    for part in asked:
        former = record(part.pop("approval"))
        state = "expired" if former.get("state") == "asked" else former.get("state")
        part["question"] = {"id": former.get("id"), "kind": "approval", "state": state}
    return encode(value) if asked else data


# In the child ---------------------------------------------------------------------------------


def run(read: Callable[[IO[bytes]], Contents], unpacked: int = 0) -> None:
    """Read standard input within limits, and write frames to standard output.

    ``unpacked`` is how many bytes a compressed file may contain.
    """
    file, out = sys.stdin.buffer, sys.stdout.buffer
    memory = MEMORY + 4 * os.fstat(file.fileno()).st_size + unpacked
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _write_contents(out, read(file))
        _write(out, _END, b"")
    except InvalidRequest as error:
        _write(out, _ERROR, str(error)[:1000].encode(errors="replace"))
    except (MemoryError, OverflowError):
        _write(out, _ERROR, TOO_MUCH.encode())
    out.flush()


def _write_contents(out: IO[bytes], contents: Contents) -> None:
    if contents.foreign is not None:
        _write(out, _FOREIGN, encode(ForeignExport(contents.foreign)))
    total = 0
    for found in contents.found:
        if isinstance(found, Skipped):
            _write(out, _SKIPPED, encode(found))
            continue
        _write(out, _SESSION, encode(found.session))
        for number, data in enumerate(found.messages, 1):
            total += len(data)
            if total > contents.most:  # a file in which messages share their pages
                raise InvalidRequest(TOO_MUCH)
            check_message(data, number)
            _write(out, _MESSAGE, data)


def _write(out: IO[bytes], kind: bytes, data: bytes) -> None:
    out.write(_HEAD.pack(kind, len(data)))
    out.write(data)


def _read_file(file: IO[bytes], unpacked: int) -> Contents:
    """A file of JSON, or a zip archive with JSON in it."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise refusal("empty")
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    encoding = marked_encoding(data[:4])
    if encoding == "utf-8-sig":
        text: bytes | memoryview = memoryview(data)[len(codecs.BOM_UTF8) :]
    elif encoding is not None:
        text = _in_utf8(data[:], encoding)
    else:
        text = memoryview(data)
    return _read_text(text, unpacked)


def _in_utf8(data: bytes, encoding: str) -> bytes:
    try:
        return data.decode(encoding).encode()
    except UnicodeError:
        raise InvalidRequest(f"The file is not valid {encoding.upper()} text.") from None


def _read_text(text: bytes | memoryview, unpacked: int) -> Contents:
    start = bytes(text[:1024])
    if start.lstrip().startswith(b"{"):
        try:
            return Contents(len(text), iter([read_json(text)]))
        except InvalidRequest:
            if is_own(start):
                raise
    foreign = read_foreign(bytes(text), unpacked)
    return Contents(8 * foreign.size + 65536, map(_checked, foreign.conversations), foreign.number)


def _checked(found: Imported | Skipped) -> Read | Skipped:
    """A conversation with its messages in JSON, unless one of them cannot be taken."""
    if isinstance(found, Skipped):
        return found
    messages = [encode(message) for message in found.messages]
    try:
        for number, message in enumerate(messages, 1):
            check_message(message, number)
    except InvalidRequest as error:
        return Skipped(found.session.title, str(error), found.session.id)
    return Read(found.session, iter(messages))


# In the server --------------------------------------------------------------------------------


async def read_here(data: bytes) -> AsyncGenerator[ReadPiece, None]:
    """What :func:`read_apart` gives, for a session's export in JSON of at most ``SMALL`` bytes."""
    session, messages = read_json(data)
    yield session
    found = [check_message(data, number) for number, data in enumerate(messages, 1)]
    if found:
        yield found


async def read_apart(
    file: IO[bytes], module: str, largest: int, *arguments: str
) -> AsyncGenerator[ReadPiece, None]:
    """Have a file read by a child that is ``python -m module`` with these arguments.

    ``largest`` is how many bytes a message may have. Raises
    :class:`~sessile.wire.errors.InvalidRequest`.
    """
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # where the child begins to read
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        module,
        *arguments,
        stdin=file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
    )
    assert child.stdout is not None
    try:
        async for found in _chunks(child.stdout, largest):
            yield found
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _chunks(frames: asyncio.StreamReader, largest: int) -> AsyncGenerator[ReadPiece, None]:
    chunk: list[Message] = []
    size = number = 0
    while True:
        kind, data = await _frame(frames, largest)
        if kind == _MESSAGE:
            number += 1
            chunk.append(check_message(data, number))
            size += len(data)
        if chunk and (size > READ or kind != _MESSAGE):
            yield chunk
            chunk, size = [], 0
        if kind == _END:
            return
        if kind in _PIECES:
            number = 0
            yield parse(data, _PIECES[kind])


async def _frame(frames: asyncio.StreamReader, largest: int) -> tuple[bytes, bytes]:
    try:
        async with asyncio.timeout(SILENCE):
            kind, length = _HEAD.unpack(await frames.readexactly(_HEAD.size))
            if length > largest:
                raise InvalidRequest(f"A message has more than {largest:,} bytes.")
            data = await frames.readexactly(length)
    except (TimeoutError, asyncio.IncompleteReadError):
        raise InvalidRequest(TOO_MUCH) from None
    if kind == _ERROR:
        raise InvalidRequest(data.decode(errors="replace"))
    return kind, data


if __name__ == "__main__":
    most = int(sys.argv[1])
    run(lambda file: _read_file(file, most), most)
