"""A copy of a store, made while a server may be writing it.

SQLite's online backup, in one read transaction: it copies the pages of one moment, whatever is
written meanwhile, and no writer waits for it. The log grows until the copy is done. Without that
transaction every commit of the server starts the copy again, and under constant writes it never
ends. VACUUM INTO also copies one moment, but it delays the server's syncs, because it syncs
everything at once, and of a damaged page it says only that there is one (docs/operating.md).
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from sessile.store import sql
from sessile.store.base import Checked
from sessile.store.sqlite.check import Check, refuse_foreign
from sessile.store.sqlite.place import inode_of, leads_to
from sessile.store.sqlite.reading import Changed, reading
from sessile.wire.errors import BackupFailed

STEP = 1_000  # pages that are copied before they are synced
TRIES = 3  # as many servers would have to start during a backup
_Q = sql.queries(__package__)
BESIDE = ("-wal", "-journal")  # SQLite would take these for a part of the copy


def back_up(given: str | Path, to: Path, report: Callable[[str], None]) -> Checked:
    """Copy a store into a new file, which appears when it is whole, checked and on the disk.

    Reports what a check finds wrong with the copy. Raises
    :class:`~sessile.wire.errors.SettingsError` if there is no such store, and
    :class:`~sessile.wire.errors.BackupFailed`: then there is no new file.
    """
    _refuse_existing(to)
    try:
        with _part(to) as (part, file):
            _copy(given, part, file)
            checked = _check(part, report)
            if checked.faults:
                raise BackupFailed(
                    f"the copy of {given} has {checked.faults} faults, which the store probably "
                    "has too; run `sessile check`. No backup was written"
                )
            os.fsync(file)
            _refuse_existing(to)
            part.rename(to)
            _sync_folder(to.parent)
            return checked
    except OSError as error:
        raise BackupFailed(f"cannot write {to}: {error.strerror}") from error


def _refuse_existing(to: Path) -> None:
    if to.is_dir():
        raise BackupFailed(f"{to} is a folder; give the name of a file")
    for path in (to, *(Path(f"{to}{end}") for end in BESIDE)):
        if os.path.lexists(path):
            raise BackupFailed(f"{path} exists already; remove it, or give another name")


@contextmanager
def _part(to: Path) -> Iterator[tuple[Path, int]]:
    """The file that becomes the copy, locked against other backups; nothing is left of it if it
    was not renamed, nor of one that was killed before."""
    part = Path(f"{to}.sessile-part")
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed(f"another backup to {to} is running") from None
        inode = inode_of(os.fstat(file))
        if not leads_to(part, inode):  # the other backup ended at this moment
            raise BackupFailed(f"another backup to {to} was running")
        try:
            _remove_beside(part)
            os.fchmod(file, 0o600)
            os.ftruncate(file, 0)
            yield part, file
        finally:
            _remove_beside(part)
            if leads_to(part, inode):
                part.unlink()
    finally:
        os.close(file)


def _remove_beside(part: Path) -> None:
    for end in (*BESIDE, "-shm"):
        Path(f"{part}{end}").unlink(missing_ok=True)


def _copy(given: str | Path, part: Path, file: int) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            with reading(given) as source:
                refuse_foreign(given, source)
                source.execute(_Q["schema"]).fetchall()  # from here on it is one moment
                _copy_pages(source, part, file)
        except Changed as error:
            if attempt == TRIES:
                raise BackupFailed(str(error)) from error
            os.ftruncate(file, 0)
        except apsw.FullError as error:
            raise BackupFailed(f"cannot write {part}: the disk is full") from error
        except apsw.Error as error:
            raise BackupFailed(f"cannot copy the store {given}: {error}") from error
        else:
            return


def _copy_pages(source: apsw.Connection, part: Path, file: int) -> None:
    target = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # A copy that is cut off is thrown away, and its syncs are ours.
        target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        with target.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(STEP)
                # A server's sync may have to wait for what others have not synced yet: for little.
                os.fdatasync(file)
    finally:
        target.close()
    # One file instead of the server's three: easy to move, and a server turns it into three again.
    target = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        target.execute("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE")
    finally:
        target.close()


def _check(part: Path, report: Callable[[str], None]) -> Checked:
    with reading(part) as copy:
        return Check(copy).run(report)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every file system can
        file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
