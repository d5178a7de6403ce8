"""The file of a database: whether it may be used, and the lock that keeps other servers out.

The lock is on the file itself. So a second server is refused by whatever name it opens the file:
through a symbolic link or on another mount.
"""

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import TypeAlias

import apsw

from sessile.wire.errors import SettingsError

APPLICATION = 0x5E551E  # SQLite's application_id of the databases of Sessile
_TABLES = {"sessions", "messages", "tail"}  # of a database that has no such id yet

# A lock of the open file (Linux), on one byte that SQLite's own locks, from byte 2^30 on, do not
# touch. The fields are type, whence, start, length and process.
_LOCK = getattr(fcntl, "F_OFD_SETLK", None)
_LAYOUT = "hhqqi4x"
_FIELDS = struct.pack(_LAYOUT, fcntl.F_WRLCK, os.SEEK_SET, APPLICATION, 1, 0)

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

Inode: TypeAlias = tuple[int, int]  # device and number

# The files that are locked in this process. Such a file is not even opened
# again: closing it would take away the locks that SQLite has on it in this process.
_LOCKED: set[Inode] = set()


class DatabaseFile:
    """A database's file. ``given`` is its name as the user wrote it, ``path`` where it is, with
    all symbolic links followed."""

    def __init__(self, given: str | Path) -> None:
        self.given = Path(given)
        self.path = Path(os.path.realpath(given))
        self._open: list[int] = []
        self._inode: Inode | None = None
        self._created = False

    def take(self) -> None:
        """Lock the file; a new one is created, for its owner only.

        Raises :class:`~sessile.wire.errors.SettingsError` if it cannot be used.
        """
        try:
            self._take()
        except BaseException as error:
            self.release(discard=True)
            if isinstance(error, OSError):
                raise self._refusal(error) from error
            raise

    def _take(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if inode_of(os.stat(self.path)) in _LOCKED:
                raise BlockingIOError
        self._created = not os.path.lexists(self.path)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._open.append(file)
        found = os.fstat(file)
        names = found.st_nlink
        if names > 1:
            raise SettingsError(
                f"the store {self.given} has {names} names (hard links), and SQLite keeps recent "
                "writes beside the name it knows; leave one of them"
            )
        if _LOCK is not None:
            fcntl.fcntl(file, _LOCK, _FIELDS)
        else:
            beside = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._open.append(beside)
            fcntl.flock(beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._inode = inode_of(found)
        _LOCKED.add(self._inode)

    def _refusal(self, error: OSError) -> SettingsError:
        if isinstance(error, BlockingIOError):
            return SettingsError(f"the store {self.given} is in use by another server")
        if isinstance(error, IsADirectoryError):
            return SettingsError(f"cannot use the store {self.given}: it is a folder")
        if error.errno in _NO_LOCKS:
            return SettingsError(
                f"cannot lock the store {self.given}: its file system has no locks "
                f"({error.strerror}); put it on a local disk"
            )
        return SettingsError(f"cannot write the store {self.given}: {error.strerror}")

    def is_taken(self) -> bool:
        """Whether a server has the file open. This takes no lock.

        No connection of this process may be open on the file: to close it here takes away SQLite's
        own locks. Raises OSError where the file cannot be read.
        """
        if inode_of(os.stat(self.path)) in _LOCKED:
            return True
        locked = str(self.path) if _LOCK is not None else f"{self.path}-lock"
        if not os.path.exists(locked):
            return False
        file = os.open(locked, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _LOCK is not None:
                found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _FIELDS)
                return bool(struct.unpack(_LAYOUT, found)[0] != fcntl.F_UNLCK)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def release(self, discard: bool = False) -> None:
        """Give the lock back, after the last connection was closed: to close the file here takes
        away SQLite's own locks on it. With ``discard`` a file that :meth:`take` created is deleted,
        with what SQLite put beside it."""
        if discard and self._created:
            for end in ("", "-wal", "-shm", "-journal", "-lock"):
                with contextlib.suppress(OSError):
                    os.unlink(f"{self.path}{end}")
        while self._open:
            os.close(self._open.pop())
        if self._inode is not None:
            _LOCKED.discard(self._inode)
            self._inode = None

    def check_contents(self, database: apsw.Connection) -> None:
        """Refuse the database of another program."""
        application = database.execute("PRAGMA application_id").get
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
        is_ours = application == APPLICATION or (not application and tables >= _TABLES)
        is_new = not (application or tables)
        if not (is_ours or is_new):
            raise SettingsError(f"the store {self.given} is the database of another program")

    def check_version(self, database: apsw.Connection, known: int) -> int:
        """The number of the database's schema; refuses one that a newer Sessile wrote."""
        version: int = database.execute("PRAGMA user_version").get
        if version > known:
            raise SettingsError(
                f"the store {self.given} was written by a newer Sessile "
                f"(schema {version}, this one knows {known})"
            )
        return version

    def spare(self) -> int:
        """Bytes that are free on the file's disk."""
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize

    def is_in_place(self) -> bool:
        """Whether the name still leads to this file."""
        return leads_to(self.path, self._inode)


def inode_of(found: os.stat_result) -> Inode:
    return found.st_dev, found.st_ino


def leads_to(path: str | Path, inode: Inode | None) -> bool:
    """Whether a name leads to this file, which is open: so no other can have its inode."""
    try:
        return inode_of(os.stat(path)) == inode
    except OSError:
        return False
