"""Reading a store's file from another process: nothing is created, changed or locked by it.

SQLite in WAL mode writes even where it only reads: into the log's index, beside the database. So
how the file is opened depends on what is there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import apsw

from sessile.store.sqlite.place import DatabaseFile
from sessile.wire.errors import SettingsError, StoreUnavailable

WAIT = 5_000  # milliseconds for SQLite's locks


class Changed(StoreUnavailable):
    """A server started or ended while the store was read. Try again."""


@contextmanager
def reading(given: str | Path) -> Iterator[apsw.Connection]:
    """A connection that shows the store as it is at one moment, also while a server writes.

    Raises :class:`~sessile.wire.errors.SettingsError` if there is no such file,
    :class:`~sessile.wire.errors.StoreUnavailable` if another process keeps it busy, and
    :class:`Changed` at the end if a server started meanwhile: what was read may be wrong then.
    """
    file = DatabaseFile(given)
    try:
        taken = file.is_taken()
        before = _state(file.path)
        database = _connected(file.path, taken)
    except FileNotFoundError as error:
        raise SettingsError(f"the store {given} does not exist") from error
    except OSError as error:
        raise SettingsError(f"cannot read the store {given}: {error.strerror}") from error
    try:
        database.execute("BEGIN")
        yield database
    except apsw.BusyError as error:
        raise StoreUnavailable(f"the store {given} is busy: {error}. Try again.") from error
    finally:
        database.close()
    if not taken and (file.is_taken() or _state(file.path) != before):
        raise Changed


def _state(path: Path) -> tuple[int, int, int, bool]:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns, _has_log(path)


def _has_log(path: Path) -> bool:
    log = Path(f"{path}-wal")
    return log.exists() and log.stat().st_size > 0


def _connected(path: Path, taken: bool) -> apsw.Connection:
    if path.is_dir():
        raise IsADirectoryError(0, "it is a folder")
    if taken:  # the index is the server's: a reader is entered in it, and held up by nobody
        database = _open(path, "mode=ro")
    elif not _has_log(path):
        database = _open(path, "immutable=1")
    elif Path(f"{path}-shm").exists():
        database = _open(path, "mode=ro&readonly_shm=1")
    else:  # with this, SQLite keeps the index in memory
        database = _open(path, "mode=ro", "unix-none")
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.set_busy_timeout(WAIT)
    database.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    database.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    return database


def _open(path: Path, how: str, vfs: str | None = None) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"file:{quote(str(path))}?{how}", flags=flags, vfs=vfs)
