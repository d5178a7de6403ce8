"""Brings a database up to date, whole or not at all."""

import logging

import apsw

from sessile.store import sql
from sessile.store.sqlite.place import APPLICATION, DatabaseFile
from sessile.store.sqlite.transaction import transaction
from sessile.wire.errors import SettingsError

log = logging.getLogger(__name__)


def migrate(file: DatabaseFile, database: apsw.Connection) -> None:
    """Apply the migrations that a database has not seen.

    Raises :class:`~sessile.wire.errors.SettingsError` where that is not possible.
    """
    scripts = sql.migrations(__package__)
    version = file.check_version(database, len(scripts))
    # Also where nothing is to be done: it shows now, not at the first message, that the
    # file can be written.
    try:
        with transaction(database):
            for number, script in enumerate(scripts[version:], version + 1):
                if version:  # which a large store takes its time for
                    progress = "the store %s is brought up to date: step %d of %d"
                    log.warning(progress, file.given, number, len(scripts))
                database.execute(script)
                database.execute(f"PRAGMA user_version = {number}")
            database.execute(f"PRAGMA application_id = {APPLICATION}")
    except apsw.FullError as error:
        if not version:
            raise
        given = file.given
        sentence = f"the disk has no room to bring the store {given} up to date; it is as it was"
        raise SettingsError(sentence) from error
