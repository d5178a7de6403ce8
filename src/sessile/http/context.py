"""What the routes work with."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from sessile.http.access import Access
from sessile.node.handle import Handle
from sessile.wire.messages import ExportedSession, Message

# Writes one session into a SQLite file of its own.
WriteSQLite: TypeAlias = Callable[[str, Handle], Awaitable[None]]

# Reads such a file; blocks. Raises InvalidRequest for anything else.
ReadSQLite: TypeAlias = Callable[[str], tuple[ExportedSession, list[Message]]]


class Limits(NamedTuple):
    """What a request may ask for. Sizes in bytes, times in seconds."""

    body: int = 1024 * 1024
    imported: int = 256 * 1024 * 1024
    depth: int = 64  # of JSON values inside JSON values
    heartbeat: float = 15.0


class Context(NamedTuple):
    """The parts that the routes use; made by the server when it starts."""

    access: Access
    limits: Limits
    write_sqlite: WriteSQLite
    read_sqlite: ReadSQLite
