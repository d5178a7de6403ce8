"""The full-text index over the embedded store's messages. It follows behind them: what is written
is put into it every few seconds, and before a search.

The index knows words by the spaces between them. Chinese, Japanese, Thai and a few other scripts
have none, and Korean puts particles and words together: there every character is indexed as a word,
and what is searched for is a phrase of them.
"""

import asyncio
import logging
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import apsw

from sessile.store import sql
from sessile.store.base import Hit
from sessile.store.sqlite.transaction import read_some, transaction, unavailable, when_free
from sessile.wire.errors import SearchTooSlow, SessionUnreadable
from sessile.wire.messages import Message, decode_message

log = logging.getLogger(__name__)

INDEXED = 50  # messages put into the index in one transaction
BREATH = 0.01  # seconds between two such transactions where nobody waits for them
PATIENCE = 1.0  # seconds that a search may take, and may wait for others

# Scripts without spaces between words: Thai to Tibetan, Burmese, Khmer, kana, Han; and Hangul.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff"
    "\u3130-\u318f\uac00-\ud7af"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_one_unspaced = re.compile(f"([{_UNSPACED}])")
_ends_unspaced = re.compile(f"[{_UNSPACED}]$")
_BETWEEN = "\u200b"  # a space without width, which the index takes for one

_Q = sql.queries(__package__)


class SearchIndex:
    """The index in a database; ``reader`` is a connection of its own for searches, which run
    beside the loop, one at a time."""

    def __init__(self, database: apsw.Connection, reader: apsw.Connection) -> None:
        self._database = database
        self._reader = reader
        self._searching = asyncio.Lock()
        self._execute: Callable[..., Any] = database.execute

    async def close(self) -> None:
        async with self._searching:
            self._reader.close()

    async def find(self, words: Sequence[str], limit: int) -> list[Hit]:
        """Messages that have every word, each as a word or its beginning; the best first.

        Raises :class:`~sessile.wire.errors.SearchTooSlow`.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self.catch_up(0)
                await self._searching.acquire()
        except TimeoutError:
            raise SearchTooSlow("Other searches and new messages come first. Try again.") from None
        timer = asyncio.get_running_loop().call_later(PATIENCE, self._reader.interrupt)
        try:
            phrases = " ".join(map(_phrase, words))
            with unavailable():
                return await asyncio.to_thread(self._find, phrases, limit)
        except apsw.InterruptError:
            raise SearchTooSlow from None
        finally:
            timer.cancel()
            self._searching.release()

    def _find(self, phrases: str, limit: int) -> list[Hit]:
        return [
            _hit(session, title, message, marked)
            for session, title, marked, body in read_some(
                self._reader.execute(_Q["search"], (phrases, limit))
            )
            if (message := _readable(body)) is not None
        ]

    async def catch_up(self, breath: float = BREATH) -> None:
        """Put into it what is there at this moment."""
        with unavailable():
            until = self._execute(_Q["last_document"]).get
        indexed = 0
        while indexed < until:
            indexed = await when_free(self._take_some) or until
            await asyncio.sleep(breath)  # others wait for the loop

    def _take_some(self) -> int:
        """Index the next messages, in one transaction; the number of the last, 0 if all are."""
        indexed: int = self._execute(_Q["indexed"]).get or 0
        rows = read_some(self._execute(_Q["unindexed"], (indexed, INDEXED)))
        if not rows:
            return 0
        messages = [(document, _readable(body)) for document, body in rows]
        texts = [(number, as_indexed(m.content) if m else "") for number, m in messages]
        with transaction(self._database):
            self._database.executemany(_Q["put_text"], texts)
        last: int = texts[-1][0]
        return last


def _readable(body: bytes) -> Message | None:
    try:
        return decode_message(body)
    except SessionUnreadable as error:
        log.error("a message cannot be read, and is not found by a search: %s", error.__cause__)
        return None


def as_indexed(text: str) -> str:
    """A text as the index has it: every character of an unspaced script is a word."""
    if text.isascii():
        return text
    return _one_unspaced.sub(rf"{_BETWEEN}\1{_BETWEEN}", unicodedata.normalize("NFC", text))


def _phrase(word: str) -> str:
    """What finds a word, or text inside an unspaced script, in the language of FTS5."""
    whole = '"{}"'.format(as_indexed(word).replace('"', '""'))
    return whole if _ends_unspaced.search(unicodedata.normalize("NFC", word)) else f"{whole}*"


def _hit(session: str, title: str, message: Message, marked: str) -> Hit:
    text = ""
    found: list[tuple[int, int]] = []
    for piece in marked.replace(_BETWEEN, "").split("\x02"):
        inside, mark, outside = piece.rpartition("\x03")
        if mark:
            found.append((len(text), len(text) + len(inside)))
        text += inside + outside
    return Hit(session, title, message, text, found)
