"""Whether a store is whole: what SQLite can tell, and what only Sessile knows of its rows.

Everything is read row by row, so a store of any size is checked in little memory.
"""

import contextlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
from msgspec import UNSET

from sessile.store import sql
from sessile.store.base import Checked, Row
from sessile.store.columns import row_of
from sessile.store.sqlite.place import APPLICATION, DatabaseFile
from sessile.store.sqlite.reading import reading
from sessile.store.sqlite.search import as_indexed
from sessile.store.tail import unpack
from sessile.wire.codec import UNREADABLE, decode_json
from sessile.wire.errors import SessionUnreadable
from sessile.wire.frames import singly
from sessile.wire.messages import Message, decode_message
from sessile.wire.parts import ToolCallPart

MOST = 100  # faults of the file itself after which SQLite looks no further
DAMAGED = (SessionUnreadable, *UNREADABLE)
OPEN = ("pending", "running")

_Q = sql.queries(__package__)
_MIGRATIONS = sql.migrations(__package__)


def check(given: str | Path, report: Callable[[str], None]) -> Checked:
    """Check a store and report each fault. It reads only, also while a server runs.

    Raises :class:`~sessile.wire.errors.SettingsError` if the file is not there, or not a store
    that this Sessile knows, and :class:`~sessile.wire.errors.StoreUnavailable` if it could not be
    read to the end.
    """
    with reading(given) as database:
        refuse_foreign(given, database)
        return Check(database).run(report)


def refuse_foreign(given: str | Path, database: apsw.Connection) -> None:
    """Refuse the database of another program or of a newer Sessile."""
    file = DatabaseFile(given)
    with contextlib.suppress(apsw.Error):  # which the check reports
        file.check_contents(database)
        file.check_version(database, len(_MIGRATIONS))


class Check:
    """A check of the store in a connection; afterwards it knows how much the store has.

    ``older`` is the number of a schema that only an older Sessile knows: of such a store, SQLite's
    own checks are made, and not those of the rows.
    """

    def __init__(self, database: apsw.Connection) -> None:
        self.sessions = 0
        self.messages = 0
        self.older = 0
        self._execute: Callable[..., Any] = database.execute

    def run(self, report: Callable[[str], None]) -> Checked:
        """Report each fault, and what was seen."""
        count = 0
        for count, fault in enumerate(self.faults(), 1):  # noqa: B007
            report(fault)
        return Checked(self.sessions, self.messages, count, self.older)

    def faults(self) -> Iterator[str]:
        """What is wrong, a line for each fault."""
        try:
            version = self._execute("PRAGMA user_version").get
            if not version:
                yield "the file is empty: no server has used it"
                return
            self.older = version if version < len(_MIGRATIONS) else 0
            yield from self._of_sqlite()
            if self.older:
                self.sessions = self._execute("SELECT count(*) FROM sessions").get
                self.messages = self._execute("SELECT count(*) FROM messages").get
        except apsw.BusyError:
            raise
        except apsw.Error as error:
            yield f"SQLite cannot read the file: {error}"
            return
        if self.older:
            return
        for look in (self._of_schema, self._of_sessions, self._of_ownerless, self._of_texts):
            try:
                yield from look()
            except apsw.BusyError:
                raise
            except (apsw.Error, *DAMAGED) as error:
                yield f"SQLite cannot read all rows: {error}"

    # The file -----------------------------------------------------------------------------------

    def _of_sqlite(self) -> Iterator[str]:
        for (text,) in self._execute(f"PRAGMA integrity_check({MOST})"):
            if text != "ok":
                yield from (f"SQLite: {line}" for line in text.splitlines() if line)

    def _of_schema(self) -> Iterator[str]:
        application = self._execute("PRAGMA application_id").get
        if application != APPLICATION:
            yield f"the application id is {application}, not {APPLICATION}"
        found = set(self._execute(_Q["schema"]))
        fresh = apsw.Connection(":memory:")
        for script in _MIGRATIONS:
            fresh.execute(script)
        for kind, name in fresh.execute(_Q["schema"]):
            if (kind, name) not in found:
                yield f"the {kind} {name} is missing"
        fresh.close()
        ids = self._execute(_Q["store_ids"]).get
        if ids != 1:
            yield f"the store has {ids} ids, not one"

    # Sessions -----------------------------------------------------------------------------------

    def _of_sessions(self) -> Iterator[str]:
        self._indexed = self._execute(_Q["indexed"]).get or 0
        self._read_tail()
        for *values, number in self._execute(_Q["all_sessions"]):
            self.sessions += 1
            try:
                for fault in self._of_session(row_of(values), number):
                    yield f"session {values[0]}{fault}"
            except DAMAGED as error:
                yield f"session {values[0]}: its row cannot be read: {error.__cause__ or error}"

    def _of_session(self, row: Row, number: int) -> Iterator[str]:
        count = queued = 0
        kept = self._kept.pop(number, array("q"))
        drafted, draft = self._execute(_Q["all_drafts"], (number,)).fetchone() or (0, None)
        if draft is not None and not self._is_readable(draft):
            yield ": the draft of its answer cannot be read"
        record = self._execute(_Q["all_records"], (number,)).get
        if record is not None and not _is_json(record):
            yield ": what its agent keeps with its answer cannot be read"
        if row.running is not None:  # its row is as it was when the turn began
            row.seq = max(row.seq, drafted, *kept[1::2])
        for values in self._execute(_Q["all_messages"], (number,)):
            count += 1
            self.messages += 1
            queued += values[4] == "queued"
            for fault in self._of_message(row, *values):
                yield f", message {values[1]}: {fault}"
        if count != row.message_count:
            yield f": its message count is {row.message_count}, but it has {count} messages"
        if queued != row.queued:
            yield f": {row.queued} messages are counted as queued, but {queued} are"
        for fault in self._of_tail(row, kept, drafted):
            yield f": {fault}"

    def _of_message(
        self,
        row: Row,
        seq: int,
        id: str,
        changed: int,
        role: str,
        status: str,
        reply_to: str | None,
        body: bytes,
        private: bytes | None,
        document: int | None,
        text: str | None,
    ) -> Iterator[str]:
        if not 0 < seq <= changed <= row.seq:
            yield f"its numbers {seq} and {changed} do not fit the session's number {row.seq}"
        try:
            message = decode_message(body)
        except DAMAGED as error:
            yield f"its body cannot be read: {error.__cause__ or error}"
            return
        if private is not None and not _is_json(private):
            yield "what agents have of it cannot be read"
        said = None if message.reply_to is UNSET else message.reply_to
        if (message.seq, message.id, message.role, message.status, said) != (
            seq,
            id,
            role,
            status,
            reply_to,
        ):
            yield "its body and its row differ"
        if row.running is None:
            yield from _unsettled(message)
        if document is None:
            yield "it has no number for the full-text index"
        elif document <= self._indexed and text != as_indexed(message.content):
            where = "is missing in" if text is None else "has another text in"
            yield f"it {where} the full-text index"

    def _is_readable(self, body: bytes) -> bool:
        try:
            decode_message(body)
        except DAMAGED:
            return False
        return True

    def _read_tail(self) -> None:
        """Where the kept events of each session are."""
        self._kept: dict[int, array[int]] = {}
        for number, session, last in self._execute(_Q["all_tails"]):
            self._kept.setdefault(session, array("q")).extend((number, last))

    def _of_tail(self, row: Row, kept: "array[int]", drafted: int) -> Iterator[str]:
        """The kept events: each follows the one before, and the last is the session's newest."""
        runs = row.running is not None and not row.running.parked
        expected = max(row.running.since, drafted) + 1 if row.running and runs else None
        end = None
        for number in kept[::2]:
            first, events, last = self._execute(_Q["all_events"], (number,)).fetchone()
            if expected is not None and (first > expected if end is None else first != expected):
                yield f"its events {expected} to {first - 1} are missing"
            try:
                found = singly(unpack(first, events))
                numbers = [getattr(frame.event, "seq", 0) for frame in found]
            except DAMAGED as error:
                yield f"its events {first} to {last} cannot be read: {error.__cause__ or error}"
            else:
                if numbers != list(range(first, last + 1)):
                    yield f"its events {first} to {last} have other numbers"
            end, expected = last, last + 1
        if end is None and expected is not None and expected <= row.seq:
            yield f"its events {expected} to {row.seq} are missing"
        elif end is not None and end != row.seq:
            yield f"its newest event is {end}, but its number is {row.seq}"

    def _of_ownerless(self) -> Iterator[str]:
        for what, session in self._execute(_Q["ownerless"]):
            yield f"the session of the number {session} does not exist, but has {what}"
        for session, message in self._execute(_Q["misplaced"]):
            yield f"session {session}, message {message}: it is not where it stands in the history"
        for session, seq in self._execute(_Q["empty_places"]):
            yield f"the session of the number {session} has no message at its place {seq}"
        for session, seq, message in self._execute(_Q["deleted_ahead"]):
            yield f"session {session}, message {message}: its deletion {seq} is ahead of the session"

    def _of_texts(self) -> Iterator[str]:
        for (document,) in self._execute(_Q["ownerless_texts"]):
            yield f"the full-text index has the text {document}, which no message has"


def _is_json(data: bytes) -> bool:
    try:
        decode_json(data)
    except UNREADABLE:
        return False
    return True


def _unsettled(message: Message) -> Iterator[str]:
    """What a turn leaves behind only while it runs. A client's own messages are as it sent them."""
    if message.status == "streaming":
        yield "it is being written, but no turn runs"
    if message.reply_to is not UNSET:
        for part in message.parts:
            if isinstance(part, ToolCallPart) and part.state in OPEN:
                yield f"its tool call {part.tool_call_id} is {part.state}, but no turn runs"
