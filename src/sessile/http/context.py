"""What the routes work with."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple, TypeAlias

from sessile.bus.base import Bus
from sessile.node.registry import Registry
from sessile.store.base import Row, Store
from sessile.watch.feed import Feeds
from sessile.wire.messages import Message

# Writes one session, from the JSON of its messages, into a SQLite file of its own.
WriteSQLite: TypeAlias = Callable[[str, Row, AsyncGenerator[list[bytes], None]], Awaitable[None]]

# Reads such a file; blocks. Raises InvalidRequest for anything else.
ReadSQLite: TypeAlias = Callable[[str], tuple[Row, list[Message]]]


class Limits(NamedTuple):
    """What a request may ask for. Sizes in bytes, times in seconds."""

    body: int = 1024 * 1024
    imported: int = 256 * 1024 * 1024
    depth: int = 64  # of JSON values inside JSON values
    heartbeat: float = 15.0


class Context(NamedTuple):
    """The parts that the routes use; made by the server when it starts."""

    registry: Registry
    feeds: Feeds
    store: Store
    bus: Bus
    limits: Limits
    write_sqlite: WriteSQLite
    read_sqlite: ReadSQLite
