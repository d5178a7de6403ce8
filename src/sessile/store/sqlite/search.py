"""The full-text index over the embedded store's messages. It follows behind them: what is written
is put into it every few seconds, and before a search.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import apsw

from sessile.store import sql
from sessile.store.base import Hit
from sessile.store.sqlite.transaction import transaction, unavailable
from sessile.wire.messages import decode_message

INDEXED = 50  # messages put into the index in one transaction
BREATH = 0.01  # seconds between two such transactions where nobody waits for them

ReadLong: TypeAlias = Callable[[str, tuple[Any, ...]], Awaitable[list[Any]]]

_Q = sql.queries(__package__)


class SearchIndex:
    """The index in a database; ``read_long`` runs a query beside the loop."""

    def __init__(self, database: apsw.Connection, read_long: ReadLong) -> None:
        self._database = database
        self._execute: Callable[..., Any] = database.execute
        self._read_long = read_long

    async def find(self, words: Sequence[str], limit: int) -> list[Hit]:
        """Messages that have every word, each as a word or its beginning; the best first."""
        await self.catch_up(0)
        phrases = ['"{}"*'.format(word.replace('"', '""')) for word in words]
        found = await self._read_long(_Q["search"], (" ".join(phrases), limit))
        return [_hit(*values) for values in found]

    async def catch_up(self, breath: float = BREATH) -> None:
        """Put into it what is there at this moment."""
        with unavailable():
            until = self._execute(_Q["last_document"]).get
        indexed = 0
        while indexed < until:
            with unavailable():
                indexed = self._take_some() or until
            await asyncio.sleep(breath)  # others wait for the loop

    def _take_some(self) -> int:
        """Index the next messages, in one transaction; the number of the last, 0 if all are."""
        indexed = self._execute(_Q["indexed"]).get or 0
        rows = self._execute(_Q["unindexed"], (indexed, INDEXED)).fetchall()
        if not rows:
            return 0
        with transaction(self._database):
            self._database.executemany(
                _Q["put_text"],
                [(document, decode_message(body).content) for document, body in rows],
            )
        last: int = rows[-1][0]
        return last


def _hit(session: str, title: str, body: bytes, marked: str) -> Hit:
    text = ""
    found: list[tuple[int, int]] = []
    for piece in marked.split("\x02"):
        inside, mark, outside = piece.rpartition("\x03")
        if mark:
            found.append((len(text), len(text) + len(inside)))
        text += inside + outside
    return Hit(session, title, decode_message(body), text, found)
