"""Where a session's events meet those who watch: subscribe first, then read the store.

A watcher is a cursor, the number of the last event it was given, and nothing else: no queue, no
copy. What comes after the cursor is taken from what was published lately, if it is still there,
and from the store if it is not: so a watcher that comes late, comes back or reads slowly is
served in the same way.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from sessile.bus.base import Publication
from sessile.history.catch_up import CatchUp
from sessile.store.base import Head, Store
from sessile.wire.events import DeletedEvent, ResetEvent
from sessile.wire.frames import Frame, Piece, after

RECENT = 256 * 1024  # bytes of events kept in memory for watchers that are a little behind


class Feed:
    """The live end of one session's sequence, on this node, while it has watchers.

    ``watchers`` are all of them. Those that follow one turn are also in ``_followers``, under the
    ids of the turn's messages, and are woken by events about these alone.
    """

    def __init__(self, session: str, store: Store) -> None:
        self.session = session
        self.store = store
        self.watchers: dict[Watcher, None] = {}
        self.recent: list[Piece] = []  # consecutive numbers
        self.head = -1  # the last number published here; -1 before the first
        self.epoch: int | None = None  # the session's life; None where nothing is known of one
        self.published = 0
        self.subscribed = False
        self.subscribing = asyncio.Lock()
        self.unsubscribe: Callable[[], None] = _nothing
        self._former: set[int] = set()  # lives that are over
        self._everything: dict[Watcher, None] = {}
        self._followers: dict[str, dict[Watcher, None]] = {}
        self._behind: set[Watcher] = set()  # those that have not read all that was published
        self._size = 0

    # Watchers -----------------------------------------------------------------------------------

    def add(self, watcher: "Watcher") -> None:
        self.watchers[watcher] = self._everything[watcher] = None

    def follow(self, watcher: "Watcher", messages: Iterable[str]) -> None:
        """Wake a watcher for events about these messages alone."""
        self._everything.pop(watcher, None)
        watcher.follows = tuple(messages)
        for message in watcher.follows:
            self._followers.setdefault(message, {})[watcher] = None

    def remove(self, watcher: "Watcher") -> None:
        self.watchers.pop(watcher, None)
        self._everything.pop(watcher, None)
        self._behind.discard(watcher)
        for message in watcher.follows:
            followers = self._followers.get(message, {})
            followers.pop(watcher, None)
            if not followers:
                self._followers.pop(message, None)

    def caught_up(self, watcher: "Watcher") -> None:
        self._behind.discard(watcher)

    def end(self) -> None:
        """Take nothing more from the bus."""
        unsubscribe, self.unsubscribe = self.unsubscribe, _nothing
        unsubscribe()

    # What comes over the bus --------------------------------------------------------------------

    def receive(self, publication: Publication) -> None:
        """Take what was published; called by the bus."""
        epoch, head, frames = publication
        if epoch and epoch != self.epoch and not self._begins(epoch):
            return
        if not frames[0].seq:
            for watcher in self.watchers:
                watcher.notices.extend(frames)
            self._wake(tuple(self.watchers))
            return
        sizes = [frame.size for frame in frames]
        if not all(sizes):
            self.reach(head)
            return
        self._take(frames, sum(sizes))
        end = frames[-1]
        if isinstance(end, Frame) and end.ends_session:
            self._end_watchers(end)

    def compare(self, head: Head | None) -> None:
        """Take how far the session is in the store: None where it does not exist."""
        if head is None:
            if self.epoch is not None:
                self._end_watchers(self._end())
        elif head.epoch == self.epoch or self._begins(head.epoch):
            self.reach(head.seq)

    def reach(self, seq: int) -> None:
        """Take that the store has events up to a number, some of which did not come here."""
        if seq > self.head:
            self.recent, self._size, self.head = [], 0, seq
            for watcher in self.watchers:
                watcher.synced = False
            self._wake(tuple(self.watchers))

    def after(self, cursor: int) -> list[Piece] | None:
        """The recent events after a number; None if the store must be asked."""
        if cursor == self.head:
            return []
        recent = self.recent
        if not recent or not recent[0].first <= cursor + 1 <= self.head:
            return None
        if recent[0].first == cursor + 1:
            return recent[:]
        return after(recent[bisect_right(recent, cursor, key=_seq) :], cursor)

    def _begins(self, epoch: int) -> bool:
        """Take the session's life; False for one that is over, of which this is late news."""
        if epoch in self._former:
            return False
        if self.epoch is not None:  # its end did not come here
            self._end_watchers(self._end())
        self.epoch = epoch
        return True

    def _end(self) -> Frame:
        """What stands for the end of the session, where its event did not come here."""
        return Frame.of(DeletedEvent(max(self.head, 0) + 1), 0)

    def _end_watchers(self, end: Frame) -> None:
        """The session was deleted: all who have not read so yet must, and the store is empty."""
        late = [watcher for watcher in self.watchers if not 0 < end.seq <= watcher.cursor]
        if self.epoch is not None:
            self._former.add(self.epoch)
        # A session of this id that comes after it counts from 1 again.
        self.recent, self._size, self.head, self.epoch = [], 0, -1, None
        for watcher in late:
            watcher.notices.append(end)
        self._wake(late)

    def _take(self, frames: Sequence[Piece], size: int) -> None:
        last = self.head
        fresh = frames
        if frames[0].first <= last:
            fresh = after(frames, last)
            if not fresh:
                return
            size = sum([frame.size for frame in fresh])
        lost_some = fresh[0].first != last + 1
        if lost_some or not self._behind:
            self.recent, self._size = [], 0
        self.recent.extend(fresh)
        self.head = fresh[-1].seq
        self._size += size
        self.published += size
        if self._size > RECENT:
            self._forget_half()
        if lost_some and last >= 0:
            for watcher in self.watchers:
                watcher.synced = False
            self._wake(tuple(self.watchers))
        else:
            self._wake((*self._everything, *self._concerned(fresh)))

    def _concerned(self, frames: Sequence[Piece]) -> Iterable["Watcher"]:
        """Those who follow a turn that some of the frames are about."""
        if not self._followers:
            return ()
        found: dict[Watcher, None] = {}
        followers: Iterable[Watcher] | None
        for frame in frames:
            about = frame.about
            if about is None:
                followers = self.watchers if frame.ends_session else None
            else:
                followers = self._followers.get(about)
            for watcher in followers or ():
                if watcher.follows and watcher not in found:
                    watcher.skip_to(frame.first)
                    found[watcher] = None
        return found

    def _wake(self, watchers: Iterable["Watcher"]) -> None:
        for watcher in watchers:
            if watcher.listener is not None:
                watcher.listener()
            if watcher.cursor < self.head and not watcher.synced and watcher in self.watchers:
                self._behind.add(watcher)

    def _forget_half(self) -> None:
        drop = 0
        while self._size > RECENT // 2 and drop < len(self.recent) - 1:
            self._size -= self.recent[drop].size
            drop += 1
        del self.recent[:drop]


def _nothing() -> None: ...


def _seq(frame: Piece) -> int:
    return frame.seq


class Watcher:
    """A watcher of a session; made by :meth:`~sessile.watch.feeds.Feeds.watch`.

    ``cursor`` is the number of the last event that :meth:`read` has given. ``listener`` is called
    when there may be something to read. One that ``follows`` the messages of a turn is ``synced``
    when nothing about them stands between its cursor and the feed's head.
    """

    def __init__(self, feed: Feed, cursor: int) -> None:
        self.cursor = cursor
        self.notices: list[Piece] = []
        self.closed = False
        self.follows: tuple[str, ...] = ()
        self.synced = False
        self.listener: Callable[[], None] | None = None
        self._feed = feed
        self._catch_up: CatchUp | None = None

    @property
    def feed(self) -> Feed:
        return self._feed

    @property
    def published(self) -> int:
        """Bytes published in this session since its first watcher came."""
        return self._feed.published

    def follow(self, *messages: str) -> None:
        """Be woken by events about these messages alone; others may come with them."""
        self._feed.follow(self, messages)

    def skip_to(self, seq: int) -> None:
        """Leave out what does not concern the turn that is followed."""
        if self.synced:
            self.cursor = max(self.cursor, seq - 1)
            self.synced = False

    def notify(self) -> None:
        if self.listener is not None:
            self.listener()

    def close(self) -> None:
        """Say that nothing more will come."""
        self.closed = True
        self.notify()

    def recent(self) -> list[Piece] | None:
        """All that comes after the cursor; None if only :meth:`read` can tell."""
        if self.notices or self._catch_up is not None:
            return None
        if self.synced:
            return []
        frames = self._feed.after(self.cursor)
        if frames:
            self.cursor = frames[-1].seq
        if frames is not None:
            self._feed.caught_up(self)
            self.synced = bool(self.follows)
        return frames

    async def read(self) -> list[Piece]:
        """What comes after the cursor, if anything; there may be more after it.

        Where single events are no longer kept it is a reset, and then whole messages.
        """
        if self.notices:
            notices, self.notices = self.notices, []
            return notices
        if self._catch_up is not None:
            frames: list[Piece] = [*await self._catch_up.next()]
            if frames:
                self.cursor = self._catch_up.cursor
                return frames
            self.cursor = self._catch_up.until
            self._catch_up = None
        recent = self.recent()
        if recent is not None:
            return recent
        stored = await self._feed.store.events(self._feed.session, self.cursor)
        if stored is None:
            catch_up = await CatchUp.begin(self._feed.store, self._feed.session, self.cursor)
            self._catch_up = catch_up
            return [Frame.of(ResetEvent(catch_up.until), 0)]
        if stored:
            self.cursor = stored[-1].seq
            if self.cursor >= self._feed.head:
                self._feed.caught_up(self)
        return stored
