"""The session object: the one writer of its session, while it is awake.

Every change takes the session's next number in the transaction that stores it, and is published
after that transaction. What must hold from a check to its write happens without a wait between
them, or under the session's lock.
"""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Any

from msgspec import UNSET

from sessile.agents.base import Agent
from sessile.at_once import WouldWait, at_once
from sessile.bus.base import Bus
from sessile.history.pages import History
from sessile.session.adoption import adopt
from sessile.session.commit import Outcome
from sessile.session.edits import changed_message
from sessile.session.inbox import Draft, Inbox, Sent
from sessile.session.journal import Journal
from sessile.session.limits import SessionLimits
from sessile.session.queue import TurnQueue
from sessile.session.recovery import recover
from sessile.session.reply import Reply
from sessile.session.values import value_of
from sessile.store.base import Row, Store
from sessile.wire.codec import encode
from sessile.wire.errors import (
    MessageNotFound,
    Moved,
    SessionExists,
    SessionNotFound,
    TurnInProgress,
)
from sessile.wire.events import PartsEvent
from sessile.wire.fold import Answer
from sessile.wire.frames import Frame
from sessile.wire.messages import Message, Metadata, WhileBusy
from sessile.wire.messages import Session as SessionValue
from sessile.wire.parts import Part, Question


class Session:
    """One session, while it is awake. All methods are for the event loop's thread.

    Methods that write return after the commit and raise
    :class:`~sessile.wire.errors.StoreUnavailable` if it failed. The object is then ``broken``: it
    may differ from what is stored, so it is thrown away and the session is woken again.
    """

    def __init__(
        self,
        row: Row,
        store: Store,
        bus: Bus,
        agent: Agent,
        limits: SessionLimits,
        on_change: Callable[["Session"], None],
        history: History,
        node: int = 0,
    ) -> None:
        self.id = row.id
        self.users = 0
        self._store = store
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._limits = limits
        self._sizes = limits.sizes
        self._journal = Journal(row, store, bus, node, limits.sizes, self._written)
        self._turns = TurnQueue(self._journal, history, agent, limits)
        self._inbox = Inbox(self._journal, self._turns, store, history, limits.queue)

    async def wake(self) -> None:
        """Take up what a process that is gone left behind."""
        await recover(self._journal, self._turns, self._store, self._limits)

    # State --------------------------------------------------------------------------------------

    @property
    def row(self) -> Row:
        return self._journal.row

    @property
    def broken(self) -> bool:
        return self._journal.broken

    @property
    def holds(self) -> bool:
        """The session is stored as busy here: no other node may write it."""
        return self._journal.holds and not self.broken

    @property
    def head(self) -> int:
        """The number of the newest event that is stored."""
        return self._journal.head

    @property
    def moved(self) -> bool:
        """Another node has written the session."""
        return self._journal.moved

    @property
    def exists(self) -> bool:
        return self.row.seq > 0

    def _must_exist(self) -> None:
        if not self.exists:
            raise SessionNotFound

    @property
    def idle(self) -> bool:
        """Nothing runs and nobody uses this object, so it may be put to sleep."""
        return not (self.users or self.running or self._journal.pending or self._lock.locked())

    @property
    def running(self) -> bool:
        """A turn runs that is not parked."""
        return self._turns.runner is not None and not self._turns.runner.parked

    async def is_current(self) -> bool:
        """Whether nobody else has written the session since this object read it."""
        while True:
            await self._journal.recorded()
            if self.broken:
                return False
            if self._journal.holds:
                return True
            head = self._journal.head
            row = await self._store.row(self.id) or Row(self.id)
            if row.seq == head and row.epoch == (self.row.epoch if head else 0):
                return not self.broken
            if self._journal.head == head and not self._journal.pending:
                return False

    def writing(self) -> Answer | None:
        """The answer that is being written, as it stands."""
        return None if self._turns.runner is None else self._turns.runner.answer

    async def recorded(self) -> None:
        """Wait until everything written so far is stored; raises if that fails."""
        await self._journal.recorded()

    async def read(self) -> SessionValue:
        """The session as its clients see it, once everything that is in it is stored."""
        value = value_of(self.row)
        await self._journal.recorded()
        return value

    # The original's five ------------------------------------------------------------------------

    async def persist_message(self, draft: Draft) -> Message:
        """Store a message without asking the agent to answer it.

        The same id with the same content again returns what is stored; with another content it
        raises :class:`~sessile.wire.errors.MessageConflict`.
        """
        self._sizes.check_message(draft.parts, draft.metadata)
        async with self._lock:
            message = await self._inbox.known(draft)
            if message is not None:
                return message
            message = self._inbox.message(draft, "complete")
            self._journal.put_new(message)
        await self._journal.stored()
        return message

    async def update_message(
        self, message_id: str, parts: list[Part] | None, metadata: Metadata | None
    ) -> Message:
        """Replace the parts of a stored message, and merge into its metadata.

        Raises :class:`~sessile.wire.errors.TurnInProgress` for the answer that is being written.
        """
        async with self._lock:
            self._must_exist()
            message = await self.get_message(message_id)
            changed = changed_message(message, parts, metadata)
            self._sizes.check_message(parts or [], changed.metadata or None)
            now = UNSET if metadata is None else changed.metadata
            event = PartsEvent(self._journal.next_seq, message_id, changed.parts, now)
            if parts is not None:
                self._turns.doubt(message)
            self._journal.put(changed, event)
            self._turns.replace(changed)
        await self._journal.stored()
        return changed

    def broadcast(self, data: Any) -> None:
        """Send any JSON value to everybody who watches at this moment; it is not stored."""
        self._journal.notify(Frame(0, encode(data), broadcast=True))

    # Sending ------------------------------------------------------------------------------------

    async def send(
        self, draft: Draft, while_busy: WhileBusy = "queue", replaces: str | None = None
    ) -> Sent:
        """Store a user message and have it answered; returns when the message is stored.

        ``replaces`` names a user message that is deleted with everything after it, in the same
        transaction. Raises :class:`~sessile.wire.errors.TurnInProgress`,
        :class:`~sessile.wire.errors.QueueFull`, :class:`~sessile.wire.errors.MessageConflict`,
        :class:`~sessile.wire.errors.MessageNotFound` or :class:`~sessile.wire.errors.ShuttingDown`; then
        nothing is stored.
        """
        self._sizes.check_message(draft.parts, draft.metadata, draft.request)
        async with self._lock:
            sent = await self._inbox.take(draft, while_busy, replaces)
        if not sent.repeat:
            await self._journal.stored()
        return sent

    def send_at_once(self, draft: Draft, while_busy: WhileBusy, outcome: Outcome) -> Sent:
        """As :meth:`send` for a new message, but returns before the commit.

        ``outcome`` is called after the commit and its publication, with the error if it failed.
        Raises :class:`~sessile.at_once.WouldWait` where :meth:`send` is needed.
        """
        if self._lock.locked():
            raise WouldWait
        self._sizes.check_message(draft.parts, draft.metadata, draft.request)
        sent = at_once(self._inbox.take(draft, while_busy, None))
        if sent.repeat:
            raise WouldWait
        self._journal.then(outcome)
        return sent

    async def regenerate(self, answer_id: str | None = None) -> Sent:
        """Delete an answer, the last by default, with everything after it, and answer again.

        Raises :class:`~sessile.wire.errors.MessageNotFound`, or
        :class:`~sessile.wire.errors.TurnInProgress` while a turn runs.
        """
        async with self._lock:
            sent = await self._inbox.again(answer_id)
        await self._journal.stored()
        return sent

    async def stop(self) -> bool:
        """End the turn that runs, with what it has; returns when it is settled.

        False if no turn runs, or if it came to its own end first.
        """
        async with self._lock:
            runner = self._turns.runner
            if runner is None:
                return False
            self._turns.stop(runner)
        await self._turns.ended(runner)
        if self.moved:
            raise Moved
        return runner.ended_as == "stopped"

    async def answer(self, question_id: str, reply: Reply) -> Question:
        """Answer what an agent asks; returns when the answer is stored.

        Raises :class:`~sessile.wire.errors.QuestionNotFound`,
        :class:`~sessile.wire.errors.QuestionAnswered`, also for a question of a turn that is over,
        and :class:`~sessile.wire.errors.InvalidRequest` for an answer that does not fit.
        """
        question = await self._turns.answer_question(question_id, reply)
        await self._journal.stored()
        return question

    async def expire(self, until: int) -> None:
        """End the questions of a parked turn whose time is over at ``until`` (unix seconds)."""
        if self._turns.runner is not None:
            self._turns.runner.expire(until)
        await self._journal.recorded()

    async def delete_message(self, message_id: str) -> None:
        """Delete a message; a queued message is withdrawn from the queue.

        Raises :class:`~sessile.wire.errors.TurnInProgress` for the answer that is being written and
        the message that it answers.
        """
        async with self._lock:
            self._must_exist()
            message = await self.get_message(message_id)
            if self._turns.question == message_id:
                raise TurnInProgress
            self._turns.doubt(message)
            self._delete([message])
        await self._journal.stored()

    # The session as a whole ---------------------------------------------------------------------

    async def create(self, title: str | None, metadata: Metadata | None) -> SessionValue:
        """Store the session before its first message.

        Raises :class:`~sessile.wire.errors.SessionExists`.
        """
        if self.exists:
            raise SessionExists
        return await self._change(title, None, metadata)

    async def update(
        self,
        title: str | None = None,
        archived: bool | None = None,
        metadata: Metadata | None = None,
    ) -> SessionValue:
        """Change the session itself; ``metadata`` is merged (RFC 7396: null removes a name).

        Raises :class:`~sessile.wire.errors.SessionNotFound`.
        """
        self._must_exist()
        return await self._change(title, archived, metadata)

    async def _change(
        self, title: str | None, archived: bool | None, metadata: Metadata | None
    ) -> SessionValue:
        if metadata is not None:
            self._journal.merge(metadata)
        self._journal.change()
        if title is not None:
            self.row.title = self._sizes.cut_title(title)
        if archived is not None:
            self.row.archived = archived
        self._journal.put_session()
        return await self.read()

    async def adopt(
        self,
        chunks: AsyncIterable[list[Message]],
        title: str,
        metadata: Metadata,
        archived: bool = False,
    ) -> SessionValue:
        """Store a session that was elsewhere, with its messages, which get new numbers.

        No two messages may have one id. What still ran or waited there is over. If it fails in
        the middle, nothing of it stays. Raises :class:`~sessile.wire.errors.SessionExists`.
        """
        async with self._lock:
            if self.exists:
                raise SessionExists
            await adopt(self._journal, self._sizes, chunks, title, metadata, archived)
        return await self.read()

    async def delete(self) -> None:
        """Delete the session with everything it has; a turn that runs is given up.

        Raises :class:`~sessile.wire.errors.SessionNotFound`.
        """
        async with self._lock:
            self._must_exist()
            self._journal.drop()
            self._turns.give_up()
            self._turns.waiting.clear()
        await self._journal.recorded()

    # Ending -------------------------------------------------------------------------------------

    def begin_no_more(self) -> None:
        """Begin no turn from here on; what is sent is refused, what waits goes on waiting."""
        self._turns.draining = True

    async def drain(self) -> None:
        """Begin no more turns, and wait for the one that runs, unless it waits itself."""
        self.begin_no_more()
        runner = self._turns.runner
        if runner is not None:
            if runner.only_waits and runner.continues:
                runner.leave()
            await self._turns.ended_or_left(runner)

    def give_up(self) -> None:
        """Write nothing more, and drop the turn that runs: another node has it, or may soon."""
        if not self.broken:
            self._journal.lose()
            self._written()

    def interrupt(self) -> None:
        """Settle the turn that runs as interrupted, or leave it to the next process."""
        self._turns.interrupt()

    def _written(self) -> None:
        """Something was stored, or could not be."""
        if self.broken:
            self._turns.give_up()
        self._on_change(self)

    # Messages -----------------------------------------------------------------------------------

    async def get_message(self, message_id: str) -> Message:
        """One stored message.

        Raises :class:`~sessile.wire.errors.MessageNotFound`, or
        :class:`~sessile.wire.errors.TurnInProgress` for the answer that is being written.
        """
        if self._turns.answer == message_id:
            raise TurnInProgress
        message = await self._journal.find(message_id)
        if message is None:
            raise MessageNotFound
        return message

    def _delete(self, messages: list[Message]) -> None:
        self._turns.withdraw(self._journal.delete(messages))
