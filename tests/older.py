"""A store as an older Sessile left it: of the last schema in which each session's rows lay together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from sessile.store import sql
from sessile.store.tail import pack
from sessile.wire.codec import encode
from sessile.wire.events import DeletedEvent
from sessile.wire.frames import Deltas, Frame, Piece
from sessile.wire.messages import Message, Role
from sessile.wire.parts import TextPart

SCHEMA = 6
EDITED = 3  # every session's first answer was changed by this event after its last


def older_store(path: Path, sessions: int, turns: int) -> None:
    """Sessions with so many turns each, of four events. The first answer of each was edited, its
    second message deleted where there are two turns. In the last session a turn runs, and a
    message waits for the next; it has no other turns."""
    database = apsw.Connection(str(path))
    for step in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF", "BEGIN"):
        database.execute(step).fetchall()
    for script in sql.migrations("sessile.store.sqlite")[:SCHEMA]:
        database.execute(script)
    database.execute(f"PRAGMA user_version = {SCHEMA}")
    documents = iter(range(1, 2**40))
    for number in range(sessions - 1):
        _put_session(database, f"s{number:06}", number, turns, documents)
    _put_running(database, "running", sessions, documents)
    database.execute("COMMIT")
    database.close()


def messages_of(session: str, turns: int) -> Iterator[tuple[Message, int]]:
    """The messages of a session of :func:`older_store`, each with its last change."""
    head = 4 * turns
    for turn in range(turns):
        seq = 4 * turn + 1
        question, answer = f"{session}-q{turn}", f"{session}-a{turn}"
        if turn == 1:
            continue  # deleted, with its answer
        yield _message(question, "user", f"question {turn} of {session}", seq), seq
        changed = head + EDITED if turn == 0 else seq + 3
        text = f"answer {turn} of {session} " + "and some more words of it " * 8
        yield _message(answer, "assistant", text, seq + 2, question), changed


def _put_session(
    database: apsw.Connection, id: str, number: int, turns: int, documents: Iterator[int]
) -> None:
    head = 4 * turns + EDITED
    stored = list(messages_of(id, turns))
    _put_row(database, id, head, len(stored), number, None, 0)
    for message, changed in stored:
        _put_message(database, id, message, changed, next(documents))
    if turns > 1:
        for seq, gone in ((4 * turns + 1, "q1"), (4 * turns + 2, "a1")):
            database.execute("INSERT INTO deletions VALUES (?, ?, ?)", (id, seq, f"{id}-{gone}"))


def _put_running(database: apsw.Connection, id: str, number: int, documents: Iterator[int]) -> None:
    turn = {"question": "q", "answer": "a", "since": 2, "startedAt": 1}
    _put_row(database, id, 6, 2, number, encode(turn), 1)
    asked, waiting = _message("q", "user", "asked", 1), _message("w", "user", "waits", 5)
    waiting.status = "queued"
    for message in (asked, waiting):
        _put_message(database, id, message, message.seq, next(documents))
    said: list[list[Piece]] = [
        [Frame.of_message(asked, encode(asked), 1), Frame.of(DeletedEvent(2, "old"), 2)],
        [Deltas(3, "a", 0, "text", 0, ["half ", "said"])],
        [Frame.of_message(waiting, encode(waiting), 5), Frame.of(DeletedEvent(6, "older"), 6)],
    ]
    for frames in said:
        row = (id, frames[-1].seq, frames[0].first, pack(frames))
        database.execute("INSERT INTO tail VALUES (?, ?, ?, ?)", row)


def _put_row(
    database: apsw.Connection,
    id: str,
    seq: int,
    messages: int,
    activity: int,
    running: bytes | None,
    queued: int,
) -> None:
    row: tuple[Any, ...]
    row = (id, f"Title of {id}", seq, messages, queued, 1, 1, activity, 0, b'{"a":1}', running)
    database.execute(
        f"INSERT INTO sessions VALUES ({', '.join('?' * 15)})", (*row, b'{"b":2}', 7, 0, 0)
    )


def _put_message(
    database: apsw.Connection, session: str, message: Message, changed: int, document: int
) -> None:
    reply = message.reply_to if isinstance(message.reply_to, str) else None
    row: tuple[Any, ...]
    row = (session, message.seq, message.id, changed, message.role, message.status, reply)
    values = (*row, encode(message), document)
    database.execute(f"INSERT INTO messages VALUES ({', '.join('?' * 9)})", values)


def _message(id: str, role: Role, text: str, seq: int, reply_to: str | None = None) -> Message:
    message = Message(id, role, text, [TextPart(text)], 1, seq, "complete")
    if reply_to is not None:
        message.reply_to = reply_to
    return message
