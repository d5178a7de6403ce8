"""The full-text index over the embedded store's messages. It follows behind them: what is written
is put into it every few seconds, and before a search.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import apsw

from sessile.store import sql
from sessile.store.base import Hit
from sessile.store.sqlite_transaction import transaction, unavailable
from sessile.types import decode_message

INDEXED = 50  # messages put into the index in one transaction
BREATH = 0.01  # seconds between two such transactions where nobody waits for them

ReadLong: TypeAlias = Callable[[str, tuple[Any, ...]], Awaitable[list[Any]]]

_Q = sql.queries("sqlite.sql")


class SearchIndex:
    """The index in a database; ``read_long`` runs a query beside the loop."""

    def __init__(self, database: apsw.Connection, read_long: ReadLong) -> None:
        self._database = database
        self._execute: Callable[..., Any] = database.execute
        self._read_long = read_long
        self._behind: set[str] | None = None  # sessions with what it does not know; None: not read

    def changed(self, session: str) -> None:
        """A session has messages that the index does not know."""
        if self._behind is not None:
            self._behind.add(session)

    async def find(self, words: Sequence[str], limit: int) -> list[Hit]:
        """Messages that have every word, each as a word or its beginning; the best first."""
        await self.catch_up(0)
        phrases = ['"{}"*'.format(word.replace('"', '""')) for word in words]
        found = await self._read_long(_Q["search"], (" ".join(phrases), limit))
        return [_hit(*values) for values in found]

    async def catch_up(self, breath: float = BREATH) -> None:
        """Put into it what is there at this moment.

        What is written meanwhile waits for the next time: by then there is more of each session,
        and that costs hardly more.
        """
        if self._behind is None:
            self._behind = set()
            unindexed = await self._read_long(_Q["unindexed"], ())
            self._behind.update([session for (session,) in unindexed])
        sessions = sorted(self._behind, reverse=True)  # in their order: neighbours share pages
        while sessions:
            with unavailable():
                done = self._take_some(sessions)
            for _ in done:
                sessions.pop()
            self._behind.difference_update(done)
            await asyncio.sleep(breath)  # others wait for the loop

    def _take_some(self, sessions: list[str]) -> list[str]:
        """Index messages of the last sessions, in one transaction; those that are indexed whole."""
        done: list[str] = []
        room = INDEXED
        with transaction(self._database):
            while room > 0 and len(done) < len(sessions):
                session = sessions[-1 - len(done)]
                count = self._take(session, room)
                if count < room:
                    done.append(session)
                room -= max(count, 1)
        return done

    def _take(self, session: str, most: int) -> int:
        """Index so many messages of a session at the most; how many there were."""
        known = self._execute(_Q["indexed"], (session,)).fetchone()
        if known is None:
            return 0
        rows = self._execute(_Q["changed"], (session, known[0], most)).fetchall()
        for _, _, body in rows:
            message = decode_message(body)
            (document,) = self._execute(_Q["document"], (session, message.id)).fetchone()
            self._execute(_Q["put_text"], (document, message.content))
        if rows:
            self._execute(_Q["put_indexed"], (rows[-1][1], session))
        return len(rows)


def _hit(session: str, title: str, body: bytes, marked: str) -> Hit:
    text = ""
    found: list[tuple[int, int]] = []
    for piece in marked.split("\x02"):
        inside, mark, outside = piece.rpartition("\x03")
        if mark:
            found.append((len(text), len(text) + len(inside)))
        text += inside + outside
    return Hit(session, title, decode_message(body), text, found)
