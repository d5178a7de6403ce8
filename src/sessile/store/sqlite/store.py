"""The embedded store: one SQLite database for all sessions, written by group commit.

What is written while the event loop is busy becomes one transaction: the first change that waits
asks the loop for a flush, and the flush takes all that came until then. Transactions are made
inline, in the loop's own thread: a writer thread beside a busy loop starves on the GIL. They do
not wait for the disk; a durable change is done when the log is synced, and other sessions' events
go their way meanwhile.
"""

import asyncio
import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from sessile.store import sql
from sessile.store.base import Body, Change, Hit, Row, Running
from sessile.store.sqlite.log import Log
from sessile.store.sqlite.search import SearchIndex
from sessile.store.sqlite.transaction import as_unavailable, transaction, unavailable
from sessile.store.tail import pack, unpack
from sessile.wire.codec import encode
from sessile.wire.errors import SessionNotFound, SettingsError, StoreUnavailable
from sessile.wire.frames import Frame
from sessile.wire.messages import Message, decode_message, decode_metadata

log = logging.getLogger(__name__)

TOLD = 8  # changes whose sync is told at once
ALL = 2**63 - 1

_Q = sql.queries(__package__)
_DROPS = ("drop_texts", "drop_messages", "drop_deletions", "drop_tail")
_decode_running = msgspec.json.Decoder(Running).decode


class SQLiteStore:
    """Sessions in one SQLite file.

    The file belongs to one server at a time: it holds a lock beside it (``<file>-lock``).
    Opening raises :class:`~sessile.wire.errors.SettingsError` if the file cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.name = f"SQLite {self._path}"
        self._lock_path = f"{self._path}-lock"
        self._waiting: list[Change] = []
        self._flush_asked = False
        self._syncing: deque[Change] = deque()  # committed, but not synced or not told yet
        self._held: set[str] = set()  # the sessions of these
        self._synced: asyncio.Future[None] | None = None
        self._activity = self._document = 0  # the newest of these numbers
        self._lock: int | None = None
        self._reading = asyncio.Lock()

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
        self.database = apsw.Connection(str(self._path))
        self._execute: Callable[..., Any] = self.database.execute
        self.database.set_busy_timeout(5_000)
        # A query's plan does not depend on its values: it is not planned anew for each of them.
        self.database.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "cache_size = -32768",
            "temp_store = MEMORY",
        ):
            self._execute(f"PRAGMA {pragma}")
        self._migrate()
        # For long reads, in a thread of their own: SQLite lets go of the GIL meanwhile.
        self._reader = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        self._activity = self._execute(_Q["last_activity"]).get
        self._document = self._execute(_Q["last_document"]).get
        self._log = Log(str(self._path), self.database, self._flush)
        self._index = SearchIndex(self.database, self._read_long)

    def _migrate(self) -> None:
        scripts = sql.migrations(__package__)
        version = self._execute("PRAGMA user_version").get
        if version > len(scripts):
            raise SettingsError(
                f"the store {self._path} was written by a newer Sessile "
                f"(schema {version}, this one knows {len(scripts)})"
            )
        # Also where nothing is to be done: it shows now, not at the first message, that the
        # file can be written.
        with transaction(self.database):
            for number, script in enumerate(scripts[version:], version + 1):
                if version:  # which a large store takes its time for
                    told = "the store %s is brought up to date: step %d of %d"
                    log.warning(told, self._path, number, len(scripts))
                self._execute(script)
                self._execute(f"PRAGMA user_version = {number}")
            self._execute("PRAGMA application_id = 0x5E551E")

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
        while self._waiting or self._syncing:
            self._flush()
            await self._all_told()
            await asyncio.sleep(0)  # a full log is moved meanwhile
        async with self._reading:
            self._reader.close()
        self._log.close()
        self.database.close()
        self._release_lock()

    async def check(self) -> None:
        with unavailable():
            self._execute(_Q["last_activity"]).fetchone()

    # Writing ------------------------------------------------------------------------------------

    def write(self, change: Change) -> None:
        self._waiting.append(change)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_asked:
            self._flush_asked = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_asked = False
        changes = self._take()
        if not changes:
            return
        for change in changes:
            change.taken = True
        durable: deque[Change] = deque()
        for change, error in self._committed(changes):
            if error is None and change.durable:
                durable.append(change)
            else:
                _tell(change, error)
        if durable:
            self._syncing = durable
            self._held = {change.row.id for change in durable}
            self._log.sync(self._sync_ended)

    def _take(self) -> list[Change]:
        """What is to be committed now: all that waits.

        While the log is synced, only events of running turns, of sessions that do not wait for
        the sync themselves: for the others the next sync would have to come first anyway.
        """
        if self._log.full:
            return []
        taken: list[Change] = []
        left: list[Change] = []
        for change in self._waiting:
            waits = self._syncing and (change.durable or change.row.id in self._held)
            (left if waits else taken).append(change)
        self._waiting = left
        return taken

    def _committed(self, changes: list[Change]) -> list[tuple[Change, Exception | None]]:
        error = self._try(changes)
        if error is None or len(changes) == 1:
            return [(change, error) for change in changes]
        # One of them was at fault, or all are: each for itself tells which.
        return [(change, self._try([change])) for change in changes]

    def _try(self, changes: list[Change]) -> Exception | None:
        try:
            with transaction(self.database):
                for change in changes:
                    self._apply(change)
        except Exception as error:
            return as_unavailable(error)
        return None

    def _sync_ended(self, error: Exception | None) -> None:
        self._tell_some(None if error is None else as_unavailable(error))

    def _tell_some(self, error: Exception | None) -> None:
        """Tell what became of the sync, to a few at a time: each has work to do then, and between
        these bursts the events of running turns pass."""
        for _ in range(min(TOLD, len(self._syncing))):
            change = self._syncing.popleft()
            self._held.discard(change.row.id)
            _tell(change, error)
        if self._syncing:
            self._loop.call_soon(self._tell_some, error)
            return
        waited, self._synced = self._synced, None
        if waited is not None:
            waited.set_result(None)
        if self._waiting:
            self._flush_soon()

    async def _all_told(self) -> None:
        while self._syncing:
            if self._synced is None:
                self._synced = self._loop.create_future()
            await asyncio.shield(self._synced)

    async def _all_synced(self) -> None:
        """Wait until everything that is committed is durable; raises if it cannot be made so."""
        await self._all_told()
        if self._log.in_doubt:
            proved: asyncio.Future[Exception | None] = self._loop.create_future()
            self._log.sync(lambda error: None if proved.done() else proved.set_result(error))
            error = await proved
            if error is not None:
                raise as_unavailable(error)

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
            self.put_session(row, change.base)
        else:
            execute(_Q["advance_session"], (row.seq, row.id, change.base))
        self._expect_one(row)
        for message_id, seq in change.deleted.items():
            for query in ("delete_text", "delete_message"):
                execute(_Q[query], (row.id, message_id))
            execute(_Q["put_deletion"], (row.id, seq, message_id))
        for message, body, changed in change.messages.values():
            if message.seq <= change.base:  # it may be there: what was found of it is not true now
                execute(_Q["delete_text"], (row.id, message.id))
            self.put_message(row.id, message, body, changed)
        if change.frames:
            first, last = change.frames[0].seq, change.frames[-1].seq
            execute(_Q["put_tail"], (row.id, last, first, pack(change.frames)))

    def put_session(self, row: Row, base: int) -> None:
        """Store a session's row, unless it has another seq than ``base``."""
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

    def put_message(self, session: str, message: Message, body: bytes, changed: int) -> None:
        """Store a message, or what it has become."""
        self._document += 1
        reply_to = None if message.reply_to is msgspec.UNSET else message.reply_to
        self._execute(
            _Q["put_message"],
            (
                session,
                message.seq,
                message.id,
                changed,
                message.role,
                message.status,
                reply_to,
                body,
                self._document,
            ),
        )

    def _expect_one(self, row: Row) -> None:
        if self.database.changes() != 1:
            raise StoreUnavailable(f"another writer has changed the session {row.id}")

    async def trim(self, tails: Sequence[tuple[str, int]]) -> None:
        with unavailable(), transaction(self.database):
            self.database.executemany(_Q["trim"], tails)

    # Reading ------------------------------------------------------------------------------------
    #
    # Nothing of a session is read that the loss of power could take back: its sync is waited for.

    async def row(self, session: str) -> Row | None:
        found = await self._read(_Q["session"], (session,))
        return row_of(found[0]) if found else None

    async def rows(
        self, limit: int, before: str | None, query: str | None, archived: bool | None
    ) -> list[Row]:
        await self._all_synced()
        under = ALL
        if before is not None:
            with unavailable():
                found = self._execute(_Q["activity"], (before,)).fetchone()
            if found is None:
                raise SessionNotFound
            under = found[0]
        flag = None if archived is None else int(archived)
        found_rows = await self._read_long(_Q["sessions"], (under, flag, query, limit))
        return [row_of(values) for values in found_rows]

    async def search(self, words: Sequence[str], limit: int) -> list[Hit]:
        await self._all_synced()
        return await self._index.find(words, limit)

    async def tend(self) -> None:
        await self._index.catch_up()

    async def unsettled(self) -> list[str]:
        with unavailable():
            return [session for (session,) in self._execute(_Q["unsettled"])]

    async def message(self, session: str, message: str) -> Message | None:
        return await self._one_message(_Q["message"], (session, message))

    async def newest(self, session: str, limit: int, before: int | None) -> list[Body]:
        under = ALL if before is None else before
        return await self._bodies(_Q["newest"], (session, under, limit))

    async def following(self, session: str, limit: int, after: int) -> list[Body]:
        return await self._bodies(_Q["following"], (session, after, limit))

    async def changed(self, session: str, limit: int, after: int) -> list[Body]:
        return await self._bodies(_Q["changed"], (session, after, limit))

    async def deleted(self, session: str, after: int) -> list[tuple[int, str]]:
        return await self._read(_Q["deleted"], (session, after))

    async def queue(self, session: str) -> list[Message]:
        return [decode_message(body) for (body,) in await self._read(_Q["queue"], (session,))]

    async def answer(self, session: str, question: Message) -> Message | None:
        return await self._one_message(_Q["answer"], (session, question.seq, question.id))

    async def last_answer(self, session: str) -> Message | None:
        return await self._one_message(_Q["last_answer"], (session,))

    async def events(self, session: str, after: int) -> list[Frame] | None:
        rows = await self._read(_Q["events"], (session, after))
        if not rows:
            stored = await self._read(_Q["session"], (session,))
            return [] if after == (stored[0][2] if stored else 0) else None
        if rows[0][0] > after + 1:
            return None
        return [frame for row in rows for frame in unpack(*row) if frame.seq > after]

    async def tails(self) -> list[tuple[str, int]]:
        with unavailable():
            return list(self._execute(_Q["tails"]))

    async def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        """All rows of a query whose first value is the session that it reads."""
        if values[0] in self._held or self._log.in_doubt:
            await self._all_synced()
        try:
            rows: list[Any] = self._execute(query, values).fetchall()
        except apsw.Error as error:
            raise as_unavailable(error) from error
        return rows

    async def _bodies(self, query: str, values: tuple[Any, ...]) -> list[Body]:
        return [Body(*row) for row in await self._read(query, values)]

    async def _one_message(self, query: str, values: tuple[Any, ...]) -> Message | None:
        found = await self._read(query, values)
        return decode_message(found[0][0]) if found else None

    async def _read_long(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        def read() -> list[Any]:
            return list(self._reader.execute(query, values))

        with unavailable():
            async with self._reading:
                return await asyncio.to_thread(read)


def row_of(values: Sequence[Any]) -> Row:
    """A session's row from what the query ``session`` gives."""
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


def _tell(change: Change, error: Exception | None) -> None:
    try:
        change.done(change, error)
    except Exception:
        log.exception("session %s did not take what became of its change", change.row.id)
