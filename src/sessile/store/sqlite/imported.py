"""Reads a session out of a SQLite file that a client sent; for the child of ``store/reading.py``.

Such a file can be a program: a view or a generated column computes what is read, without end. Only
plain tables are read, from memory, and nothing of the file is run.
"""

from collections.abc import Iterator
from typing import IO

import apsw
import msgspec

from sessile.store import sql
from sessile.store.reading import Contents, Read, run
from sessile.wire.errors import InvalidRequest
from sessile.wire.messages import ExportedSession, decode_metadata

_Q = sql.queries(__package__)
_TABLES = ("sessions", "messages")


def read_sqlite(file: IO[bytes]) -> Contents:
    """The one session of a database; raises :class:`~sessile.wire.errors.InvalidRequest`."""
    database = apsw.Connection("")
    data = file.read()
    try:
        database.deserialize("main", _without_log(data))
        for pragma in ("query_only = ON", "temp_store = MEMORY", "cell_size_check = ON"):
            database.execute(f"PRAGMA {pragma}")
        database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        database.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        for table in _TABLES:
            _check_plain(database, table)
        rows = [
            ExportedSession(id, title, bool(archived), decode_metadata(metadata))
            for id, title, archived, metadata in database.execute(_Q["exported"])
        ]
    except (apsw.Error, msgspec.MsgspecError, TypeError, ValueError) as error:
        raise _not_an_export(error) from error
    if len(rows) != 1:
        raise InvalidRequest(f"The database has {len(rows)} sessions; one is imported.")
    return Contents(len(data), iter([Read(rows[0], _bodies(database))]))


def _bodies(database: apsw.Connection) -> Iterator[bytes]:
    try:
        for (body,) in database.execute(_Q["exported_messages"]):
            if not isinstance(body, bytes):
                raise InvalidRequest("The database is not an export of a session.")
            yield body
    except apsw.Error as error:
        raise _not_an_export(error) from error


def _without_log(data: bytes) -> bytes:
    """A database whose header says that it has no log beside it: it is in memory."""
    return data[:18] + b"\x01\x01" + data[20:] if data[18:20] == b"\x02\x02" else data


def _check_plain(database: apsw.Connection, table: str) -> None:
    made = "SELECT type, sql FROM sqlite_master WHERE name = ?"
    found = [(kind, text.lstrip().upper()) for kind, text in database.execute(made, (table,))]
    if len(found) != 1 or found[0][0] != "table" or not found[0][1].startswith("CREATE TABLE"):
        raise InvalidRequest(f"The database is not an export: `{table}` is not a plain table.")
    hidden = database.execute("SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden", (table,))
    if hidden.fetchone():
        raise InvalidRequest(f"The database is not an export: `{table}` has computed columns.")


def _not_an_export(error: Exception) -> InvalidRequest:
    return InvalidRequest(f"The database is not an export of a session: {error}.")


if __name__ == "__main__":
    run(read_sqlite)
