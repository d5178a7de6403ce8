"""SQLite's write-ahead log: what makes commits durable, beside the event loop.

A commit writes into the log and returns; until the log is synced, the loss of power can take it
back. The sync is a wait of a fraction of a millisecond on a fast disk and of many on a slow one.
So is a checkpoint, which moves the log's pages into the database and syncs both. A thread waits
for them: it is in the kernel or in SQLite all the time, without the GIL.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import apsw

from sessile.store.sqlite.place import DatabaseFile, inode_of, leads_to

log = logging.getLogger(__name__)

CHECKPOINT = 1_000  # pages in the log from which on it is moved into the database
SELDOM = 16  # times as many on a slow disk: SQLite syncs inline when it starts the log again
FULL = 4  # times these pages from which on writers wait until the log is moved
WIPE = 0.2  # seconds after which what was deleted leaves the log, together with what follows
QUICK = 0.001  # seconds: a disk that syncs in less is not worth the way to a thread and back


class Removed(OSError):
    """A file of the store was removed or replaced. Restart the server."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Log:
    """The log of one database that is open in ``connection``.

    ``on_room`` is called when writers that may have found it ``full`` can go on. Once its file was
    ``removed`` nothing may be committed any more: what is written would end with the process.
    """

    def __init__(
        self, file: DatabaseFile, connection: apsw.Connection, on_room: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_room = on_room
        # Its commits sync nothing; at the beginning of a new log SQLite still does.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.set_wal_hook(self._committed)
        # For checkpoints, which sync before they overwrite anything.
        self._connection = apsw.Connection(str(file.path))
        self._connection.set_busy_timeout(5_000)
        self._connection.execute("PRAGMA synchronous = FULL")
        self._database = file
        self._path = f"{file.path}-wal"
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._inode = inode_of(os.fstat(self._file))
        self._threads = ThreadPoolExecutor(2, "sessile-disk")
        self._pages = 0
        self._moving = False
        self._wiping: asyncio.TimerHandle | None = None
        self._held_up = 0  # pages in the log when it could not be moved whole though it was full
        self._usual = 0.0  # seconds that a sync takes
        self.in_doubt = False  # a sync failed: what is committed may not be durable
        self.removed = False

    @property
    def full(self) -> bool:
        """Writers must wait: pages come faster than they are moved into the database."""
        # A reader may hold the log: it grows on for a while then, rather than that writers wait.
        return self._moving and self._pages >= max(FULL * self._mark, 2 * self._held_up)

    @property
    def _slow(self) -> bool:
        return self._usual >= QUICK

    @property
    def _mark(self) -> int:
        return CHECKPOINT * (SELDOM if self._slow else 1)

    def close(self) -> None:
        if self._wiping is not None:
            self._wiping.cancel()
        self._threads.shutdown()
        os.close(self._file)
        self._connection.close()

    # Syncs --------------------------------------------------------------------------------------

    def sync(self, done: Callable[[OSError | apsw.Error | None], None]) -> None:
        """Make everything that is committed survive the loss of power, then call ``done`` with
        None or the error: at once if the disk is quick, and else later, from the loop."""
        if not self._slow and not self.in_doubt:
            done(self._synced(self._sync()))
            return

        def tell(future: "Future[OSError | apsw.Error | float]") -> None:
            self._loop.call_soon_threadsafe(lambda: done(self._synced(future.result())))

        work = self._move_all if self.in_doubt else self._sync
        self._threads.submit(work).add_done_callback(tell)

    def is_in_place(self) -> bool:
        """Whether the names of log and database still lead to the files that SQLite writes."""
        return leads_to(self._path, self._inode) and self._database.is_in_place()

    def give_up(self) -> None:
        """Commit nothing more, and move what is committed into the database."""
        if not self.removed:
            self.removed = self.in_doubt = True
            log.error("%s", Removed())
            self._threads.submit(self._move_all)

    def _sync(self) -> OSError | apsw.Error | float:
        if not self.is_in_place():
            return Removed()
        begin = time.perf_counter()
        try:
            os.fdatasync(self._file)
        except OSError as error:
            return error
        return time.perf_counter() - begin

    def _move_all(self) -> OSError | apsw.Error | float:
        # After a sync that failed the kernel holds pages for written that are not (LWN 752063):
        # another sync of the log would prove nothing. The database gets all of them again instead.
        begin = time.perf_counter()
        try:
            pages, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
        except apsw.Error as error:
            return error
        if moved < pages:
            return apsw.BusyError("the log could not be moved whole")
        return time.perf_counter() - begin

    def _synced(self, outcome: OSError | apsw.Error | float) -> OSError | apsw.Error | None:
        if isinstance(outcome, Removed):
            self.give_up()
        if self.removed:
            return Removed()
        self.in_doubt = not isinstance(outcome, float)
        if isinstance(outcome, float):
            self._usual += (outcome - self._usual) / 8
            return None
        return outcome

    # Checkpoints --------------------------------------------------------------------------------

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._pages = pages
        if pages >= self._mark and not self._moving:
            self._begin_move(apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK

    def wipe(self) -> None:
        """Soon take out of the log what was deleted from the database, and so is only there."""
        if self._wiping is None:
            self._wiping = self._loop.call_later(WIPE, self._wipe)

    def _wipe(self) -> None:
        self._wiping = None
        if self._moving:
            self.wipe()
        else:
            self._begin_move(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def make_room(self) -> None:
        """Move the log into the database at once, as far as that is possible."""
        if not self._moving:
            self._move(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _begin_move(self, mode: int) -> None:
        self._moving = True
        self._threads.submit(self._move, mode).add_done_callback(
            lambda future: self._loop.call_soon_threadsafe(self._moved, mode, future.result())
        )

    def _move(self, mode: int) -> tuple[int, int]:
        try:
            return self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return (self._pages, 0)
        except apsw.Error as error:
            log.warning("the log stays as it is: %s: %s", type(error).__name__, error)
            return (self._pages, 0)

    def _moved(self, mode: int, progress: tuple[int, int]) -> None:
        pages, moved = progress
        if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE and pages:
            self.wipe()  # something still reads or writes it
        if moved == pages:
            self._held_up = 0
        elif self.full:
            self._held_up = pages
        self._moving = False
        self._on_room()
