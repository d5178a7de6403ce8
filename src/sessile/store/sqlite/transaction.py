"""A transaction of SQLite, and its errors as the port's."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import apsw

from sessile.store.base import READ, Chunk
from sessile.wire.errors import StoreUnavailable

log = logging.getLogger(__name__)

BUSY = 5.0  # seconds for which something else may hold the database's write lock
BUSY_PAUSE = 0.01  # seconds between two attempts while it does
T = TypeVar("T")


@contextmanager
def transaction(database: apsw.Connection) -> Iterator[None]:
    """One commit, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


async def when_free(work: Callable[[], T]) -> T:
    """Do what writes by itself, when nothing else holds the database's write lock.

    Another process may, and a checkpoint that empties the log. Raises
    :class:`~sessile.wire.errors.StoreUnavailable`.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + BUSY
    while True:
        try:
            return work()
        except apsw.BusyError as error:
            if loop.time() > until:
                raise as_unavailable(error) from error
        except apsw.Error as error:
            raise as_unavailable(error) from error
        await asyncio.sleep(BUSY_PAUSE)


def read_some(cursor: Iterable[Any]) -> Chunk[Any]:
    """Rows of a query, up to ``READ`` bytes; the last value of a row is what counts."""
    room = READ
    found: Chunk[Any] = Chunk()
    add = found.append
    for row in cursor:
        add(row)
        room -= len(row[-1])
        if room < 0:
            found.cut = True
            break
    return found


@contextmanager
def unavailable() -> Iterator[None]:
    """Errors of SQLite as :class:`~sessile.wire.errors.StoreUnavailable`."""
    try:
        yield
    except apsw.Error as error:
        raise as_unavailable(error) from error


def as_unavailable(error: Exception) -> Exception:
    """What the callers of the port get; the rest of it is for the log."""
    if not isinstance(error, apsw.Error | OSError) or isinstance(error, apsw.InterruptError):
        return error
    log.error("the store failed: %s: %s", type(error).__name__, error)
    return StoreUnavailable()
