"""What a session writes: changes to its row, events and messages, in order, and their commits.

What is written while the store is busy gathers in one open commit, which the store takes whole.
After its commit its events are published, and then those who waited for it are notified.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sessile.bus.base import Bus, Publication
from sessile.session.commit import OpenCommit, Outcome
from sessile.session.limits import Sizes
from sessile.session.values import title_of, value_of
from sessile.store.base import Body, Row, Store
from sessile.wire.codec import encode
from sessile.wire.errors import Moved, StoreUnavailable
from sessile.wire.events import (
    DeletedEvent,
    ErrorEvent,
    Event,
    Kind,
    PartEvent,
    SessionEvent,
)
from sessile.wire.frames import Deltas, Frame, Piece
from sessile.wire.ids import new_epoch, now
from sessile.wire.messages import Message, Metadata, merged


class Journal:
    """Writes one session, for the node of that number.

    ``row`` is the session as it will be when everything written so far is stored, ``head`` the
    number of the newest event that is stored. While it ``holds`` the session, which is stored as
    busy here, no other node may write it. ``broken`` means that a commit failed, that the session
    was deleted or that another node has it: nothing can be written any more.
    ``on_done`` is called after each commit or failure, after everything else.
    """

    def __init__(
        self,
        row: Row,
        store: Store,
        bus: Bus,
        node: int,
        sizes: Sizes,
        on_done: Callable[[], None],
    ) -> None:
        self.row = row
        self.broken = False
        self._store = store
        self._bus = bus
        self._node = node
        self._sizes = sizes
        self.head = row.seq
        self.holds = row.busy
        self._fault: type[StoreUnavailable] = StoreUnavailable  # why it is broken
        self._on_done = on_done
        self._pending: deque[OpenCommit] = deque()

    @property
    def pending(self) -> bool:
        """Something written is not stored yet."""
        return bool(self._pending)

    @property
    def next_seq(self) -> int:
        """The number that the next event will have."""
        return self.row.seq + 1

    def check(self) -> None:
        """Raise where nothing can be written any more."""
        if self.broken:
            raise self._fault

    def change(self, durable: bool = True) -> OpenCommit:
        """The commit that what happens at this moment belongs to: the open one, or a new one."""
        if self.broken:
            raise self._fault
        pending = self._pending
        commit = pending[-1] if pending and not pending[-1].taken else self._open()
        if durable:
            commit.durable = True
        return commit

    def _open(self) -> OpenCommit:
        row = self.row
        if not row.created_at:
            row.created_at = row.updated_at = now()
        if not row.seq:
            row.epoch = new_epoch()
        commit = OpenCommit(row, self.done)
        row.owner = self._node
        self._pending.append(commit)
        self._store.write(commit)
        return commit

    def record(self, event: Event) -> None:
        """Write an event that has the next number."""
        self._append(self.change(), Frame.of(event, self.next_seq))

    def write(self, answer_id: str, part: int, kind: Kind, offset: int, text: str) -> int:
        """Write more text of the answer that is being written; the number of the event."""
        frames = self.change(durable=False).frames
        self.row.seq = seq = self.row.seq + 1
        last = frames[-1] if frames else None
        if type(last) is Deltas and last.continues(answer_id, part, kind):
            last.add(text)
        else:
            frames.append(Deltas(seq, answer_id, part, kind, offset, [text]))
        return seq

    def extend(self, event: PartEvent, durable: bool = False) -> None:
        """Write an event of the running turn, which gets the next number."""
        change = self.change(durable)
        event.seq = self.next_seq
        self._append(change, Frame.of(event, event.seq))

    def draft(self, answer: Message) -> None:
        """Write an answer as it stands, so that nobody needs the events before."""
        commit = self.change(durable=False)
        commit.draft = Body(answer.seq, self.row.seq, encode(answer))

    def keep(self, record: bytes) -> None:
        """Write what the agent keeps with the answer that is being written."""
        self.change(durable=False).record = record

    def doubt(self, seq: int) -> None:
        """Drop what agents kept with the answers from a seq on: the history changes there."""
        self.change().doubt(seq)

    def put_new(self, message: Message, request: dict[str, Any] | None = None) -> None:
        """Write a message that has the next number, and its event.

        ``request`` is what the client sent along for the agent.
        """
        self.settle(message, encode(request) if request else None)
        if not self.row.title:
            self.row.title = title_of(message)

    def settle(self, message: Message, private: bytes | None = None) -> None:
        """Write a whole message and its event, whatever number the message has.

        ``private`` is JSON for agents alone.
        """
        body, seq = encode(message), self.next_seq
        commit = self.change()
        self._append(commit, Frame.of_message(message, body, seq))
        commit.put(message, body, seq, 0, private)
        self.row.message_count += 1
        self.touch()

    def finish(self, answer: Message, record: bytes | None) -> None:
        """Write an answer at its end, in the place of a draft that is not stored yet, with what its
        agent kept."""
        self.settle(answer, record)
        commit = self.change()
        commit.draft = commit.record = None

    def show(self, message: Message) -> None:
        """Write the event of a message that is not stored as such: of an answer in the making."""
        self._append(self.change(), Frame.of_message(message, encode(message), self.next_seq))

    def put(self, message: Message, event: Event) -> None:
        """Write what a message has become, and the event that says so."""
        self._replace(message, event, message.seq)

    def move(self, message: Message, event: Event, stood_at: int) -> None:
        """Write a message that takes the next number, and the event that says so."""
        self._replace(message, event, stood_at)

    def _replace(self, message: Message, event: Event, stood_at: int) -> None:
        commit = self.change()
        commit.put(message, encode(message), self.next_seq, stood_at)
        self.record(event)
        self.touch()

    def adopt(self, message: Message) -> None:
        """Write a message that has the next number, without an event."""
        commit = self.change()
        commit.put(message, encode(message), message.seq, 0)
        self.row.seq = message.seq
        self.row.message_count += 1
        if not self.row.title:
            self.row.title = title_of(message)

    def delete(self, messages: Iterable[Message]) -> set[str]:
        """Delete messages; their ids."""
        gone = set()
        for message in messages:
            commit, seq = self.change(), self.next_seq
            self.record(DeletedEvent(seq, message.id))
            commit.messages.pop(message.id, None)
            commit.deleted[message.id] = seq
            self.row.message_count -= 1
            gone.add(message.id)
        self.touch()
        return gone

    def merge(self, metadata: Metadata) -> None:
        """Merge into the session's metadata; None removes a name.

        Raises :class:`~sessile.wire.errors.MetadataTooLarge`; then nothing is written.
        """
        changed = merged(self.row.metadata, metadata)
        self._sizes.check_session(changed)
        self.change()
        self.row.metadata = changed

    def remember(self, private: dict[str, Any]) -> None:
        """Merge into what the server itself believes; None removes a name."""
        self.change()
        self.row.private = merged(self.row.private, private)

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

    @property
    def moved(self) -> bool:
        """Another node has written the session."""
        return self._fault is Moved

    def lose(self) -> None:
        """Write nothing more: another node has the session, or may have it soon."""
        self._break(Moved())

    def touch(self) -> None:
        self.row.updated_at = now()

    def then(self, outcome: Outcome) -> None:
        """Do something right after the commit of everything so far, and its publication."""
        self._pending[-1].outcomes.append(outcome)

    async def stored(self) -> None:
        """Wait for the commit of everything so far; raises if it fails or failed."""
        if not self._pending:
            self.check()
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def report(error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.then(report)
        await future

    async def recorded(self) -> None:
        """Wait for the commit of what is not stored yet, if there is anything."""
        if self._pending:
            await self.stored()

    async def find(self, message_id: str) -> Message | None:
        """A message as everything written so far makes it."""
        for commit in reversed(self._pending):
            if message_id in commit.messages:
                return commit.messages[message_id].message
            if message_id in commit.deleted:
                return None
        return await self._store.message(self.row.id, message_id)

    async def was_deleted(self, message_id: str) -> bool:
        """Whether a message that is not there was deleted."""
        if any(message_id in commit.deleted for commit in self._pending):
            return True
        return await self._store.was_deleted(self.row.id, message_id)

    def notify(self, frame: Frame) -> None:
        """Publish something that is not part of the sequence."""
        self._publish([frame])

    def _append(self, commit: OpenCommit, frame: Frame) -> None:
        self.row.seq = frame.seq
        commit.frames.append(frame)

    def done(self, commit: OpenCommit, error: Exception | None) -> None:
        """What became of a commit, in the order they were opened."""
        self._pending.popleft()
        if error is not None:
            self._break(error)
        else:
            self.head, self.holds = commit.head, commit.holds
            if commit.frames:
                self._publish(commit.frames)
        for outcome in commit.outcomes:
            outcome(error)
        self._on_done()

    def _publish(self, frames: Sequence[Piece]) -> None:
        self._bus.publish(self.row.id, Publication(self.row.epoch, self.head, frames))

    def _break(self, error: Exception) -> None:
        if self.broken:
            return
        self.broken = True
        if isinstance(error, Moved):
            self._fault = Moved  # the session goes on, at another node
        else:
            notice = ErrorEvent(str(error), getattr(error, "code", "internal_error"))
            self.notify(Frame.of(notice, 0))
