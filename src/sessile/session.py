"""The session object: the one writer of its session, while it is awake.

Every change takes the session's next number in the transaction that stores it, and is published
after that transaction. What must hold from a check to its write happens without a wait between
them, or under the session's lock.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct

from sessile.agents.base import Agent, Decision
from sessile.approvals import ALWAYS, Policy, state_of
from sessile.bus.base import Bus
from sessile.errors import (
    ApprovalAnswered,
    ApprovalNotFound,
    InvalidRequest,
    MessageConflict,
    MessageNotFound,
    QueueFull,
    SessionExists,
    SessionNotFound,
    ShuttingDown,
    StoreUnavailable,
    TurnInProgress,
)
from sessile.fold import Answer
from sessile.journal import Journal, value_of
from sessile.store.base import Row, Store
from sessile.turns import Turns, Waiting
from sessile.types import (
    Approval,
    BroadcastEvent,
    Frame,
    Message,
    MessageStatus,
    Metadata,
    Page,
    Part,
    PartsEvent,
    Role,
    WhileBusy,
    decode_message,
    encode,
    new_id,
    now,
    text_of,
)
from sessile.types import Session as SessionValue


class Draft(Struct):
    """A message that somebody wants to store: without ``id`` it gets one."""

    parts: list[Part]
    role: Role = "user"
    id: str | None = None
    metadata: Metadata | None = None


class Sent(NamedTuple):
    """What became of a message that was sent.

    ``answer_id`` is the answer that it has or will have; None if nobody was asked to answer it.
    The events of its turn come after ``after``. ``answer`` is there if it is settled already.
    """

    message: Message
    answer_id: str | None
    repeat: bool
    after: int
    answer: Message | None = None


class Limits(NamedTuple):
    """``queue``: the most messages that wait in a session. ``retries``: how often a turn that a
    crash cut off is begun again; 0 settles it as interrupted. ``approval``: who answers what an
    agent asks."""

    queue: int = 100
    retries: int = 0
    approval: Policy = Policy()


class Session:
    """One session, while it is awake. All methods are for the event loop's thread.

    Methods that write return after the commit and raise
    :class:`~sessile.errors.StoreUnavailable` if there was none. After such an error the object is
    ``broken``: what it believes may differ from what is stored, so it is thrown away and the
    session woken anew.
    """

    def __init__(
        self,
        row: Row,
        store: Store,
        bus: Bus,
        agent: Agent,
        limits: Limits,
        on_change: Callable[["Session"], None],
    ) -> None:
        self.id = row.id
        self.users = 0
        self._store = store
        self._limits = limits
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._journal = Journal(row, store, bus, self._written)
        self._turns = Turns(self._journal, store, agent, limits.retries, limits.approval)
        self._pages = self._turns.pages

    async def wake(self) -> None:
        """Take up what a process that is gone left behind."""
        await self._turns.wake()

    # State --------------------------------------------------------------------------------------

    @property
    def row(self) -> Row:
        return self._journal.row

    @property
    def broken(self) -> bool:
        return self._journal.broken

    @property
    def exists(self) -> bool:
        return self.row.seq > 0

    @property
    def idle(self) -> bool:
        """Nothing runs and nobody uses this object, so it may be put to sleep."""
        return not (self.users or self.running or self._journal.pending or self._lock.locked())

    @property
    def running(self) -> bool:
        return self._turns.run is not None

    @property
    def settled_seq(self) -> int:
        """The newest event that no running turn needs for its recovery."""
        run = self._turns.run
        return self.row.seq if run is None else run.running.since

    async def read(self) -> SessionValue:
        """The session as its clients see it, once everything that is in it is stored."""
        value = value_of(self.row)
        await self._journal.recorded()
        return value

    # The original's five ------------------------------------------------------------------------

    async def persist_message(self, draft: Draft) -> Message:
        """Store a message without asking anybody to answer it.

        The same id with the same content again returns what is stored; with another content it
        raises :class:`~sessile.errors.MessageConflict`.
        """
        async with self._lock:
            message = await self._known(draft)
            if message is not None:
                return message
            message = self._message(draft, "complete")
            self._journal.put_new(message)
        await self._journal.stored()
        return message

    async def get_messages(
        self, limit: int = 25, before: str | None = None, after: str | None = None
    ) -> Page:
        """The newest messages, or those next to the message ``before`` or ``after``.

        The answer that is being written is among them, as it stands. Raises
        :class:`~sessile.errors.MessageNotFound` if that message is unknown.
        """
        bodies, has_more = await self.page(limit, before, after)
        return Page([decode_message(body) for body in bodies], has_more)

    async def page(
        self, limit: int, before: str | None = None, after: str | None = None
    ) -> tuple[list[bytes], bool]:
        """What :meth:`get_messages` gives, as the JSON of each message."""
        return await self._pages.page(limit, before, after)

    def walk(self) -> AsyncGenerator[list[bytes], None]:
        """All messages from the oldest on, in chunks, as the JSON of each."""
        return self._pages.walk()

    async def update_message_parts(self, message_id: str, parts: list[Part]) -> Message:
        """Replace the parts of a stored message.

        Raises :class:`~sessile.errors.TurnInProgress` for the answer that is being written.
        """
        async with self._lock:
            message = await self.get_message(message_id)
            changed = msgspec.structs.replace(message, parts=parts, content=text_of(parts))
            self._journal.put(changed, PartsEvent(self._journal.next_seq, message_id, parts))
            self._turns.replace(changed)
        await self._journal.stored()
        return changed

    async def get_message_count(self) -> int:
        """How many messages are stored."""
        return self.row.message_count

    def broadcast(self, data: Any) -> None:
        """Send any JSON value to everybody who watches at this moment; it is not stored."""
        self._journal.tell_watchers(Frame(0, encode(data), BroadcastEvent()))

    # Sending ------------------------------------------------------------------------------------

    async def send(
        self, draft: Draft, while_busy: WhileBusy = "queue", replaces: str | None = None
    ) -> Sent:
        """Store a user message and have it answered; returns when the message is stored.

        ``replaces`` names a user message that is deleted with everything after it, in the same
        transaction. Raises :class:`~sessile.errors.TurnInProgress`,
        :class:`~sessile.errors.QueueFull`, :class:`~sessile.errors.MessageConflict`,
        :class:`~sessile.errors.MessageNotFound` or :class:`~sessile.errors.ShuttingDown`; then
        nothing is stored.
        """
        async with self._lock:
            known = await self._known(draft)
            if known is not None:
                return await self._sent_before(known)
            self._check_awake()
            if replaces is not None:
                sent = await self._send_instead(draft, replaces, while_busy)
            else:
                sent = self._send_now_or_later(draft, while_busy)
        await self._journal.stored()
        return sent

    async def regenerate(self, answer_id: str | None = None) -> Sent:
        """Delete an answer, the last by default, with everything after it, and answer anew.

        Raises :class:`~sessile.errors.MessageNotFound`, or
        :class:`~sessile.errors.TurnInProgress` while a turn runs.
        """
        async with self._lock:
            self._check_awake()
            if self._turns.busy:
                raise TurnInProgress
            if not self.exists:
                raise SessionNotFound
            await self._journal.recorded()
            if answer_id is None:
                answer = await self._store.last_answer(self.id)
            else:
                answer = await self._store.message(self.id, answer_id)
            if answer is None or answer.role != "assistant" or answer.reply_to is UNSET:
                raise MessageNotFound("There is no such answer in this session.")
            question = await self._store.message(self.id, answer.reply_to)
            if question is None:
                raise MessageNotFound("The message that it answers was deleted.")
            doomed = await self._pages.messages_from(answer.seq)
            self._delete([message for message in doomed if message.id != question.id])
            waiting = Waiting(question, new_id())
            self._turns.begin(waiting)
            sent = Sent(question, waiting.answer_id, True, self.row.seq)
        await self._journal.stored()
        return sent

    async def stop(self) -> bool:
        """End the turn that runs, with what it has; returns when it is settled.

        False if no turn runs, or if it came to its own end first.
        """
        async with self._lock:
            run = self._turns.run
            if run is None:
                return False
            self._turns.stop(run)
        await self._turns.ended(run)
        return run.ended_as == "stopped"

    async def approve(self, approval_id: str, decision: Decision) -> Approval:
        """Answer what an agent asks; returns when the answer is stored.

        Raises :class:`~sessile.errors.ApprovalNotFound` and
        :class:`~sessile.errors.ApprovalAnswered`, also for a question of a turn that is over.
        """
        run = self._turns.run
        always = None if run is None else run.decide(approval_id, decision)
        if always is None:
            await self._journal.recorded()
            raise await self._asked_before(approval_id)
        if always:
            known = self.row.metadata.get(ALWAYS)
            names = known if isinstance(known, list) else []
            self._journal.merge({ALWAYS: [*names, always]})
            self._journal.put_session()
        await self._journal.stored()
        return Approval(approval_id, decision.state)

    async def _asked_before(self, approval_id: str) -> ApprovalAnswered | ApprovalNotFound:
        message = await self._journal.find(approval_id.rpartition(".")[0])
        parts = () if message is None else message.parts
        if any(state_of(part, approval_id) for part in parts):
            return ApprovalAnswered()
        return ApprovalNotFound()

    async def delete_message(self, message_id: str) -> None:
        """Delete a message; one that waits for its turn is thereby withdrawn.

        Raises :class:`~sessile.errors.TurnInProgress` for the answer that is being written and
        the message that it answers.
        """
        async with self._lock:
            message = await self.get_message(message_id)
            if self._turns.question == message_id:
                raise TurnInProgress
            self._delete([message])
        await self._journal.stored()

    # The session as a whole ---------------------------------------------------------------------

    async def create(self, title: str | None, metadata: Metadata | None) -> SessionValue:
        """Store the session before its first message.

        Raises :class:`~sessile.errors.SessionExists`.
        """
        if self.exists:
            raise SessionExists
        return await self.update(title, None, metadata)

    async def update(
        self,
        title: str | None = None,
        archived: bool | None = None,
        metadata: Metadata | None = None,
    ) -> SessionValue:
        """Change the session itself; ``metadata`` is merged (RFC 7396: null removes a name)."""
        self._journal.change()
        if title is not None:
            self.row.title = title
        if archived is not None:
            self.row.archived = archived
        if metadata is not None:
            self._journal.merge(metadata)
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
        the middle, nothing of it stays. Raises :class:`~sessile.errors.SessionExists`.
        """
        async with self._lock:
            if self.exists:
                raise SessionExists
            try:
                async for messages in chunks:
                    for message in messages:
                        self._journal.adopt(_settled_copy(message, self._journal.next_seq))
                    await self._journal.stored()
                self._journal.change()
                self.row.title = title or self.row.title
                self.row.metadata, self.row.archived = metadata, archived
                self._journal.put_session()
            except BaseException:
                if self.exists and not self.broken:
                    self._journal.drop()
                raise
        return await self.read()

    async def delete(self) -> None:
        """Delete the session with everything it has; a turn that runs is given up."""
        async with self._lock:
            self._journal.drop()
            self._turns.give_up()
            self._turns.queue.clear()
        await self._journal.recorded()

    # Ending -------------------------------------------------------------------------------------

    def begin_no_more(self) -> None:
        """Begin no turn from here on; what is sent is refused, what waits goes on waiting."""
        self._turns.draining = True

    async def drain(self) -> None:
        """Begin no more turns, and wait for the one that runs."""
        self.begin_no_more()
        if self._turns.run is not None:
            await self._turns.ended(self._turns.run)

    def interrupt(self) -> None:
        """Settle the turn that runs as interrupted."""
        self._turns.interrupt()

    # How a message is sent ----------------------------------------------------------------------

    def _check_awake(self) -> None:
        if self.broken:
            raise StoreUnavailable
        if self._turns.draining:
            raise ShuttingDown

    def _send_now_or_later(self, draft: Draft, while_busy: WhileBusy) -> Sent:
        if not self._turns.busy:
            return self._send_now(draft)
        if while_busy == "reject":
            raise TurnInProgress
        if len(self._turns.queue) >= self._limits.queue:
            raise QueueFull(f"{self._limits.queue} messages wait in this session already.")
        sent = self._send_later(draft)
        if while_busy == "interrupt" and self._turns.run is not None:
            self._turns.stop(self._turns.run)
        return sent

    async def _send_instead(self, draft: Draft, replaces: str, while_busy: WhileBusy) -> Sent:
        if self._turns.busy and while_busy != "interrupt":
            raise TurnInProgress
        replaced = await self._journal.find(replaces)
        if replaced is None:
            raise MessageNotFound
        if replaced.role != "user":
            raise InvalidRequest("`replaces` must name a user message.")
        # Nothing may begin between the end of the turn that runs and the edit.
        self._turns.held = True
        try:
            if self._turns.run is not None:
                self._turns.stop(run := self._turns.run)
                await self._turns.ended(run)
            doomed = await self._pages.messages_from(replaced.seq)
        except BaseException:
            self._turns.held = False
            if not self.broken:
                self._turns.next()
            raise
        self._turns.held = False
        self._delete(doomed)
        if not self._turns.queue:
            return self._send_now(draft)
        sent = self._send_later(draft)
        self._turns.next()
        return sent

    def _send_now(self, draft: Draft) -> Sent:
        message = self._message(draft, "complete")
        self._journal.put_new(message)
        waiting = Waiting(message, new_id())
        self._turns.begin(waiting)
        return Sent(message, waiting.answer_id, False, message.seq - 1)

    def _send_later(self, draft: Draft) -> Sent:
        message = self._message(draft, "queued")
        self._journal.put_new(message)
        waiting = Waiting(message, new_id())
        self._turns.enqueue(waiting)
        return Sent(message, waiting.answer_id, False, message.seq - 1)

    async def _sent_before(self, message: Message) -> Sent:
        """Find the turn of a message that is stored, for somebody who sent it again."""
        while True:
            run = self._turns.run
            if run is not None and run.running.question == message.id:
                return Sent(message, run.running.answer, True, run.running.since)
            for waiting in self._turns.queue:
                if waiting.message.id == message.id:
                    return Sent(waiting.message, waiting.answer_id, True, self.row.seq)
            if not self._journal.pending:
                break
            await self._journal.stored()
        answer = await self._store.answer(self.id, message)
        if answer is None:
            return Sent(message, None, True, self.row.seq)
        return Sent(message, answer.id, True, answer.seq - 1, answer)

    def _written(self) -> None:
        """Something was stored, or could not be."""
        if self.broken:
            self._turns.give_up()
        self._on_change(self)

    # Messages -----------------------------------------------------------------------------------

    async def _known(self, draft: Draft) -> Message | None:
        """The message that a draft would be for the second time."""
        if draft.id is None:
            return None
        message = await self._journal.find(draft.id)
        if message is None:
            if self._turns.answer == draft.id:
                raise MessageConflict
            return None
        if message.role != draft.role or message.parts != draft.parts:
            raise MessageConflict
        return message

    async def get_message(self, message_id: str) -> Message:
        """One stored message.

        Raises :class:`~sessile.errors.MessageNotFound`, or
        :class:`~sessile.errors.TurnInProgress` for the answer that is being written.
        """
        if self._turns.answer == message_id:
            raise TurnInProgress
        message = await self._journal.find(message_id)
        if message is None:
            raise MessageNotFound
        return message

    def _message(self, draft: Draft, status: MessageStatus) -> Message:
        return Message(
            draft.id or new_id(),
            draft.role,
            text_of(draft.parts),
            draft.parts,
            now(),
            self._journal.next_seq,
            status,
            UNSET if draft.metadata is None else draft.metadata,
        )

    def _delete(self, messages: list[Message]) -> None:
        self._turns.withdraw(self._journal.delete(messages))


def _settled_copy(message: Message, seq: int) -> Message:
    """A message of another session, in a new place; what was not over there is over."""
    if message.role == "assistant":
        over: MessageStatus = "interrupted" if message.status == "streaming" else message.status
        copied = Answer.of(message).settled(over)
    else:
        copied = msgspec.structs.replace(message, status="complete")
    copied.seq = seq
    copied.content = text_of(copied.parts)
    return copied
