"""What a session writes: changes to its row, events and messages, in order, and their commits.

What is written while the store is busy gathers in one open change, which the store takes whole.
After its commit its events are published, and then those who waited for it are told.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from sessile.bus.base import Bus
from sessile.store.base import Change, Row, Store, StoredMessage
from sessile.wire.codec import encode
from sessile.wire.errors import StoreUnavailable
from sessile.wire.events import DeletedEvent, DeltaEvent, ErrorEvent, Event, PartEvent, SessionEvent
from sessile.wire.frames import Frame
from sessile.wire.ids import now
from sessile.wire.messages import Message, Metadata, Session, SessionStatus, merged

Outcome: TypeAlias = Callable[[Exception | None], None]

TITLE_LENGTH = 80  # characters


class Journal:
    """The pen of one session: whoever holds it is its only writer.

    ``row`` is the session as it will be when everything written so far is stored. ``broken`` means
    that a commit failed, or that the session was deleted: nothing can be written any more.
    ``on_done`` is called after each commit or failure, when all else has been told.
    """

    def __init__(self, row: Row, store: Store, bus: Bus, on_done: Callable[[], None]) -> None:
        self.row = row
        self.broken = False
        self._store = store
        self._bus = bus
        self._on_done = on_done
        self._pending: deque[tuple[Change, list[Outcome]]] = deque()

    @property
    def pending(self) -> bool:
        """Something written is not stored yet."""
        return bool(self._pending)

    @property
    def next_seq(self) -> int:
        """The number that the next event will have."""
        return self.row.seq + 1

    def change(self, durable: bool = True) -> Change:
        """The change that what happens now belongs to: the one that waits, or a new one."""
        if self.broken:
            raise StoreUnavailable
        if self._pending and not self._pending[-1][0].taken:
            change = self._pending[-1][0]
        else:
            if not self.row.created_at:
                self.row.created_at = self.row.updated_at = now()
            change = Change(self.row, self._done)
            self._pending.append((change, []))
            self._store.write(change)
        if durable:
            change.durable = True
        return change

    def record(self, event: Event) -> None:
        """Write an event that has the next number."""
        self._append(self.change(), Frame.of(event, self.next_seq))

    def extend(self, event: DeltaEvent | PartEvent) -> None:
        """Write an event of the running turn, which gets the next number."""
        change = self.change(durable=False)
        event.seq = self.next_seq
        self._append(change, Frame.of(event, event.seq))

    def put_new(self, message: Message) -> None:
        """Write a message that has the next number, and its event."""
        self.settle(message)
        if not self.row.title:
            self.row.title = title_of(message)

    def settle(self, message: Message) -> None:
        """Write a whole message and its event, whatever number the message has."""
        body, seq = encode(message), self.next_seq
        change = self.change()
        self._append(change, Frame.of_message(message, body, seq))
        change.messages[message.id] = StoredMessage(message, body, seq)
        self.row.message_count += 1
        self.touch()

    def show(self, message: Message) -> None:
        """Write the event of a message that is not stored as such: of an answer in the making."""
        self._append(self.change(), Frame.of_message(message, encode(message), self.next_seq))

    def put(self, message: Message, event: Event) -> None:
        """Write what a message has become, and the event that tells it."""
        change = self.change()
        change.messages[message.id] = StoredMessage(message, encode(message), self.next_seq)
        self.record(event)
        self.touch()

    def adopt(self, message: Message) -> None:
        """Write a message that has the next number, without an event."""
        change = self.change()
        change.messages[message.id] = StoredMessage(message, encode(message), message.seq)
        self.row.seq = message.seq
        self.row.message_count += 1
        if not self.row.title:
            self.row.title = title_of(message)

    def delete(self, messages: Iterable[Message]) -> set[str]:
        """Delete messages; their ids."""
        gone = set()
        for message in messages:
            change, seq = self.change(), self.next_seq
            self.record(DeletedEvent(seq, message.id))
            change.messages.pop(message.id, None)
            change.deleted[message.id] = seq
            self.row.message_count -= 1
            gone.add(message.id)
        self.touch()
        return gone

    def merge(self, metadata: Metadata) -> None:
        """Merge into the session's metadata; None removes a name."""
        self.change()
        self.row.metadata = merged(self.row.metadata, metadata)

    def put_session(self) -> None:
        """Write that the session itself changed."""
        self.change()
        self.touch()
        seq = self.next_seq
        value = value_of(self.row)
        value.seq = seq
        self.record(SessionEvent(seq, value))

    def drop(self) -> None:
        """Delete the session; nothing can be written after it."""
        self.change().drop = True
        self.record(DeletedEvent(self.next_seq))
        self.broken = True

    def touch(self) -> None:
        self.row.updated_at = now()

    def then(self, outcome: Outcome) -> None:
        """Do something right after the commit of everything so far, and its publication."""
        self._pending[-1][1].append(outcome)

    async def stored(self) -> None:
        """Wait for the commit of everything so far; raises if it fails or failed."""
        if not self._pending:
            if self.broken:
                raise StoreUnavailable
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.then(tell)
        await future

    async def recorded(self) -> None:
        """Wait for the commit of what is not stored yet, if there is anything."""
        if self._pending:
            await self.stored()

    async def find(self, message_id: str) -> Message | None:
        """A message as everything written so far makes it."""
        for change, _ in reversed(self._pending):
            if message_id in change.messages:
                return change.messages[message_id].message
            if message_id in change.deleted:
                return None
        return await self._store.message(self.row.id, message_id)

    def tell_watchers(self, frame: Frame) -> None:
        """Publish something that is not part of the sequence."""
        self._bus.publish(self.row.id, [frame])

    def _append(self, change: Change, frame: Frame) -> None:
        self.row.seq = frame.seq
        change.frames.append(frame)

    def _done(self, change: Change, error: Exception | None) -> None:
        _, outcomes = self._pending.popleft()
        if error is not None:
            self._break(error)
        elif change.frames:
            self._bus.publish(self.row.id, change.frames)
        for outcome in outcomes:
            outcome(error)
        self._on_done()

    def _break(self, error: Exception) -> None:
        if not self.broken:
            self.broken = True
            notice = ErrorEvent(str(error), getattr(error, "code", "internal_error"))
            self.tell_watchers(Frame.of(notice, 0))


def value_of(row: Row) -> Session:
    """A stored session as its clients see it."""
    status: SessionStatus = "running" if row.running else "queued" if row.queued else "idle"
    return Session(
        row.id,
        row.title,
        status,
        row.message_count,
        row.created_at,
        row.updated_at,
        row.archived,
        row.metadata,
        row.seq,
    )


def title_of(message: Message) -> str:
    """A session's title: the first line of its first message, cut at a word."""
    line = next((line.strip() for line in message.content.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_LENGTH // 2 :] else cut).rstrip() + "…"
