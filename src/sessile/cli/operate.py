"""``sessile backup`` and ``sessile check``: care for a store, also while a server runs."""

import sys
from pathlib import Path
from typing import Any

from sessile.cli.given import store_of
from sessile.cli.plain import clean
from sessile.redact import without_password
from sessile.store.base import Checked
from sessile.wiring import back_up_store, check_store


def backup(given: dict[str, Any]) -> int:
    """Copy the store into a new file.

    Raises :class:`~sessile.wire.errors.BackupFailed` and
    :class:`~sessile.wire.errors.StoreUnavailable`; then there is none.
    """
    to = Path(given.pop("to"))
    checked = back_up_store(store_of(given), to, lambda fault: print(clean(fault), file=sys.stderr))
    size = to.stat().st_size
    print(f"{to}: {_size(size)}, {_contents(checked)}{_limits(checked)}")
    return 0


def check(given: dict[str, Any]) -> int:
    """Print a line for each fault of the store, and one at the end; return 1 if it has faults.

    Raises :class:`~sessile.wire.errors.StoreUnavailable`.
    """
    url = store_of(given)
    checked = check_store(url, lambda fault: print(clean(fault)))
    faults = _count(checked.faults, "fault") if checked.faults else "no faults"
    print(f"{without_password(url)}: {faults} in {_contents(checked)}{_limits(checked)}")
    return 1 if checked.faults else 0


def _contents(checked: Checked) -> str:
    return f"{_count(checked.sessions, 'session')}, {_count(checked.messages, 'message')}"


def _limits(checked: Checked) -> str:
    """What was not checked."""
    if not checked.older:
        return ""
    return (
        f"; only the file was checked: an older Sessile wrote it (schema {checked.older}), "
        "and a server brings it up to date"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def _size(size: int) -> str:
    amount, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
