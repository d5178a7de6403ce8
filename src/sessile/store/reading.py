"""Reads exports of sessions that a client sent: each in a process of its own.

A file can be made to take any amount of memory or time to read, or to hit a fault in a parser. So
a child with limits reads it, without secrets in its environment, and hands on what it read as
frames: a byte that says what it is, the length, the data. What comes of it is checked again.

``python -m sessile.store.reading`` is such a child, for JSON; a store's adapter has another for
its own files.
"""

import asyncio
import mmap
import os
import resource
import struct
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import IO, NamedTuple

import msgspec
from msgspec import Raw, Struct

from sessile.store.base import READ
from sessile.wire.codec import encode
from sessile.wire.errors import InvalidRequest
from sessile.wire.messages import ExportedSession, Message
from sessile.wire.parse import parse

MEMORY = 512 * 1024 * 1024  # bytes that a child may take, and four times those of the file
SECONDS = 60  # of computing that a child may take
SILENCE = 30.0  # seconds without a frame from it
SMALL = 256 * 1024  # bytes of JSON that are read without a child
LAST_DATE = 253_402_300_799  # the end of the year 9999: later dates no calendar has

_HEAD = struct.Struct(">cI")
_SESSION, _MESSAGE, _ERROR, _END = b"S", b"M", b"E", b"."

TOO_MUCH = "The file takes too much memory or time to read."


class _Export(Struct):
    session: ExportedSession
    messages: list[Raw]


class Read(NamedTuple):
    """What a child reads: the session, and the JSON of its messages one by one."""

    session: ExportedSession
    messages: Iterator[bytes]


def read_json(data: bytes | mmap.mmap) -> Read:
    """An export in JSON; raises :class:`~sessile.wire.errors.InvalidRequest`."""
    export = _decode(data)
    return Read(export.session, map(bytes, export.messages))


def _decode(data: bytes | mmap.mmap) -> _Export:
    # Each message is parsed by itself, with what JSON may hold checked before.
    try:
        return msgspec.json.decode(data, type=_Export)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return parse(bytes(data), _Export)  # says what is wrong


def check_message(data: bytes, number: int) -> Message:
    """A message of an export; raises :class:`~sessile.wire.errors.InvalidRequest`."""
    try:
        message = parse(data, Message)
    except InvalidRequest as error:
        raise InvalidRequest(f"Message {number}: {error}") from None
    if not 0 <= message.created_at <= LAST_DATE:
        raise InvalidRequest(
            f"Message {number}: `createdAt` must be seconds from 0 to {LAST_DATE}."
        )
    return message


# In the child ---------------------------------------------------------------------------------


def run(read: Callable[[IO[bytes]], Read]) -> None:
    """Read standard input within limits, and write frames to standard output."""
    file, out = sys.stdin.buffer, sys.stdout.buffer
    size = os.fstat(file.fileno()).st_size
    memory = MEMORY + 4 * size
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        session, messages = read(file)
        _write(out, _SESSION, encode(session))
        total = 0
        for number, data in enumerate(messages, 1):
            total += len(data)
            if total > size:  # a file in which messages share their pages
                raise InvalidRequest(TOO_MUCH)
            check_message(data, number)
            _write(out, _MESSAGE, data)
        _write(out, _END, b"")
    except InvalidRequest as error:
        _write(out, _ERROR, str(error)[:1000].encode())
    except (MemoryError, OverflowError):
        _write(out, _ERROR, TOO_MUCH.encode())
    out.flush()


def _write(out: IO[bytes], kind: bytes, data: bytes) -> None:
    out.write(_HEAD.pack(kind, len(data)))
    out.write(data)


def _read_mapped(file: IO[bytes]) -> Read:
    return read_json(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


# In the server --------------------------------------------------------------------------------


async def read_here(data: bytes) -> AsyncGenerator[ExportedSession | list[Message], None]:
    """What :func:`read_apart` gives, for JSON of at most ``SMALL`` bytes."""
    session, messages = read_json(data)
    yield session
    found = [check_message(data, number) for number, data in enumerate(messages, 1)]
    if found:
        yield found


async def read_apart(
    file: IO[bytes], module: str, largest: int
) -> AsyncGenerator[ExportedSession | list[Message], None]:
    """Have a file read by a child that is ``python -m module``: the session, then its messages in
    chunks.

    ``largest`` is how many bytes a message may have. Raises
    :class:`~sessile.wire.errors.InvalidRequest`.
    """
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # where the child begins to read
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        module,
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


async def _chunks(
    frames: asyncio.StreamReader, largest: int
) -> AsyncGenerator[ExportedSession | list[Message], None]:
    chunk: list[Message] = []
    size = number = 0
    while True:
        kind, data = await _frame(frames, largest)
        if kind == _SESSION:
            yield parse(data, ExportedSession)
        elif kind == _MESSAGE:
            number += 1
            chunk.append(check_message(data, number))
            size += len(data)
        if chunk and (size > READ or kind == _END):
            yield chunk
            chunk, size = [], 0
        if kind == _END:
            return


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
    run(_read_mapped)
