"""The one door: what a request may reach. No other module of ``http`` names what is behind it.

There is one local caller. Who may do what with which session is decided here and nowhere else.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple

from starlette.requests import Request

from sessile.at_once import at_once
from sessile.bus.base import Bus
from sessile.http.query import check_session_id
from sessile.node.handle import Handle
from sessile.session.values import value_of
from sessile.store.base import Hit, Store
from sessile.watch.feed import Watcher
from sessile.watch.feeds import Feeds
from sessile.wire.errors import ShuttingDown
from sessile.wire.frames import Piece
from sessile.wire.messages import Session, SessionStatus

__all__ = ["Access", "Figures", "Watcher"]


class Figures(NamedTuple):
    """What this process has: sessions in memory, turns that run, watchers. While ``draining`` it
    begins no turns, because it ends. ``unreadable`` counts damaged sessions of the store."""

    awake: int
    running: int
    watchers: int
    draining: bool = False
    unreadable: int = 0


class Access:
    """Turns requests into sessions, watchers and lists.

    ``handle`` makes the handle of a session id, ``figures`` counts.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        feeds: Feeds,
        handle: Callable[[str], Handle],
        figures: Callable[[], Figures],
    ) -> None:
        self._store = store
        self._bus = bus
        self._feeds = feeds
        self._handle = handle
        self.figures = figures

    @property
    def store_id(self) -> str:
        """The id that tells this store from all others."""
        return self._store.id

    def session(self, id: str) -> Handle:
        """The session of that id, whether it exists or not.

        Raises :class:`~sessile.wire.errors.InvalidSessionId`.
        """
        return self._handle(check_session_id(id))

    def of(self, request: Request) -> Handle:
        """The session that a request's path names."""
        return self.session(request.path_params["session_id"])

    # Watching -----------------------------------------------------------------------------------

    async def watch(self, session: Handle) -> Watcher:
        """Begin to watch a session; end it with :meth:`leave`."""
        return await self._feeds.watch(session.id)

    def watch_at_once(self, session: Handle) -> Watcher:
        """As :meth:`watch`; raises :class:`~sessile.at_once.WouldWait` where it has to wait."""
        return at_once(self._feeds.watch(session.id))

    def leave(self, watcher: Watcher) -> None:
        self._feeds.leave(watcher)

    async def head(self, session: Handle) -> tuple[int, SessionStatus]:
        """The number of a session's newest event, and its status; 0 where it does not exist."""
        row = await self._store.row(session.id)
        return (row.seq, value_of(row).status) if row else (0, "idle")

    async def kept(self, session: Handle, after: int) -> Sequence[Piece] | None:
        """The single events after a number; None where some of them are no longer kept."""
        return await self._store.events(session.id, after)

    # Over all sessions --------------------------------------------------------------------------

    async def listed(
        self, limit: int, before: str | None, query: str | None, archived: bool
    ) -> list[str]:
        """The ids of the sessions that the caller may see, by their newest activity.

        Raises :class:`~sessile.wire.errors.SessionNotFound` for an unknown ``before``.
        """
        return await self._store.listed(limit, before, query, archived)

    async def sessions(self, ids: Sequence[str]) -> AsyncGenerator[list[Session], None]:
        """Those sessions, as far as they are still there, in chunks."""
        while ids:
            rows = await self._store.rows(ids)
            yield [value_of(row) for row in rows]
            ids = ids[ids.index(rows[-1].id) + 1 :] if rows.cut else []

    async def search(self, words: Sequence[str], limit: int) -> list[Hit]:
        """The messages that the caller may see and that have all words."""
        return await self._store.search(words, limit)

    async def check(self) -> None:
        """Raise where the server cannot work: it ends, or store or bus does not answer.

        Raises :class:`~sessile.wire.errors.ShuttingDown` or
        :class:`~sessile.wire.errors.StoreUnavailable`.
        """
        if self.figures().draining:
            raise ShuttingDown
        await self._store.check()
        await self._bus.check()
