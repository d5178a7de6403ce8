"""Where a session's events meet those who watch: subscribe first, then read the store.

Everybody who watches has a cursor, the number of the last event they were given, and nothing
else: no queue, no copy. What comes after the cursor is taken from what was published lately, if
it is still there, and from the store if it is not: so whoever comes late, comes back or reads
slowly is served in the same way.
"""

from collections.abc import Callable, Sequence
from heapq import merge

from msgspec import UNSET

from sessile.bus.base import Bus
from sessile.store.base import Body, Row, Store
from sessile.wire.codec import encode
from sessile.wire.events import DeletedEvent, ResetEvent
from sessile.wire.fold import Answer, GapError, fold_answer
from sessile.wire.frames import Frame
from sessile.wire.messages import decode_message

CHUNK = 200  # messages read at once where a client gets whole messages
RECENT = 256 * 1024  # bytes of events kept in memory for those who are a little behind


class Feed:
    """The live end of one session's sequence, on this node, while anybody watches it."""

    def __init__(self, session: str, store: Store) -> None:
        self.session = session
        self.store = store
        self.watchers: set[Watcher] = set()
        self.recent: list[Frame] = []  # consecutive numbers
        self.head = -1  # the last number published here; -1 before the first
        self.published = 0
        self._size = 0
        self.unsubscribe: Callable[[], None] = _nothing

    def receive(self, frames: Sequence[Frame]) -> None:
        """Take what was published; called by the bus."""
        if not frames[0].seq:
            for watcher in self.watchers:
                watcher.notices.extend(frames)
        else:
            self._remember(frames)
        for watcher in tuple(self.watchers):
            watcher.notify()
        if is_end(frames[-1]):
            # A session of this id that comes after it counts from 1 again.
            self.recent, self._size, self.head = [], 0, -1

    def after(self, cursor: int) -> list[Frame] | None:
        """The recent events after a number; None if the store must be asked."""
        if cursor == self.head:
            return []
        if not self.recent or not self.recent[0].seq <= cursor + 1 <= self.head:
            return None
        return self.recent[cursor + 1 - self.recent[0].seq :]

    def _remember(self, frames: Sequence[Frame]) -> None:
        last = self.head
        fresh = frames if frames[0].seq > last else [f for f in frames if f.seq > last]
        if not fresh:
            return
        lost_some = fresh[0].seq != last + 1
        if lost_some or all(watcher.cursor >= last for watcher in self.watchers):
            self.recent, self._size = [], 0
        self.recent.extend(fresh)
        self.head = fresh[-1].seq
        size = sum([len(frame.data) for frame in fresh])
        self._size += size
        self.published += size
        if self._size > RECENT:
            self._forget_half()

    def _forget_half(self) -> None:
        drop = 0
        while self._size > RECENT // 2 and drop < len(self.recent) - 1:
            self._size -= len(self.recent[drop].data)
            drop += 1
        del self.recent[:drop]


def _nothing() -> None: ...


def is_end(frame: Frame) -> bool:
    """Whether an event says that the session was deleted."""
    if not frame.data.startswith(b'{"type":"deleted"'):
        return False
    event = frame.event
    return isinstance(event, DeletedEvent) and event.message_id is UNSET


class Watcher:
    """Somebody who watches a session; made by :meth:`Feeds.watch`.

    ``cursor`` is the number of the last event that :meth:`read` has given. ``listener`` is called
    when there may be something to read.
    """

    def __init__(self, feed: Feed, cursor: int) -> None:
        self.cursor = cursor
        self.notices: list[Frame] = []
        self.closed = False
        self.listener: Callable[[], None] | None = None
        self._feed = feed
        self._reset: _Reset | None = None

    @property
    def published(self) -> int:
        """Bytes published in this session since somebody began to watch it."""
        return self._feed.published

    def notify(self) -> None:
        if self.listener is not None:
            self.listener()

    def close(self) -> None:
        """Tell the listener that nothing more will come."""
        self.closed = True
        self.notify()

    def recent(self) -> list[Frame] | None:
        """All that comes after the cursor; None if only :meth:`read` can tell."""
        if self.notices or self._reset is not None:
            return None
        frames = self._feed.after(self.cursor)
        if frames:
            self.cursor = frames[-1].seq
        return frames

    async def read(self) -> list[Frame]:
        """What comes after the cursor, if anything; there may be more after it.

        Where single events are no longer kept it is a reset, and then whole messages.
        """
        if self.notices:
            notices, self.notices = self.notices, []
            return notices
        if self._reset is not None:
            frames = await self._reset.next()
            if frames:
                self.cursor = self._reset.cursor
                return frames
            self.cursor = self._reset.until
            self._reset = None
        recent = self.recent()
        if recent is not None:
            return recent
        stored = await self._feed.store.events(self._feed.session, self.cursor)
        if stored is None:
            self._reset = await _Reset.begin(self._feed, self.cursor)
            return [Frame.of(ResetEvent(self._reset.until), 0)]
        if stored:
            self.cursor = stored[-1].seq
        return stored


class _Reset:
    """What a watcher gets where single events are gone: the newest state of all that changed.

    Like a log that was compacted: of each message its last change, in the order of these
    changes, so that a client which is cut off in the middle goes on from the last one it saw.
    """

    def __init__(self, feed: Feed, after: int, until: int, others: list[Frame]) -> None:
        self.until = until
        self.cursor = after
        self._feed = feed
        self._after = after
        self._ended = False
        self._others = others

    @classmethod
    async def begin(cls, feed: Feed, cursor: int) -> "_Reset":
        row = await feed.store.row(feed.session)
        until = row.seq if row else 0
        # A number that was never given belongs to a session of that id that was deleted.
        after = cursor if cursor <= until else 0
        gone = [
            Frame.of(DeletedEvent(seq, message), seq)
            for seq, message in await feed.store.deleted(feed.session, after)
            if seq <= until
        ]
        others = list(merge(gone, await _being_written(feed, row, until), key=_seq))
        return cls(feed, after, until, others)

    async def next(self) -> list[Frame]:
        """The next chunk, or nothing at the end."""
        frames: list[Frame] = []
        while not (frames or self._ended):
            found = await self._feed.store.changed(self._feed.session, CHUNK, self._after)
            self._ended = len(found) < CHUNK
            edge = self.until if self._ended else min(found[-1].changed, self.until)
            changed = [_whole(body, body.changed) for body in found if body.changed <= self.until]
            others = [frame for frame in self._others if self.cursor < frame.seq <= edge]
            frames = list(merge(changed, others, key=_seq))
            if frames:
                self.cursor = frames[-1].seq
            frames += self._changed_since(found)
            if found:
                self._after = found[-1].changed
        return frames

    def _changed_since(self, found: list[Body]) -> list[Frame]:
        """Messages that were there at the reset and have changed since, as they have become.

        What changed them follows, event by event, and needs the message it changes. They have no
        number of their own: a client that is cut off here gets them again.
        """
        late = [body for body in found if body.seq <= self.until < body.changed]
        frames = [_whole(body, self.cursor) for body in late]
        for frame in frames:
            frame.seq = 0
        return frames


def _whole(body: Body, seq: int) -> Frame:
    return Frame.of_message(decode_message(body.body), body.body, seq)


def _seq(frame: Frame) -> int:
    return frame.seq


async def _being_written(feed: Feed, row: Row | None, until: int) -> list[Frame]:
    if row is None or row.running is None:
        return []
    running = row.running
    answer = Answer(running.answer, running.question, running.started_at)
    frames = await feed.store.events(feed.session, running.since) or []
    try:
        fold_answer(answer, (frame for frame in frames if frame.seq <= until))
    except GapError:
        return []
    if not answer.seq:
        return []
    message = answer.message()
    return [Frame.of_message(message, encode(message), answer.changed)]


class Feeds:
    """The feeds of this node: one for each session that somebody watches."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._feeds: dict[str, Feed] = {}
        self._closed = False

    @property
    def watchers(self) -> int:
        """How many watch, over all sessions."""
        return sum(len(feed.watchers) for feed in self._feeds.values())

    def watch(self, session: str, cursor: int = 0) -> Watcher:
        """Begin to watch; end it with :meth:`leave`."""
        feed = self._feeds.get(session)
        if feed is None:
            feed = self._feeds[session] = Feed(session, self._store)
            feed.unsubscribe = self._bus.subscribe(session, feed.receive)
        watcher = Watcher(feed, cursor)
        watcher.closed = self._closed
        feed.watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        feed = watcher._feed
        feed.watchers.discard(watcher)
        if not feed.watchers and self._feeds.get(feed.session) is feed:
            del self._feeds[feed.session]
            unsubscribe, feed.unsubscribe = feed.unsubscribe, _nothing
            unsubscribe()

    def close(self) -> None:
        """Let everybody go: their streams end."""
        self._closed = True
        for feed in self._feeds.values():
            for watcher in feed.watchers:
                watcher.close()
