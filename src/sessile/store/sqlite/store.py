"""The embedded store: one SQLite database for all sessions."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec

from sessile.store import sql
from sessile.store.base import READ, Body, Chunk, Head, Hit, Place, Row
from sessile.store.columns import COLUMNS, row_of
from sessile.store.sqlite.log import Removed
from sessile.store.sqlite.migrate import migrate
from sessile.store.sqlite.place import DatabaseFile
from sessile.store.sqlite.search import SearchIndex
from sessile.store.sqlite.transaction import (
    as_unavailable,
    read_some,
    transaction,
    unavailable,
    when_free,
)
from sessile.store.sqlite.writer import Writer
from sessile.store.tail import unpack
from sessile.store.texts import folded
from sessile.wire.codec import encode
from sessile.wire.errors import SessionNotFound, SessionUnreadable, SettingsError, StoreUnavailable
from sessile.wire.frames import Piece
from sessile.wire.frames import after as after_seq
from sessile.wire.messages import Message, decode_message, decode_metadata

log = logging.getLogger(__name__)

TRIMMED = 500  # sessions whose events are forgotten in one transaction
ALL = 2**63 - 1
SPARE = 512 * 1024  # bytes that a disk must have free after a write failed, to be ready again

_Q = sql.queries(__package__)
_body: Callable[[Any], Body] = partial(tuple.__new__, Body)  # without a call for each
_METADATA, _PRIVATE = COLUMNS.index("metadata"), COLUMNS.index("private")


class SQLiteStore:
    """Sessions in one SQLite file.

    The file belongs to one server at a time. Opening raises
    :class:`~sessile.wire.errors.SettingsError` if the file cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = DatabaseFile(path)
        self.name = f"SQLite {self._file.given}"
        self._reading = asyncio.Lock()
        self._unreadable: set[str] = set()

    # Opening ------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._file.take()
        try:
            self._open()
        except BaseException as error:
            with suppress(AttributeError, apsw.Error):
                self.database.close()
            self._file.release(discard=True)
            if isinstance(error, apsw.Error):
                sentence = f"cannot use the store {self._file.given}: {error}"
                raise SettingsError(sentence) from error
            raise

    def _open(self) -> None:
        self.database = apsw.Connection(str(self._file.path))
        self._execute: Callable[..., Any] = self.database.execute
        self._file.check_contents(self.database)
        self.database.set_busy_timeout(5_000)
        # A query's plan does not depend on its values: it is not planned again for each of them.
        self.database.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        mode = self._execute("PRAGMA journal_mode = WAL").get
        if mode != "wal":
            raise SettingsError(
                f"the store {self._file.given} is on a file system on which SQLite cannot keep a "
                f"write-ahead log (its journal mode is {mode}); put it on a local disk"
            )
        for pragma in (
            "synchronous = FULL",
            "cache_size = -32768",
            "temp_store = MEMORY",
            "secure_delete = ON",  # what is deleted is overwritten
        ):
            self._execute(f"PRAGMA {pragma}")
        migrate(self._file, self.database)
        self.database.set_busy_timeout(0)  # the loop waits, and not in SQLite
        # For long reads, in a thread of their own, where SQLite releases the GIL.
        self._reader = apsw.Connection(str(self._file.path), flags=apsw.SQLITE_OPEN_READONLY)
        self._reader.create_scalar_function(
            "folded", lambda *text: folded(str(text[0])), 1, deterministic=True
        )
        self.id = self._execute(_Q["store_id"]).get
        self.writer = Writer(self._file, self.database)
        self.write = self.writer.write
        # Without a reserve the disk may have been full, and something deleted in part.
        is_new = not self._execute(_Q["last_session"]).get
        self._texts_left = self.writer.reserve.keep() and not is_new
        self._load_known()
        searcher = apsw.Connection(str(self._file.path), flags=apsw.SQLITE_OPEN_READONLY)
        self._index = SearchIndex(self.database, searcher)

    def _load_known(self) -> None:
        """Take up what the process before knew: what ran or waits, and events that are kept."""
        known = self.writer.tables.known
        kept: dict[str, list[tuple[int, int]]] = {}
        for session, number, last in self._execute(_Q["tails"]):
            kept.setdefault(session, []).append((number, last))
        for (session,) in self._execute(_Q["all_busy"]):
            kept.setdefault(session, [])
        for session, rows in kept.items():
            with suppress(SessionUnreadable), self._of(session):
                one = known[session] = self.writer.tables.found(session)
                for number, last in rows:
                    one.events.add(number, last)
                    one.row.seq = max(one.row.seq, last)
                # All of its events may be forgotten where a draft stands for them.
                one.row.seq = max(one.row.seq, one.drafted)
                self.writer.trims.stored(one.row, self._loop.time(), one.drafted)

    async def close(self) -> None:
        await self.writer.finish()
        await self._index.close()
        async with self._reading:
            self._reader.close()
        self.writer.log.close()
        self.database.close()
        self._file.release()

    async def check(self) -> None:
        self._look_at_the_files()
        await self.writer.all_synced()
        if self.writer.failing:
            if self._file.spare() < SPARE:
                raise StoreUnavailable("The disk is full.")
            await when_free(self.writer.try_to_write)
        with unavailable():
            self._execute(_Q["last_activity"]).fetchone()

    @property
    def unreadable(self) -> int:
        return len(self._unreadable)

    @contextmanager
    def _of(self, session: str) -> Iterator[None]:
        """Say once of a session that something of it cannot be read."""
        try:
            yield
        except SessionUnreadable as error:
            if session not in self._unreadable:
                self._unreadable.add(session)
                log.error("the session %s cannot be read: %s", session, error.__cause__)
            raise

    # Reading ------------------------------------------------------------------------------------
    #
    # Nothing of a session is read that the loss of power could take back: its sync is waited for.

    async def row(self, session: str) -> Row | None:
        await self.writer.synced(session)
        known = self.writer.tables.known.get(session)
        if known is not None:
            return msgspec.structs.replace(known.row)
        found = await self._read(_Q["session"], (session,))
        with self._of(session):
            return row_of(found[0]) if found else None

    async def row_if_busy(self, session: str) -> Row | None:
        await self.writer.synced(session)
        if session in self._unreadable:
            return await self.row(session)
        known = self.writer.tables.known.get(session)
        if known is not None and (known.row.busy or known.row.running is not None):
            return msgspec.structs.replace(known.row)
        return await self.row(session) if session in self.writer.tables.parked else None

    async def listed(
        self, limit: int, before: str | None, query: str | None, archived: bool | None
    ) -> list[str]:
        await self.writer.all_synced()
        under = ALL
        if before is not None:
            with unavailable():
                found = self._execute(_Q["activity"], (before,)).fetchone()
            if found is None:
                raise SessionNotFound
            under = found[0]
        flag = None if archived is None else int(archived)
        part = None if query is None else folded(query)
        listed = await self._read_long(_Q["listed"], (under, flag, part, limit))
        return [session for (session,) in listed]

    async def rows(self, sessions: Sequence[str]) -> Chunk[Row]:
        await self.writer.all_synced()
        with unavailable():
            found: Chunk[Row] = Chunk()
            size = 0
            for values in self._execute(_Q["sessions"], (encode(sessions).decode(),)):
                with suppress(SessionUnreadable), self._of(values[0]):
                    row = row_of(values)
                    row.seq = self.writer.tables.head(row.id, row.seq)
                    found.append(row)
                size += len(values[_METADATA]) + len(values[_PRIVATE])
                if size > READ and found:
                    found.cut = True
                    break
        return found

    async def search(self, words: Sequence[str], limit: int) -> list[Hit]:
        await self.writer.all_synced()
        return await self._index.find(words, limit)

    def _look_at_the_files(self) -> None:
        if not self.writer.log.is_in_place():
            self.writer.log.give_up()
            raise StoreUnavailable(str(Removed()))

    async def tend(self) -> None:
        self._look_at_the_files()
        if self.writer.reserve.keep() or self._texts_left:
            self._texts_left = False
            await when_free(self.writer.delete_texts_left)
        await self._index.catch_up()

    async def trim(self, grace: float) -> None:
        trims = self.writer.trims
        while due := trims.due(self._loop.time() - grace, TRIMMED):
            await when_free(partial(self._trim, due))
            trims.trimmed(due, self._loop.time())
            sessions = {session for session, _ in due}
            self.writer.tables.forget(session for session in sessions if session not in trims)
            if sessions & self.writer.deleted_in:
                self.writer.deleted_in -= sessions
                self.writer.log.wipe()

    def _trim(self, due: list[tuple[str, int]]) -> None:
        with transaction(self.database):
            self.writer.tables.trim(due)
        self.writer.tables.trimmed(due)

    async def busy(self, owner: int) -> list[str]:
        with unavailable():
            return [session for (session,) in self._execute(_Q["busy"], (owner,))]

    async def due(self, now: int) -> list[str]:
        with unavailable():
            return [session for (session,) in self._execute(_Q["due"], (now,))]

    async def heads(self, sessions: Sequence[str]) -> list[Head]:
        await self.writer.all_synced()
        with unavailable():
            return [
                Head(id, epoch, self.writer.tables.head(id, seq))
                for id, epoch, seq in self._execute(_Q["heads"], (encode(sessions).decode(),))
            ]

    async def message(self, session: str, message: str) -> Message | None:
        return await self._one_message(_Q["message"], (session, message))

    async def request(self, session: str, message: str) -> dict[str, Any]:
        found = await self._read(_Q["request"], (session, message))
        with self._of(session):
            return decode_metadata(found[0][0]) if found else {}

    async def record(self, session: str) -> bytes | None:
        found = await self._read(_Q["record"], (session,))
        return found[0][0] if found else None

    async def records(self, session: str, after: int, before: int) -> dict[str, bytes]:
        return dict(await self._read(_Q["records"], (session, after, before)))

    async def was_deleted(self, session: str, message: str) -> bool:
        return bool(await self._read(_Q["was_deleted"], (session, message)))

    async def newest(self, session: str, limit: int, before: int | None) -> Chunk[Body]:
        under = ALL if before is None else before
        return await self._bodies(_Q["newest"], (session, under, limit))

    async def following(self, session: str, limit: int, after: int) -> Chunk[Body]:
        return await self._bodies(_Q["following"], (session, after, limit))

    async def places(
        self, session: str, limit: int, before: int | None = None, after: int | None = None
    ) -> list[Place]:
        if after is not None:
            found = await self._read(_Q["following_places"], (session, after, limit))
        else:
            under = ALL if before is None else before
            found = await self._read(_Q["newest_places"], (session, under, limit))
        return [Place(*place) for place in found]

    async def changed(self, session: str, limit: int, after: int) -> Chunk[Body]:
        return await self._bodies(_Q["changed"], (session, after, limit))

    async def deleted(self, session: str, after: int) -> list[tuple[int, str]]:
        return await self._read(_Q["deleted"], (session, after))

    async def queue(self, session: str) -> list[Message]:
        found = await self._read(_Q["queue"], (session,))
        with self._of(session):
            return [decode_message(body) for (body,) in found]

    async def answer(self, session: str, question: Message) -> Message | None:
        return await self._one_message(_Q["answer"], (session, question.seq, question.id))

    async def last_answer(self, session: str) -> Message | None:
        return await self._one_message(_Q["last_answer"], (session,))

    async def draft(self, session: str) -> Body | None:
        known = self.writer.tables.known.get(session)
        drafted = session in self.writer.tables.parked if known is None else known.drafted
        if not drafted:
            return None
        found = await self._bodies(_Q["draft"], (session,))
        return found[0] if found else None

    async def events(self, session: str, after: int) -> Chunk[Piece] | None:
        await self.writer.synced(session)
        known = self.writer.tables.known.get(session)
        rows = self._kept(known.events.after(after)) if known else Chunk()
        if not rows:
            stored = await self.row(session)
            return Chunk() if after == (stored.seq if stored else 0) else None
        if rows[0][0] > after + 1:
            return None
        with self._of(session):
            frames = [frame for row in rows for frame in unpack(*row)]
        return Chunk(after_seq(frames, after), rows.cut)

    def _kept(self, numbers: Iterable[int]) -> Chunk[Any]:
        """Rows of the tail, up to so many bytes."""
        with unavailable():
            return read_some(
                row for number in numbers for row in self._execute(_Q["events"], (number,))
            )

    async def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        """All rows of a query whose first value is the session that it reads."""
        await self.writer.synced(values[0])
        try:
            rows: list[Any] = self._execute(query, values).fetchall()
        except apsw.Error as error:
            raise as_unavailable(error) from error
        return rows

    async def _read_some(self, query: str, values: tuple[Any, ...]) -> Chunk[Any]:
        """Rows, up to so many bytes, of a query whose first value is the session that it reads."""
        await self.writer.synced(values[0])
        try:
            return read_some(self._execute(query, values))
        except apsw.Error as error:
            raise as_unavailable(error) from error

    async def _bodies(self, query: str, values: tuple[Any, ...]) -> Chunk[Body]:
        rows = await self._read_some(query, values)
        return Chunk(map(_body, rows), rows.cut)

    async def _one_message(self, query: str, values: tuple[Any, ...]) -> Message | None:
        found = await self._read(query, values)
        with self._of(values[0]):
            return decode_message(found[0][0]) if found else None

    async def _read_long(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        def read() -> list[Any]:
            return list(self._reader.execute(query, values))

        with unavailable():
            async with self._reading:
                return await asyncio.to_thread(read)
