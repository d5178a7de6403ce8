"""Group commit: what is written while the event loop is busy becomes one transaction.

The first commit that waits asks the loop for a flush, and the flush takes all that came until
then. Transactions are made inline, in the loop's own thread: a writer thread beside a busy loop
starves on the GIL. They do not wait for the disk; a durable commit is done when the log is
synced, while the events of other sessions are committed and published.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import apsw

from sessile.store import sql
from sessile.store.base import Commit, OpenCommit
from sessile.store.sqlite.log import Log
from sessile.store.sqlite.place import DatabaseFile
from sessile.store.sqlite.reserve import Reserve
from sessile.store.sqlite.tables import Tables
from sessile.store.sqlite.transaction import (
    BUSY,
    BUSY_PAUSE,
    as_unavailable,
    transaction,
)
from sessile.store.trims import Trims
from sessile.wire.errors import StoreUnavailable

log = logging.getLogger(__name__)

BURST = 8  # commits whose sync is reported at once

_Q = sql.queries(__package__)


class _Taken(NamedTuple):
    """A commit that was taken, and who waits for its outcome."""

    source: OpenCommit
    commit: Commit


class Writer:
    """Writes the commits of all sessions into one database.

    It is ``failing`` from a commit that failed until one that did not.
    """

    def __init__(self, file: DatabaseFile, database: apsw.Connection) -> None:
        self.log = Log(file, database, self.flush)
        self.tables = Tables(database)
        self.trims = Trims()
        self.reserve = Reserve(file)
        self.failing = False
        self.deleted_in: set[str] = set()  # sessions whose kept events may hold deleted messages
        self._loop = asyncio.get_running_loop()
        self._database = database
        self._execute: Callable[..., Any] = database.execute
        self._waiting: list[OpenCommit] = []
        self._flush_asked = False
        self._blocked: list[_Taken] = []  # another process holds the write lock
        self._blocked_since = 0.0
        self._syncing: deque[_Taken] = deque()  # committed, but not synced or not reported yet
        self._held: set[str] = set()  # the sessions of these
        self._synced: asyncio.Future[None] | None = None

    def write(self, commit: OpenCommit) -> None:
        self._waiting.append(commit)
        self._flush_soon()

    def drop_waiting(self) -> None:
        """Forget what was not taken yet, as the end of the process would."""
        self._waiting.clear()

    async def finish(self) -> None:
        """Write what waits, and wait until it is reported."""
        while self.busy:
            if not self._blocked:  # else it is tried again by itself
                self.flush()
            await self._all_reported()
            await asyncio.sleep(
                BUSY_PAUSE if self._blocked else 0
            )  # lets the checkpoint of a full log proceed

    @property
    def busy(self) -> bool:
        """Something waits, or is not reported yet."""
        return bool(self._waiting or self._blocked or self._syncing)

    async def synced(self, session: str) -> None:
        """Wait until a read of the session shows nothing that the loss of power could take back."""
        if session in self._held or self.log.in_doubt:
            await self.all_synced()

    async def all_synced(self) -> None:
        """Wait until everything that is committed is durable; raises if it cannot be made so."""
        await self._all_reported()
        if self.log.in_doubt:
            proved: asyncio.Future[Exception | None] = self._loop.create_future()
            self.log.sync(lambda error: None if proved.done() else proved.set_result(error))
            error = await proved
            if error is not None:
                raise as_unavailable(error)

    # Taking and committing ----------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flush_asked:
            self._flush_asked = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Commit what waits, as far as it may be committed now."""
        self._flush_asked = False
        taken = self._blocked or self._take()
        if not taken:
            return
        self._blocked = []
        durable: deque[_Taken] = deque()
        for one, error in self._committed(taken):
            if error is None:
                self._note(one.commit)
            if error is None and one.commit.durable:
                durable.append(one)
            else:
                self._report(one, error)
        if durable:
            self._syncing = durable
            self._held = {one.commit.session for one in durable}
            self.log.sync(self._sync_ended)

    def _take(self) -> list[_Taken]:
        """What is to be committed now: all that waits, one commit of each session.

        While the log is synced, only events of running turns, of sessions that do not wait for
        the sync themselves: for the others the next sync would have to come first anyway.
        """
        if self.log.full:
            return []
        taken: dict[str, _Taken] = {}
        left: list[OpenCommit] = []
        for source in self._waiting:
            session = source.session
            if session in taken or (self._syncing and (source.durable or session in self._held)):
                left.append(source)
            else:
                taken[session] = _Taken(source, source.take())
        self._waiting = left
        if left and not self._syncing:
            self._flush_soon()
        return list(taken.values())

    def _committed(self, taken: list[_Taken]) -> list[tuple[_Taken, Exception | None]]:
        if self.log.removed:
            return [(one, StoreUnavailable()) for one in taken]
        error = self._try(taken)
        if isinstance(error, apsw.BusyError):
            return self._block(taken, error)
        if error is None:
            return [(one, None) for one in taken]
        # One of them was at fault, or all are: each by itself shows which.
        return [(one, self._try_alone(one)) for one in taken]

    def _try_alone(self, one: _Taken) -> Exception | None:
        error = self._try([one])
        if isinstance(error, apsw.FullError) and (one.commit.drop or one.commit.deleted):
            error = self._try_on_a_full_disk(one)
        return None if error is None else as_unavailable(error)

    def _try_on_a_full_disk(self, one: _Taken) -> Exception | None:
        """Delete in the room of the reserve, without the writes that overwrite what is deleted and
        take its text out of the index: :meth:`delete_texts_left` does that later."""
        self.reserve.give()
        self._execute("PRAGMA secure_delete = OFF")
        self.tables.sparing = True
        try:
            error = self._try([one])
            if isinstance(error, apsw.FullError):
                self.log.make_room()
                error = self._try([one])
            return error
        finally:
            self.tables.sparing = False
            self._execute("PRAGMA secure_delete = ON")

    def delete_texts_left(self) -> None:
        """Take out of the index what no message has."""
        with transaction(self._database):
            self._execute(_Q["delete_ownerless_texts"])
        self.log.wipe()

    def _block(
        self, taken: list[_Taken], error: apsw.BusyError
    ) -> list[tuple[_Taken, Exception | None]]:
        """Try again soon, while the loop serves others; or give up after a while."""
        now = self._loop.time()
        if self._blocked_since and now - self._blocked_since > BUSY:
            self._blocked_since = 0.0
            return [(one, as_unavailable(error)) for one in taken]
        self._blocked_since = self._blocked_since or now
        self._blocked = taken
        self._flush_asked = True
        self._loop.call_later(BUSY_PAUSE, self.flush)
        return []

    def _try(self, taken: list[_Taken]) -> Exception | None:
        try:
            with transaction(self._database):
                self.tables.write([one.commit for one in taken])
        except apsw.BusyError as error:
            return error
        except Exception as error:
            self.failing = self.failing or isinstance(error, apsw.Error)
            return error
        self.tables.committed()
        self._blocked_since = 0.0
        self.failing = False
        return None

    def try_to_write(self) -> None:
        """Commit something that changes nothing; raises if that fails."""
        version = self._execute("PRAGMA user_version").get
        with transaction(self._database):
            self._execute(f"PRAGMA user_version = {version}")
        self.failing = False

    def _note(self, commit: Commit) -> None:
        """Note which events a commit that is made leaves behind."""
        if commit.drop:
            self.trims.dropped(commit.session)
        elif commit.durable or commit.draft is not None:
            drafted = self.tables.known[commit.session].drafted
            self.trims.stored(commit.row, self._loop.time(), drafted)

    # Reporting ----------------------------------------------------------------------------------

    def _sync_ended(self, error: Exception | None) -> None:
        self._report_some(None if error is None else as_unavailable(error))

    def _report_some(self, error: Exception | None) -> None:
        """Report what became of the sync, to a few at a time: each has work to do then, and
        between these bursts the events of running turns pass."""
        for _ in range(min(BURST, len(self._syncing))):
            one = self._syncing.popleft()
            self._held.discard(one.commit.session)
            self._report(one, error)
        if self._syncing:
            self._loop.call_soon(self._report_some, error)
            return
        waited, self._synced = self._synced, None
        if waited is not None:
            waited.set_result(None)
        if self._waiting:
            self._flush_soon()

    def _report(self, one: _Taken, error: Exception | None) -> None:
        commit = one.commit
        if error is None and (commit.drop or commit.deleted):
            self.log.wipe()
            self.deleted_in.add(commit.session)
        try:
            one.source.done(error)
        except Exception:
            log.exception("session %s failed at the outcome of its commit", commit.session)

    async def _all_reported(self) -> None:
        while self._syncing:
            if self._synced is None:
                self._synced = self._loop.create_future()
            await asyncio.shield(self._synced)
