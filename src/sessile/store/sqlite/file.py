"""One session in a SQLite file of its own, written and read: the embedded store's schema."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import apsw
import msgspec

from sessile.store import sql
from sessile.store.base import Row
from sessile.store.sqlite.store import SQLiteStore
from sessile.store.sqlite.transaction import transaction, unavailable
from sessile.wire.codec import encode
from sessile.wire.errors import InvalidRequest
from sessile.wire.messages import ExportedSession, Message, decode_message, decode_metadata

_Q = sql.queries(__package__)


async def write_file(path: str, row: Row, chunks: AsyncGenerator[list[bytes], None]) -> None:
    """Write one session, from the JSON of its messages, into a new database of its own.

    An answer that is being written is in it as interrupted.
    """
    store = SQLiteStore(path)
    await store.open()
    try:
        with unavailable(), transaction(store.database):
            async with aclosing(chunks):
                async for bodies in chunks:
                    for body in bodies:
                        _put(store, row.id, body)
            copied = msgspec.structs.replace(row, running=None, private={}, owner=0)
            store.writer.put_session(copied, 0, 0)
    finally:
        await store.close()
    with unavailable():
        database = apsw.Connection(path)
        database.execute("PRAGMA journal_mode = DELETE")
        database.close()


def _put(store: SQLiteStore, session: str, body: bytes) -> None:
    message = decode_message(body)
    if message.status == "streaming":
        message.status = "interrupted"
        body = encode(message)
    store.writer.put_message(session, message, body, message.seq)


def read_file(path: str) -> tuple[ExportedSession, list[Message]]:
    """The session in a database that :func:`write_file` wrote, and its messages in order.

    The file may come from a stranger: nothing in it is run, and its values are checked. Raises
    :class:`~sessile.wire.errors.InvalidRequest`.
    """
    try:
        database = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            database.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            rows = [
                ExportedSession(id, title, bool(archived), decode_metadata(metadata))
                for id, title, archived, metadata in database.execute(_Q["exported"])
            ]
            bodies = list(database.execute(_Q["exported_messages"]))
        finally:
            database.close()
        if len(rows) != 1:
            raise InvalidRequest(f"The database has {len(rows)} sessions; one is imported.")
        return rows[0], [decode_message(body) for (body,) in bodies]
    except (apsw.Error, msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise InvalidRequest(f"The database is not an export of a session: {error}.") from error
