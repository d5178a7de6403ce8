"""A transaction of SQLite, and its errors as the port's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from sessile.wire.errors import StoreUnavailable

log = logging.getLogger(__name__)


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
