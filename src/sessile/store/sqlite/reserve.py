"""A file that takes a little room on the disk, so that sessions can be deleted when it is full.

To delete, a database has to write. When there is no room for that, the reserve gives it its own.
"""

import contextlib
import os
from pathlib import Path

from sessile.store.sqlite.place import DatabaseFile

MOST = 8 * 1024 * 1024  # bytes: as much as a log on a fast disk, and as much again
SHARE = 16  # it takes no more than this part of what is free


class Reserve:
    """The reserve beside a database."""

    def __init__(self, file: DatabaseFile) -> None:
        self._file = file
        self._path = Path(f"{file.path}-reserve")

    def keep(self) -> bool:
        """Have it; True where it was given away, or never was, and is there from now on."""
        if self._path.exists():
            return False
        size = min(MOST, self._file.spare() // SHARE)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(file, 0, size)
        except OSError:  # not every file system can
            self.give()
            return False
        finally:
            os.close(file)
        return True

    def give(self) -> None:
        """Make its room free."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
