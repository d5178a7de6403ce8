"""The feeds of this node: one for each watched session."""

import asyncio
import logging

from sessile.bus.base import Bus
from sessile.store.base import Store
from sessile.watch.feed import Feed, Watcher
from sessile.wire.errors import SessileError

log = logging.getLogger(__name__)

LOOK = 2.0  # seconds between two comparisons of all heads with the store's
DOUBTED = 0.1  # seconds between two looks at whether the bus may have lost something


class Feeds:
    """Lets clients watch sessions.

    Where the bus may lose events, the heads of all watched sessions are compared with the
    store's, in one query: every two seconds, and soon after the bus doubts.
    """

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._feeds: dict[str, Feed] = {}
        self._closed = False
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._bus.may_lose:
            self._looking = asyncio.create_task(self._look_often(), name="heads of sessions")

    @property
    def watchers(self) -> int:
        """How many watch, over all sessions."""
        return sum(len(feed.watchers) for feed in self._feeds.values())

    async def watch(self, session: str, cursor: int = 0) -> Watcher:
        """Begin to watch; end it with :meth:`leave`.

        What is published after this returns is not missed.
        """
        feed = self._feeds.get(session)
        if feed is None:
            feed = self._feeds[session] = Feed(session, self._store)
        watcher = Watcher(feed, cursor)
        watcher.closed = self._closed
        feed.add(watcher)
        if not feed.subscribed:
            try:
                await self._subscribe(feed)
            except BaseException:
                self.leave(watcher)
                raise
        return watcher

    async def _subscribe(self, feed: Feed) -> None:
        async with feed.subscribing:
            if not feed.subscribed:
                feed.unsubscribe = await self._bus.subscribe(feed.session, feed.receive)
                feed.subscribed = True
                if self._bus.may_lose:
                    heads = await self._store.heads([feed.session])
                    feed.compare(heads[0] if heads else None)

    def leave(self, watcher: Watcher) -> None:
        feed = watcher.feed
        feed.remove(watcher)
        if not feed.watchers and self._feeds.get(feed.session) is feed:
            del self._feeds[feed.session]
            feed.end()

    def close(self) -> None:
        """Let all watchers go: their streams end."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        for feed in self._feeds.values():
            for watcher in tuple(feed.watchers):
                watcher.close()

    async def look(self) -> None:
        """Compare the heads of all watched sessions with the store's."""
        asked = [(feed, feed.epoch) for feed in self._feeds.values()]
        if not asked:
            return
        heads = await self._store.heads([feed.session for feed, _ in asked])
        found = {head.session: head for head in heads}
        for feed, epoch in asked:
            # What began while the store was asked is newer than its answer.
            if self._feeds.get(feed.session) is feed and feed.epoch == epoch:
                feed.compare(found.get(feed.session))

    async def _look_often(self) -> None:
        loop = asyncio.get_running_loop()
        doubts, due = self._bus.doubts, loop.time() + LOOK
        while True:
            await asyncio.sleep(DOUBTED)
            if self._bus.doubts == doubts and loop.time() < due:
                continue
            doubts, due = self._bus.doubts, loop.time() + LOOK
            try:
                await self.look()
            except SessileError as error:
                log.warning("watched sessions are not compared with the store: %s", error)
            except Exception:
                log.exception("watched sessions are not compared with the store")
