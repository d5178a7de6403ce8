"""How commits become rows: the statements of one transaction, gathered by kind.

Statements of one kind are executed together, which costs less than one by one. What is rare (a
message that replaces another, a deletion) is executed at once.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import apsw
import msgspec

from sessile.store import sql
from sessile.store.base import Commit, Row
from sessile.store.columns import row_of, values_of
from sessile.store.sqlite.kept import Known
from sessile.store.tail import pack
from sessile.wire.codec import encode
from sessile.wire.errors import Moved
from sessile.wire.messages import Message

_Q = sql.queries(__package__, first=3)

_KINDS = (
    "insert_session",
    "update_session",
    "put_message",
    "put_place",
    "put_running",
    "delete_running",
    "put_draft",
    "delete_draft",
    "put_record",
    "delete_record",
    "put_tail",
)
_DROPS = (
    "drop_texts",
    "drop_messages",
    "drop_places",
    "drop_deletions",
    "drop_session",
    "delete_running",
    "delete_draft",
    "delete_record",
)


class _Written(NamedTuple):
    """A commit whose statements were executed; ``tail`` is the number of its kept events,
    ``drafted`` the event up to which there is then a draft, and ``recorded`` whether there is a
    record."""

    commit: Commit
    known: Known
    tail: int = 0
    drafted: int = 0
    recorded: bool = False


class Tables:
    """The tables of a database, which one process writes.

    ``known`` are the sessions of which it is known in memory what is stored: those that are busy,
    and those with kept events. ``parked`` are the sessions whose turn is parked. With ``sparing``
    the texts of what is deleted stay in the index for search.
    """

    def __init__(self, database: apsw.Connection) -> None:
        self.sparing = False
        self.known: dict[str, Known] = {}
        self._database = database
        self._execute: Callable[..., Any] = database.execute
        self.parked: set[str] = {id for (id,) in self._execute(_Q["parked"])}
        # The newest of these numbers.
        self._session: int = self._execute(_Q["last_session"]).get
        self._activity: int = self._execute(_Q["last_activity"]).get
        self._document: int = self._execute(_Q["last_document"]).get
        self._tail: int = self._execute(_Q["last_tail"]).get
        self._gathered: dict[str, list[tuple[Any, ...]]] = {}
        self._written: list[_Written] = []

    def find(self, session: str) -> Known | None:
        """What is stored of a session; None if it does not exist.

        Raises :class:`~sessile.wire.errors.SessionUnreadable`.
        """
        known = self.known.get(session)
        if known is None:
            found = self._execute(_Q["numbered"], (session,)).fetchone()
            known = found and Known(found[-1], row_of(found[:-1]))
            if known and known.row.running is not None:
                known.drafted, known.recorded = self._execute(
                    _Q["kept_of_turn"], (known.number,)
                ).fetchone()
        return known

    def found(self, session: str) -> Known:
        """What is stored of a session that exists."""
        known = self.find(session)
        assert known is not None
        return known

    def head(self, session: str, stored: int) -> int:
        """The number of a session's newest event; ``stored`` is that of its newest durable one."""
        known = self.known.get(session)
        return stored if known is None else known.row.seq

    def forget(self, sessions: Iterable[str]) -> None:
        """Let what is known of sessions go, if they are not busy and no event is kept."""
        for session in sessions:
            known = self.known.get(session)
            if known is not None and not known.row.busy and not known.events:
                del self.known[session]

    # A transaction ------------------------------------------------------------------------------

    def write(self, commits: Iterable[Commit]) -> None:
        """Execute the statements of commits, each of another session, in an open transaction.

        Raises :class:`~sessile.wire.errors.Moved` for a commit that does not stand on what is
        stored.
        """
        self._written = []
        gathered = self._gathered = {kind: [] for kind in _KINDS}
        for commit in commits:
            self._add(commit)
        for kind, statements in gathered.items():
            if statements:
                self._database.executemany(_Q[kind], statements)

    def committed(self) -> None:
        """Take that the transaction is made."""
        for commit, known, tail, drafted, recorded in self._written:
            running = commit.row.running
            if running is not None and running.parked and not commit.drop:
                self.parked.add(commit.session)
            elif self.parked:
                self.parked.discard(commit.session)
            if commit.drop:
                self.known.pop(commit.session, None)
                continue
            self.known[commit.session] = known
            known.row, known.drafted, known.recorded = commit.row, drafted, recorded
            if tail:
                known.events.add(tail, commit.row.seq)

    def _add(self, commit: Commit) -> None:
        known = self.find(commit.session)
        _check(commit, None if known is None else known.row)
        if commit.drop:
            if known is not None:
                self._drop(known)
                self._written.append(_Written(commit, known))
            return
        if known is None:
            self._session += 1
            known = Known(self._session, commit.row)
            self._put_row(known.number, None, commit.row)
        elif commit.durable:
            self._put_row(known.number, known.row, commit.row)
        for message_id, seq in commit.deleted.items():
            self._remove(known.number, message_id)
            self._execute(_Q["put_deletion"], (known.number, seq, message_id))
        if commit.untrue is not None:
            self._execute(_Q["delete_untrue"], (known.number, commit.untrue))
        for message, body, changed, moved_from, private in commit.messages:
            if moved_from or message.seq <= commit.base:  # else it is new
                private = self._remove(known.number, message.id) or private
            self._put_message(known.number, message, body, changed, private)
        tail = self._put_tail(known.number, commit) if commit.frames else 0
        drafted = known.drafted
        if drafted or commit.draft is not None:
            drafted = self._put_draft(known, commit)
        recorded = known.recorded
        if recorded or commit.record is not None:
            recorded = self._put_record(known, commit)
        self._written.append(_Written(commit, known, tail, drafted, recorded))

    # Rows ---------------------------------------------------------------------------------------

    def _put_row(self, number: int, stored: Row | None, row: Row) -> None:
        """Store a session's row. While a turn runs, what changes with every commit is in a small
        table of its own."""
        gathered = self._gathered
        activity = self._activity = self._activity + 1
        if stored is None:
            gathered["insert_session"].append((number, activity, *values_of(row)))
        elif row.running is None or _differs(stored, row):
            gathered["update_session"].append((number, activity, *values_of(row)))
        if row.running is not None:
            turn = encode(row.running)
            wakes = row.running.expires_at if row.running.parked else None
            gathered["put_running"].append(
                (number, row.seq, row.message_count, row.updated_at, activity, turn, wakes)
            )
        elif stored is not None and stored.running is not None:
            gathered["delete_running"].append((number,))

    def _put_message(
        self, session: int, message: Message, body: bytes, changed: int, private: bytes | None
    ) -> None:
        document = self._document = self._document + 1
        values = message_values(document, session, message, body, changed, private)
        self._gathered["put_message"].append(values)
        self._gathered["put_place"].extend(places(document, session, message.seq, changed))

    def _put_draft(self, known: Known, commit: Commit) -> int:
        """Store the draft of a commit, or delete that of a turn that ends; up to which event there
        is one."""
        if commit.draft is not None:
            self._gathered["put_draft"].append((known.number, *commit.draft))
            return commit.draft.changed
        if not _goes_on(known.row, commit.row):
            self._gathered["delete_draft"].append((known.number,))
            return 0
        return known.drafted

    def _put_record(self, known: Known, commit: Commit) -> bool:
        """Store the record of a commit, or delete that of a turn that ends; whether there is one."""
        if commit.record is not None:
            self._gathered["put_record"].append((known.number, commit.record))
            return True
        if not _goes_on(known.row, commit.row):
            self._gathered["delete_record"].append((known.number,))
            return False
        return known.recorded

    def _put_tail(self, session: int, commit: Commit) -> int:
        number = self._tail = self._tail + 1
        first, last = commit.frames[0].first, commit.frames[-1].seq
        self._gathered["put_tail"].append((number, session, first, last, pack(commit.frames)))
        return number

    def _remove(self, session: int, message_id: str) -> bytes | None:
        """Delete a message, if it is stored, and what is found of its text; what agents have of it."""
        execute = self._execute
        found = execute(_Q["stored_as"], (message_id, session)).fetchone()
        if found is None:
            return None
        document, seq, changed, private = found
        if not self.sparing:
            execute(_Q["delete_text"], (document,))
        execute(_Q["delete_message"], (document,))
        execute(_Q["delete_places"], (session, seq, changed))
        for_agents: bytes | None = private
        return for_agents

    def _drop(self, known: Known) -> None:
        for query in _DROPS[self.sparing :]:
            self._execute(_Q[query], (known.number,))
        self._forget(known.events.until(known.row.seq))

    def trim(self, due: Iterable[tuple[str, int]]) -> None:
        """Forget the events of sessions up to a number, in an open transaction."""
        for session, seq in due:
            if session in self.known:
                self._forget(self.known[session].events.until(seq))

    def trimmed(self, due: Iterable[tuple[str, int]]) -> None:
        """Take that the transaction of a trim is made."""
        for session, seq in due:
            if session in self.known:
                self.known[session].events.forget(seq)

    def _forget(self, numbers: Sequence[int]) -> None:
        self._database.executemany(_Q["trim"], [(number,) for number in numbers])


def _check(commit: Commit, stored: Row | None) -> None:
    """Refuse a commit of a session that another has written since."""
    if stored is None:
        stands = not commit.base and (commit.durable or commit.drop)
    else:
        owners = (commit.stood, commit.row.owner) if commit.durable else (commit.row.owner,)
        stands = stored.seq == commit.base and stored.owner in owners
    if not stands:
        raise Moved(f"Another writer has changed the session {commit.session}.")


def _goes_on(stored: Row, row: Row) -> bool:
    """Whether the turn that ran still runs."""
    former, running = stored.running, row.running
    return former is not None and running is not None and former.answer == running.answer


def _differs(stored: Row, row: Row) -> bool:
    """Whether a row differs in more than what changes with every commit of a turn."""
    return (
        stored.queued != row.queued
        # A change of these makes new ones. What is in them may be changed by an agent.
        or stored.metadata is not row.metadata
        or stored.private is not row.private
        or stored.owner != row.owner
        or stored.held != row.held
        or stored.archived != row.archived
        or stored.title != row.title
    )


def message_values(
    document: int,
    session: int,
    message: Message,
    body: bytes,
    changed: int,
    private: bytes | None = None,
) -> tuple[Any, ...]:
    """The values of a message's row, which has the number ``document``."""
    return (
        document,
        session,
        message.seq,
        message.id,
        changed,
        message.role,
        message.status,
        None if message.reply_to is msgspec.UNSET else message.reply_to,
        body,
        private,
    )


def places(document: int, session: int, seq: int, changed: int) -> list[tuple[int, ...]]:
    """The places of a message: where it stands, and where it was last changed."""
    if seq == changed:
        return [(session, seq, document, 1, 1)]
    return [(session, seq, document, 1, 0), (session, changed, document, 0, 1)]
