"""What a server would find where its store is: for `sessile doctor`. Nothing is changed."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import apsw

from sessile.store import sql
from sessile.store.base import Finding
from sessile.store.sqlite.place import DatabaseFile
from sessile.store.sqlite.reading import reading
from sessile.wire.errors import SettingsError, StoreUnavailable

LITTLE, LOW = 64 * 1024**2, 1024**3  # free bytes on a disk
AHEAD = 60  # seconds that a clock may differ from the one before
FILES = ("", "-wal", "-shm")

# Kinds of file systems, as /proc/self/mountinfo names them.
NETWORK = frozenset(
    ("9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "vboxsf")
)
MEMORY = frozenset({"tmpfs", "ramfs"})

_Q = sql.queries(__package__)


def examine(given: str | Path) -> Iterator[Finding]:
    """What there is to say about the file, its folder and its disk."""
    file = DatabaseFile(given)
    yield Finding("ok", f"SQLite {apsw.sqlite_lib_version()}")
    folder = file.path.parent
    if not folder.is_dir():
        yield Finding("problem", f"the folder {folder} of the store {given} does not exist")
        return
    yield from _of_folder(folder)
    yield from _of_disk(folder)
    yield of_kind(kind_of(folder, _mounts()), folder)
    if not file.path.exists():
        yield Finding("ok", f"the store {file.path} does not exist yet; a server creates it")
        return
    yield from _of_file(file)
    yield from _of_contents(file)


def _of_folder(folder: Path) -> Iterator[Finding]:
    if not os.access(folder, os.W_OK | os.X_OK):
        text = "is not writable: SQLite needs to create files beside the database"
        yield Finding("problem", f"the folder {folder} {text}")
        return
    mode = folder.stat().st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Finding(
            "warning",
            f"other users can write to the folder {folder} (mode {stat.S_IMODE(mode):o}), and so "
            "replace the store",
        )
    else:
        yield Finding("ok", f"the folder {folder} is writable")


def _of_disk(folder: Path) -> Iterator[Finding]:
    disk = os.statvfs(folder)
    if disk.f_flag & os.ST_RDONLY:
        yield Finding("problem", f"the disk of {folder} is read-only")
    yield of_space(disk.f_bavail * disk.f_frsize, folder)


def of_space(free: int, folder: Path) -> Finding:
    """What so many free bytes mean."""
    level, text = "ok", ""
    if free < LITTLE:
        level, text = "problem", ": too little to write a message safely"
    elif free < LOW:
        level, text = "warning", ": it may be full soon"
    size = f"{free / 1024**3:,.1f} GiB" if free >= LOW else f"{free // 1024**2} MiB"
    return Finding(level, f"{size} are free on the disk of {folder}{text}")  # type: ignore[arg-type]


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text()
    except OSError:  # not Linux
        return ""


def kind_of(folder: Path, mounts: str) -> str:
    """The kind of the file system that a folder is on; empty if it is not known.

    ``mounts`` is the text of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)).
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4].encode().decode("unicode_escape")
        if folder.is_relative_to(place) and len(place) >= longest:
            kind, longest = after.split()[0], len(place)
    return kind


def of_kind(kind: str, folder: Path) -> Finding:
    """Whether SQLite can keep its promises on such a file system."""
    if kind in NETWORK:
        text = "of the network: SQLite's log needs a local one, and locks may not hold"
        return Finding("problem", f"{folder} is on a file system ({kind}) {text}")
    if kind.startswith("fuse") and kind != "fuseblk":
        text = "if it is reached over a network, locks may not hold and data may be lost"
        return Finding(
            "warning", f"{folder} is on a file system of another program ({kind}); {text}"
        )
    if kind in MEMORY:
        return Finding(
            "warning", f"{folder} is in memory ({kind}): a restart of the machine loses it"
        )
    if kind == "overlay":
        text = "its data may end with the container; use a volume"
        return Finding("warning", f"{folder} is in the layer of a container ({kind}): {text}")
    return Finding("ok", f"the file system of {folder} is {kind or 'not known'}")


def _of_file(file: DatabaseFile) -> Iterator[Finding]:
    found = file.path.stat()
    if not stat.S_ISREG(found.st_mode):
        yield Finding("problem", f"the store {file.path} is not a file")
        return
    if found.st_nlink > 1:
        text = f"has {found.st_nlink} names (hard links); a server refuses it"
        yield Finding("problem", f"the store {file.path} {text}")
    for path in (Path(f"{file.path}{end}") for end in FILES):
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if not os.access(path, os.R_OK | os.W_OK):
            yield Finding("problem", f"{path} cannot be read and written by this user")
        elif mode & 0o077:
            text = f"can be read or written by other users (mode {mode:o}); use chmod 600"
            yield Finding("warning", f"{path} {text}")
        else:
            yield Finding("ok", f"{path} is for its owner only")


def _of_contents(file: DatabaseFile) -> Iterator[Finding]:
    try:
        taken = file.is_taken()
        with reading(file.path) as database:
            file.check_contents(database)
            known = len(sql.migrations(__package__))
            version = file.check_version(database, known)
            newest = database.execute(_Q["newest_change"]).get if version else 0
    except (SettingsError, StoreUnavailable, apsw.Error, OSError) as error:
        yield Finding("problem", f"the store cannot be read: {error}")
        return
    yield Finding("ok", "a server has the store open" if taken else "no server has the store open")
    if 0 < version < known:
        text = f"schema {version}; a server brings it to schema {known}. Make a backup before"
        yield Finding("warning", f"an older Sessile wrote the store ({text})")
    if newest > time.time() + AHEAD:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(newest))
        yield Finding("warning", f"the newest change of the store is in the future ({when})")
