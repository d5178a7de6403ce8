"""What the routes work with."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import IO, NamedTuple, TypeAlias

from sessile.http.access import Access
from sessile.node.handle import Handle
from sessile.wire.messages import ReadPiece

# Writes one session into a SQLite file of its own.
WriteSQLite: TypeAlias = Callable[[str, Handle], Awaitable[None]]

# Reads a file that a client sent: such a file, an export in JSON, or one of another chat. Ends with
# the generator. Raises InvalidRequest for anything else.
ReadExport: TypeAlias = Callable[[IO[bytes]], AsyncGenerator[ReadPiece, None]]


class Limits(NamedTuple):
    """What a request may ask for. Sizes in bytes, times in seconds."""

    body: int = 1024 * 1024
    imported: int = 256 * 1024 * 1024
    heartbeat: float = 15.0


class Context(NamedTuple):
    """The parts that the routes use; made by the server when it starts."""

    access: Access
    limits: Limits
    write_sqlite: WriteSQLite
    read_export: ReadExport
