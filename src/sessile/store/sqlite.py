"""The embedded store: one SQLite database for all sessions, written by group commit.

What is written while the event loop is busy becomes one transaction: the first change that waits
asks the loop for a flush, and the flush takes all that came until then. Writes are made inline,
in the loop's own thread: a writer thread beside a busy loop starves on the GIL.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from sessile.errors import InvalidRequest, SessionNotFound, SettingsError, StoreUnavailable
from sessile.store import sql
from sessile.store.base import Body, Change, Hit, Row, Running
from sessile.types import Frame, Message, decode_message, decode_metadata, encode

log = logging.getLogger(__name__)

INDEXED = 50  # messages put into the search index in one transaction
BREATH = 0.01  # seconds between two such transactions where nobody waits for them

FULL, NORMAL = 2, 1  # PRAGMA synchronous: survives power loss · survives the process
ALL = 2**63 - 1

_Q = sql.queries("sqlite.sql")
_DROPS = (
    "drop_messages",
    "drop_deletions",
    "drop_tail",
    "drop_texts",
    "drop_documents",
)
_decode_running = msgspec.json.Decoder(Running).decode


class SQLiteStore:
    """Sessions in one SQLite file.

    The file belongs to one server at a time: it holds a lock beside it (``<file>-lock``).
    Opening raises :class:`~sessile.errors.SettingsError` if the file cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.name = f"SQLite {self._path}"
        self._lock_path = f"{self._path}-lock"
        self._waiting: list[Change] = []
        self._synchronous = 0
        self._activity = 0
        self._lock: int | None = None
        self._reading = asyncio.Lock()
        self._unindexed: set[str] | None = None

    # Opening ------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._take_lock()
        try:
            self._open()
        except apsw.Error as error:
            self._release_lock()
            raise SettingsError(f"cannot use the store {self._path}: {error}") from error
        except BaseException:
            self._release_lock()
            raise

    def _open(self) -> None:
        self._db = apsw.Connection(str(self._path))
        self._execute: Callable[..., Any] = self._db.execute
        self._db.set_busy_timeout(5_000)
        # A query's plan does not depend on its values: it is not planned anew for each of them.
        self._db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        for pragma in (
            "journal_mode = WAL",
            "cache_size = -16384",
            "temp_store = MEMORY",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self._sync(FULL)
        self._migrate()
        # For long reads, in a thread of their own: SQLite lets go of the GIL meanwhile.
        self._reader = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        self._activity = self._db.execute(_Q["last_activity"]).get

    def _migrate(self) -> None:
        scripts = sql.migrations("sqlite")
        version = self._db.execute("PRAGMA user_version").get
        if version > len(scripts):
            raise SettingsError(
                f"the store {self._path} was written by a newer Sessile "
                f"(schema {version}, this one knows {len(scripts)})"
            )
        # Also where nothing is to be done: it shows now, not at the first message, that the
        # file can be written.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for number, script in enumerate(scripts[version:], version + 1):
                self._db.execute(script)
                self._db.execute(f"PRAGMA user_version = {number}")
            self._db.execute("PRAGMA application_id = 0x5E551E")
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _take_lock(self) -> None:
        try:
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release_lock()
            raise SettingsError(f"the store {self._path} is in use by another server") from None
        except OSError as error:
            raise SettingsError(f"cannot write the store {self._path}: {error.strerror}") from error

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def close(self) -> None:
        self._flush()
        async with self._reading:
            self._reader.close()
        self._db.close()
        self._release_lock()

    async def check(self) -> None:
        with _unavailable():
            self._execute(_Q["last_activity"]).fetchone()

    # Writing ------------------------------------------------------------------------------------

    def write(self, change: Change) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(change)

    def _flush(self) -> None:
        changes, self._waiting = self._waiting, []
        if not changes:
            return
        for change in changes:
            change.taken = True
        error = self._try(changes)
        for change in changes:
            if error is not None and len(changes) > 1:
                # One of them was at fault, or all are: each for itself tells which.
                _tell(change, self._try([change]))
            else:
                _tell(change, error)

    def _try(self, changes: Sequence[Change]) -> Exception | None:
        try:
            self._commit(changes)
        except Exception as error:
            return _as_unavailable(error)
        return None

    def _commit(self, changes: Sequence[Change]) -> None:
        self._sync(FULL if any(change.durable for change in changes) else NORMAL)
        with self._transaction():
            for change in changes:
                self._apply(change)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._execute("ROLLBACK")
            raise

    def _sync(self, level: int) -> None:
        if level != self._synchronous:
            # SQLite obeys this pragma when it is compiled, so it must be compiled each time.
            self._db.execute(f"PRAGMA synchronous = {level}", can_cache=False)
            self._synchronous = level

    def _apply(self, change: Change) -> None:
        row, execute = change.row, self._execute
        if change.drop:
            execute(_Q["drop_session"], (row.id, change.base))
            if change.base:
                self._expect_one(row)
            for query in _DROPS:
                execute(_Q[query], (row.id,))
            return
        if change.durable:
            self._put_session(row, change.base)
        else:
            execute(_Q["advance_session"], (row.seq, row.id, change.base))
        self._expect_one(row)
        for message_id, seq in change.deleted.items():
            for query in ("delete_message", "delete_text", "delete_document"):
                execute(_Q[query], (row.id, message_id))
            execute(_Q["put_deletion"], (row.id, seq, message_id))
        for message, body, changed in change.messages.values():
            execute(_Q["put_message"], _message_values(row.id, message, body, changed))
        if change.messages and self._unindexed is not None:
            self._unindexed.add(row.id)
        if change.frames:
            events = b"\n".join([frame.data for frame in change.frames])
            execute(
                _Q["put_tail"],
                (row.id, change.frames[-1].seq, change.frames[0].seq, events),
            )

    def _put_session(self, row: Row, base: int) -> None:
        self._activity += 1
        self._execute(
            _Q["put_session"],
            (
                row.id,
                row.title,
                row.seq,
                row.message_count,
                row.queued,
                row.created_at,
                row.updated_at,
                self._activity,
                int(row.archived),
                encode(row.metadata) if row.metadata else b"{}",
                encode(row.running) if row.running else None,
                base,
            ),
        )

    def _put_copy(self, session: str, body: bytes) -> None:
        message = decode_message(body)
        if message.status == "streaming":
            message.status = "interrupted"
            body = encode(message)
        self._execute(_Q["put_message"], _message_values(session, message, body, message.seq))

    def _expect_one(self, row: Row) -> None:
        if self._db.changes() != 1:
            raise StoreUnavailable(f"another writer has changed the session {row.id}")

    async def trim(self, tails: Sequence[tuple[str, int]]) -> None:
        with _unavailable():
            self._sync(NORMAL)
            with self._transaction():
                self._db.executemany(_Q["trim"], tails)

    # Reading ------------------------------------------------------------------------------------

    async def row(self, session: str) -> Row | None:
        with _unavailable():
            values = self._execute(_Q["session"], (session,)).fetchone()
        return _row(values) if values else None

    async def rows(
        self, limit: int, before: str | None, query: str | None, archived: bool | None
    ) -> list[Row]:
        under = ALL
        if before is not None:
            with _unavailable():
                found = self._execute(_Q["activity"], (before,)).fetchone()
            if found is None:
                raise SessionNotFound
            under = found[0]
        flag = None if archived is None else int(archived)
        found_rows = await self._read_long(_Q["sessions"], (under, flag, query, limit))
        return [_row(values) for values in found_rows]

    async def search(self, words: Sequence[str], limit: int) -> list[Hit]:
        await self._index_all(0)
        phrases = ['"{}"*'.format(word.replace('"', '""')) for word in words]
        return [
            _hit(*values)
            for values in await self._read_long(_Q["search"], (" ".join(phrases), limit))
        ]

    async def _read_long(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        def read() -> list[Any]:
            return list(self._reader.execute(query, values))

        with _unavailable():
            async with self._reading:
                return await asyncio.to_thread(read)

    async def tend(self) -> None:
        await self._index_all(BREATH)

    async def _index_all(self, breath: float) -> None:
        if self._unindexed is None:
            self._unindexed = set()
            self._unindexed.update(
                [session for (session,) in await self._read_long(_Q["unindexed"], ())]
            )
        while self._unindexed:
            taken: set[str] = set()
            try:
                with _unavailable():
                    self._index_some(self._unindexed, taken)
            except BaseException:
                self._unindexed |= taken
                raise
            await asyncio.sleep(breath)  # others wait for the loop

    def _index_some(self, sessions: set[str], taken: set[str]) -> None:
        """Put the next messages of some sessions into the index, in one transaction.

        ``taken`` are the sessions that it takes from ``sessions``.
        """
        self._sync(NORMAL)
        with self._transaction():
            room = INDEXED
            while sessions and room > 0:
                session = sessions.pop()
                taken.add(session)
                count = self._index(session, room)
                if count == room:
                    sessions.add(session)
                room -= max(count, 1)

    def _index(self, session: str, most: int) -> int:
        """Put so many messages of a session into the index at the most; how many there were."""
        known = self._execute(_Q["indexed"], (session,)).fetchone()
        rows = self._bodies(_Q["changed"], (session, known[0], most)) if known else []
        for _, _, body in rows:
            message = decode_message(body)
            (document,) = self._execute(_Q["document"], (session, message.id)).fetchone()
            self._execute(_Q["put_text"], (document, message.content))
        if rows:
            self._execute(_Q["put_indexed"], (rows[-1].changed, session))
        return len(rows)

    async def unsettled(self) -> list[str]:
        with _unavailable():
            return [session for (session,) in self._execute(_Q["unsettled"])]

    async def message(self, session: str, message: str) -> Message | None:
        return self._one_message(_Q["message"], (session, message))

    async def newest(self, session: str, limit: int, before: int | None) -> list[Body]:
        under = ALL if before is None else before
        return self._bodies(_Q["newest"], (session, under, limit))

    async def following(self, session: str, limit: int, after: int) -> list[Body]:
        return self._bodies(_Q["following"], (session, after, limit))

    async def changed(self, session: str, limit: int, after: int) -> list[Body]:
        return self._bodies(_Q["changed"], (session, after, limit))

    async def deleted(self, session: str, after: int) -> list[tuple[int, str]]:
        with _unavailable():
            return list(self._execute(_Q["deleted"], (session, after)))

    async def queue(self, session: str) -> list[Message]:
        with _unavailable():
            rows = self._execute(_Q["queue"], (session,)).fetchall()
        return [decode_message(body) for (body,) in rows]

    async def answer(self, session: str, question: Message) -> Message | None:
        return self._one_message(_Q["answer"], (session, question.seq, question.id))

    async def last_answer(self, session: str) -> Message | None:
        return self._one_message(_Q["last_answer"], (session,))

    async def events(self, session: str, after: int) -> list[Frame] | None:
        with _unavailable():
            rows = self._execute(_Q["events"], (session, after)).fetchall()
            if not rows:
                stored = self._execute(_Q["session"], (session,)).fetchone()
                return [] if after == (stored[2] if stored else 0) else None
        if rows[0][0] > after + 1:
            return None
        return [
            Frame(seq, data)
            for first, events in rows
            for seq, data in enumerate(events.split(b"\n"), first)
            if seq > after
        ]

    async def tails(self) -> list[tuple[str, int]]:
        with _unavailable():
            return list(self._execute(_Q["tails"]))

    def _bodies(self, query: str, values: tuple[Any, ...]) -> list[Body]:
        with _unavailable():
            rows = self._execute(query, values).fetchall()
        return [Body(*values) for values in rows]

    def _one_message(self, query: str, values: tuple[Any, ...]) -> Message | None:
        with _unavailable():
            found = self._execute(query, values).fetchone()
        return decode_message(found[0]) if found else None


def _hit(session: str, title: str, body: bytes, marked: str) -> Hit:
    text = ""
    found: list[tuple[int, int]] = []
    for piece in marked.split("\x02"):
        inside, mark, outside = piece.rpartition("\x03")
        if mark:
            found.append((len(text), len(text) + len(inside)))
        text += inside + outside
    return Hit(session, title, decode_message(body), text, found)


async def write_file(path: str, row: Row, chunks: AsyncGenerator[list[bytes], None]) -> None:
    """Write one session, from the JSON of its messages, into a new database of its own.

    It has the embedded store's schema. An answer that is being written is in it as interrupted.
    """
    store = SQLiteStore(path)
    await store.open()
    try:
        with _unavailable(), store._transaction():
            async with aclosing(chunks):
                async for bodies in chunks:
                    for body in bodies:
                        store._put_copy(row.id, body)
            copied = msgspec.structs.replace(row, running=None)
            store._put_session(copied, row.seq)
        with _unavailable():
            store._execute("PRAGMA journal_mode = DELETE")
    finally:
        await store.close()


def read_file(path: str) -> tuple[Row, list[Message]]:
    """The session in a database that :func:`write_file` wrote, and its messages in order.

    The file may be anybody's: nothing in it is run, and its values are checked. Raises
    :class:`~sessile.errors.InvalidRequest`.
    """
    try:
        database = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            database.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            rows = [_row(values) for values in database.execute(_Q["exported"])]
            bodies = list(database.execute(_Q["exported_messages"]))
        finally:
            database.close()
        if len(rows) != 1:
            raise InvalidRequest(f"The database has {len(rows)} sessions; one is imported.")
        return rows[0], [decode_message(body) for (body,) in bodies]
    except (apsw.Error, msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise InvalidRequest(f"The database is not an export of a session: {error}.") from error


def _message_values(session: str, message: Message, body: bytes, changed: int) -> tuple[Any, ...]:
    reply_to = None if message.reply_to is msgspec.UNSET else message.reply_to
    return (
        session,
        message.seq,
        message.id,
        changed,
        message.role,
        message.status,
        reply_to,
        body,
    )


def _row(values: Sequence[Any]) -> Row:
    *plain, archived, metadata, running = values
    id, title, seq, message_count, queued, created_at, updated_at = plain
    return Row(
        id,
        title,
        seq,
        message_count,
        queued,
        created_at,
        updated_at,
        bool(archived),
        decode_metadata(metadata) if metadata != b"{}" else {},
        _decode_running(running) if running else None,
    )


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _as_unavailable(error) from error


def _tell(change: Change, error: Exception | None) -> None:
    try:
        change.done(change, error)
    except Exception:
        log.exception("session %s did not take what became of its change", change.row.id)


def _as_unavailable(error: Exception) -> Exception:
    if not isinstance(error, apsw.Error):
        return error
    log.error("the store failed: %s: %s", type(error).__name__, error)
    return StoreUnavailable()
