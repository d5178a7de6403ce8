"""How messages come into a session: at once, later, instead of others, or a second time."""

from typing import Any, NamedTuple

from msgspec import UNSET, Struct

from sessile.history.pages import History
from sessile.session.journal import Journal
from sessile.session.queue import TurnQueue
from sessile.store.base import Store
from sessile.wire.errors import (
    InvalidRequest,
    MessageConflict,
    MessageDeleted,
    MessageNotFound,
    QueueFull,
    SessionNotFound,
    ShuttingDown,
    TurnInProgress,
)
from sessile.wire.ids import new_id, now
from sessile.wire.messages import Message, MessageStatus, Metadata, Role, WhileBusy
from sessile.wire.parts import Part, text_of


class Draft(Struct):
    """A message to be stored; without ``id`` it gets one. ``request`` is for the agent alone."""

    parts: list[Part]
    role: Role = "user"
    id: str | None = None
    metadata: Metadata | None = None
    request: dict[str, Any] | None = None


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


class Inbox:
    """Takes messages for one session; its methods run under the session's lock.

    ``most`` is how many messages may wait.
    """

    def __init__(
        self, journal: Journal, turns: TurnQueue, store: Store, history: History, most: int
    ) -> None:
        self._journal = journal
        self._turns = turns
        self._store = store
        self._history = history
        self._most = most

    async def take(self, draft: Draft, while_busy: WhileBusy, replaces: str | None) -> Sent:
        """Write a user message, and begin its turn or let it wait; find it if it was sent before."""
        known = await self.known(draft)
        if known is not None:
            return await self._sent_before(known)
        self._check_awake()
        if replaces is not None:
            return await self._send_instead(draft, replaces, while_busy)
        return self._send_now_or_later(draft, while_busy)

    async def again(self, answer_id: str | None) -> Sent:
        """Delete an answer, the last by default, with everything after it, and answer again."""
        self._check_awake()
        if self._turns.busy:
            raise TurnInProgress
        if not self._journal.row.seq:
            raise SessionNotFound
        await self._journal.recorded()
        if answer_id is None:
            answer = await self._store.last_answer(self._journal.row.id)
        else:
            answer = await self._store.message(self._journal.row.id, answer_id)
        if answer is None or answer.role != "assistant" or answer.reply_to is UNSET:
            raise MessageNotFound("There is no such answer in this session.")
        question = await self._store.message(self._journal.row.id, answer.reply_to)
        if question is None:
            raise MessageNotFound("The message that it answers was deleted.")
        request = await self._store.request(self._journal.row.id, question.id)
        doomed = await self._history.messages_from(self._journal.row.id, answer)
        gone = [message for message in doomed if message.id != question.id]
        self._journal.delete(gone)
        after, answer_id = self._journal.row.seq, new_id()
        self._turns.begin(question, answer_id, request)
        return Sent(question, answer_id, True, after)

    async def known(self, draft: Draft) -> Message | None:
        """The stored message that a draft repeats."""
        if draft.id is None:
            return None
        message = await self._journal.find(draft.id)
        if message is None:
            if self._turns.answer == draft.id:
                raise MessageConflict
            if await self._journal.was_deleted(draft.id):
                raise MessageDeleted
            return None
        if message.role != draft.role or message.parts != draft.parts:
            raise MessageConflict
        return message

    def message(self, draft: Draft, status: MessageStatus) -> Message:
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

    def _check_awake(self) -> None:
        self._journal.check()
        if self._turns.draining:
            raise ShuttingDown

    def _send_now_or_later(self, draft: Draft, while_busy: WhileBusy) -> Sent:
        if not self._turns.busy:
            return self._send_now(draft)
        if while_busy == "reject":
            raise TurnInProgress
        if len(self._turns.waiting) >= self._most:
            raise QueueFull(f"{self._most} messages wait in this session already.")
        sent = self._send_later(draft)
        if while_busy == "interrupt" and self._turns.runner is not None:
            self._turns.stop(self._turns.runner)
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
            if self._turns.runner is not None:
                self._turns.stop(runner := self._turns.runner)
                await self._turns.ended(runner)
            await self._journal.recorded()
            doomed = await self._history.messages_from(self._journal.row.id, replaced)
        except BaseException:
            self._turns.held = False
            if not self._journal.broken:
                self._turns.next()
            raise
        self._turns.held = False
        self._turns.withdraw(self._journal.delete(doomed))
        if not self._turns.waiting:
            return self._send_now(draft)
        sent = self._send_later(draft)
        self._turns.next()
        return sent

    def _send_now(self, draft: Draft) -> Sent:
        message, answer_id = self.message(draft, "complete"), new_id()
        self._journal.put_new(message, draft.request)
        self._turns.begin(message, answer_id, draft.request)
        return Sent(message, answer_id, False, message.seq - 1)

    def _send_later(self, draft: Draft) -> Sent:
        message = self.message(draft, "queued")
        self._journal.put_new(message, draft.request)
        turn = self._turns.enqueue(message, draft.request)
        return Sent(message, turn.answer_id, False, message.seq - 1)

    async def _sent_before(self, message: Message) -> Sent:
        """Find the turn of a stored message, for a client that sent it again."""
        while True:
            runner = self._turns.runner
            if runner is not None and runner.running.question == message.id:
                return Sent(message, runner.running.answer, True, runner.running.since)
            for turn in self._turns.waiting:
                if turn.message.id == message.id:
                    return Sent(turn.message, turn.answer_id, True, self._journal.row.seq)
            if not self._journal.pending:
                break
            await self._journal.stored()
        answer = await self._store.answer(self._journal.row.id, message)
        if answer is None:
            return Sent(message, None, True, self._journal.row.seq)
        return Sent(message, answer.id, True, message.seq - 1, answer)
