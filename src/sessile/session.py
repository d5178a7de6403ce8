"""The session object: the one writer of its session, while it is awake.

Every change takes the session's next number in the transaction that stores it, and is published
after that transaction. What must hold from a check to its write happens without a wait between
them, or under the session's lock.
"""

import asyncio
import logging
from bisect import insort
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct

from sessile.agents.base import Agent, Turn
from sessile.bus.base import Bus
from sessile.errors import (
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
from sessile.fold import Answer, GapError, fold_answer
from sessile.store.base import Body, Change, Row, Running, Store, StoredMessage
from sessile.turn import Run
from sessile.types import (
    BroadcastEvent,
    DeletedEvent,
    ErrorEvent,
    Event,
    Frame,
    Message,
    MessageStatus,
    Metadata,
    Page,
    Part,
    PartsEvent,
    Role,
    SessionEvent,
    SessionStatus,
    StatusEvent,
    WhileBusy,
    decode_message,
    encode,
    new_id,
    now,
    text_of,
)
from sessile.types import Session as SessionValue

log = logging.getLogger(__name__)

Outcome = Callable[[Exception | None], None]

TITLE_LENGTH = 80  # characters
MAX_SEQ = 2**63 - 1
CHUNK = 500  # messages read at once where all that follow are wanted


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


class Waiting(NamedTuple):
    """A message that waits for its turn, and the id that its answer will have."""

    message: Message
    answer_id: str


class Session:
    """One session. Made by :meth:`wake`; all methods are for the event loop's thread.

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
        queue_limit: int,
        on_change: Callable[["Session"], None],
    ) -> None:
        self.id = row.id
        self.row = row
        self.broken = False
        self.draining = False
        self.users = 0
        self._store = store
        self._bus = bus
        self._agent = agent
        self._queue_limit = queue_limit
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._pending: deque[tuple[Change, list[Outcome]]] = deque()
        self._queue: deque[Waiting] = deque()
        self._run: Run | None = None
        self._held = False
        self._ended: list[asyncio.Future[None]] = []

    # Waking -------------------------------------------------------------------------------------

    async def wake(self) -> None:
        """Take up what a process that is gone left behind."""
        if self.row.queued:
            self._queue.extend(
                Waiting(message, new_id()) for message in await self._store.queue(self.id)
            )
        running = self.row.running
        if running is None and not self._queue:
            return
        answer = None if running is None else await self._cut_off(running)
        change = self._change()
        if running is not None and answer is not None:
            self._finish(change, answer, "stopped" if running.stopping else "interrupted")
        self._next_turn(change)
        await self._stored()

    async def _cut_off(self, running: Running) -> Answer:
        answer = Answer(running.answer, running.question, running.started_at)
        frames = await self._store.events(self.id, running.since)
        try:
            fold_answer(answer, frames or ())
        except GapError as gap:
            log.error("session %s: its answer is kept as far as it goes: %s", self.id, gap)
        return answer

    # State --------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return self.row.seq > 0

    @property
    def idle(self) -> bool:
        """Nothing runs and nobody uses this object, so it may be put to sleep."""
        return not (self.users or self._run or self._pending or self._lock.locked())

    @property
    def running(self) -> bool:
        return self._run is not None

    @property
    def settled_seq(self) -> int:
        """The newest event that no running turn needs for its recovery."""
        return self.row.seq if self._run is None else self._run.running.since

    async def read(self) -> SessionValue:
        """The session as its clients see it, once everything that is in it is stored."""
        value = self._value()
        await self.recorded()
        return value

    # The original's five ------------------------------------------------------------------------

    async def persist_message(self, draft: Draft) -> Message:
        """Store a message without asking anybody to answer it.

        The same id with the same content again returns what is stored; with another content it
        raises :class:`~sessile.errors.MessageConflict`.
        """
        async with self._lock:
            known = await self._known(draft)
            if known is not None:
                return known
            change = self._change()
            message = self._message(draft, "complete")
            self._put_new(change, message)
        await self._stored()
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
        running = await self._as_it_stands()
        if after is not None:
            start = await self._seq_of(after)
            found = await self._store.following(self.id, limit + 1, start)
            bodies = _with_running(found, running, lambda seq: seq > start)
            return bodies[:limit], len(bodies) > limit
        end = None if before is None else await self._seq_of(before)
        found = await self._store.newest(self.id, limit + 1, end)
        found.reverse()
        bodies = _with_running(found, running, lambda seq: end is None or seq < end)
        return bodies[-limit:], len(bodies) > limit

    async def walk(self) -> AsyncGenerator[list[bytes], None]:
        """All messages from the oldest on, in chunks, as the JSON of each."""
        running = await self._as_it_stands()
        after = 0
        at_end = False
        while not at_end:
            found = await self._store.following(self.id, CHUNK, after)
            at_end = len(found) < CHUNK
            between = range(after + 1, MAX_SEQ if at_end else found[-1].seq)
            after = 0 if at_end else found[-1].seq
            yield _with_running(found, running, between.__contains__)

    async def update_message_parts(self, message_id: str, parts: list[Part]) -> Message:
        """Replace the parts of a stored message.

        Raises :class:`~sessile.errors.TurnInProgress` for the answer that is being written.
        """
        async with self._lock:
            message = await self._stored_message(message_id)
            changed = msgspec.structs.replace(message, parts=parts, content=text_of(parts))
            change = self._change()
            event = PartsEvent(self.next_seq(), message_id, parts)
            self._append(change, Frame.of(event, event.seq))
            self._put(change, changed, event.seq)
            self._queue = deque(
                Waiting(changed, waiting.answer_id) if waiting.message.id == message_id else waiting
                for waiting in self._queue
            )
        await self._stored()
        return changed

    async def get_message_count(self) -> int:
        """How many messages are stored."""
        return self.row.message_count

    def broadcast(self, data: Any) -> None:
        """Send any JSON value to everybody who watches at this moment; it is not stored."""
        self._bus.publish(self.id, [Frame(0, encode(data), BroadcastEvent())])

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
        await self._stored()
        return sent

    async def regenerate(self, answer_id: str | None = None) -> Sent:
        """Delete an answer, the last by default, with everything after it, and answer anew.

        Raises :class:`~sessile.errors.MessageNotFound`, or
        :class:`~sessile.errors.TurnInProgress` while a turn runs.
        """
        async with self._lock:
            self._check_awake()
            if self._busy:
                raise TurnInProgress
            if not self.exists:
                raise SessionNotFound
            if answer_id is None:
                answer = await self._store.last_answer(self.id)
            else:
                answer = await self._store.message(self.id, answer_id)
            if answer is None or answer.role != "assistant" or answer.reply_to is UNSET:
                raise MessageNotFound("There is no such answer in this session.")
            question = await self._store.message(self.id, answer.reply_to)
            if question is None:
                raise MessageNotFound("The message that it answers was deleted.")
            doomed = await self._from(answer.seq)
            self._delete(
                self._change(),
                (message for message in doomed if message.id != question.id),
            )
            waiting = Waiting(question, new_id())
            self._begin(waiting)
            sent = Sent(question, waiting.answer_id, True, self.row.seq)
        await self._stored()
        return sent

    async def stop(self) -> bool:
        """End the turn that runs, with what it has; returns when it is settled.

        False if no turn runs, or if it came to its own end first.
        """
        async with self._lock:
            run = self._run
            if run is None:
                return False
            self._change()
            self._stop(run)
        await self._turn_ended(run)
        return run.ended_as == "stopped"

    async def delete_message(self, message_id: str) -> None:
        """Delete a message; one that waits for its turn is thereby withdrawn.

        Raises :class:`~sessile.errors.TurnInProgress` for the answer that is being written and
        the message that it answers.
        """
        async with self._lock:
            message = await self._stored_message(message_id)
            if self._run is not None and self._run.running.question == message_id:
                raise TurnInProgress
            self._delete(self._change(), [message])
        await self._stored()

    async def create(self, title: str | None, metadata: Metadata | None) -> SessionValue:
        """Store the session before its first message.

        Raises :class:`~sessile.errors.SessionExists`.
        """
        if self.exists:
            raise SessionExists
        change = self._change()
        self.row.title = title or ""
        self.row.metadata = metadata or {}
        self._append_session(change)
        await self._stored()
        return self._value()

    async def update(
        self,
        title: str | None = None,
        archived: bool | None = None,
        metadata: Metadata | None = None,
    ) -> SessionValue:
        """Change the session itself; ``metadata`` is merged (RFC 7396: null removes a name)."""
        change = self._change()
        if title is not None:
            self.row.title = title
        if archived is not None:
            self.row.archived = archived
        if metadata is not None:
            merged = self.row.metadata | metadata
            self.row.metadata = {name: value for name, value in merged.items() if value is not None}
        self._append_session(change)
        await self._stored()
        return self._value()

    async def delete(self) -> None:
        """Delete the session with everything it has; a turn that runs is given up."""
        async with self._lock:
            if self._run is not None:
                self._run.drop()
                self._run = None
            self._queue.clear()
            change = self._change()
            change.drop = True
            seq = self.next_seq()
            self._append(change, Frame.of(DeletedEvent(seq), seq))
            self.broken = True
        await self._stored()

    # Ending -------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Begin no more turns, and wait for the one that runs."""
        self.draining = True
        if self._run is not None:
            await self._turn_ended(self._run)

    def interrupt(self) -> None:
        """Settle the turn that runs as interrupted."""
        if self._run is not None:
            self._run.cancel("interrupted")

    # The ledger of a turn -----------------------------------------------------------------------

    def next_seq(self) -> int:
        return self.row.seq + 1

    def record(self, event: Event) -> None:
        seq = self.next_seq()
        self._append(self._change(durable=False), Frame.of(event, seq))

    async def recorded(self) -> None:
        if self._pending:
            await self._stored()

    def settle(self, run: Run, status: MessageStatus, error: ErrorEvent | None) -> None:
        if self.broken:
            return
        change = self._change()
        if error is not None:
            run.answer.metadata["error"] = {"error": error.error, "code": error.code}
        self._finish(change, run.answer, status)
        self._run = None
        run.ended_as = status
        self._next_turn(change)
        self._then(lambda _: self._tell_ended())

    # How a turn begins and ends -----------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return self._run is not None or bool(self._queue)

    def _check_awake(self) -> None:
        if self.broken:
            raise StoreUnavailable
        if self.draining:
            raise ShuttingDown

    def _send_now_or_later(self, draft: Draft, while_busy: WhileBusy) -> Sent:
        if not self._busy:
            return self._send_now(self._change(), draft)
        if while_busy == "reject":
            raise TurnInProgress
        if len(self._queue) >= self._queue_limit:
            raise QueueFull(f"{len(self._queue)} messages wait in this session already.")
        change = self._change()
        sent = self._send_later(change, draft)
        if while_busy == "interrupt" and self._run is not None:
            self._stop(self._run)
        return sent

    async def _send_instead(self, draft: Draft, replaces: str, while_busy: WhileBusy) -> Sent:
        if self._busy and while_busy != "interrupt":
            raise TurnInProgress
        replaced = await self._find(replaces)
        if replaced is None:
            raise MessageNotFound
        if replaced.role != "user":
            raise InvalidRequest("`replaces` must name a user message.")
        # Nothing may begin between the end of the turn that runs and the edit.
        self._held = True
        try:
            if self._run is not None:
                self._change()
                self._stop(run := self._run)
                await self._turn_ended(run)
            doomed = await self._from(replaced.seq)
        except BaseException:
            self._held = False
            if not (self.broken or self._run):
                self._next_turn(self._change())
            raise
        self._held = False
        change = self._change()
        self._delete(change, doomed)
        if not self._queue:
            return self._send_now(change, draft)
        sent = self._send_later(change, draft)
        self._next_turn(change)
        return sent

    def _send_now(self, change: Change, draft: Draft) -> Sent:
        message = self._message(draft, "complete")
        self._put_new(change, message)
        answer_id = new_id()
        self._begin(Waiting(message, answer_id))
        return Sent(message, answer_id, False, message.seq - 1)

    def _send_later(self, change: Change, draft: Draft) -> Sent:
        message = self._message(draft, "queued")
        self._put_new(change, message)
        waiting = Waiting(message, new_id())
        self._queue.append(waiting)
        self.row.queued += 1
        seq = self.next_seq()
        event = StatusEvent(seq, message.id, "queued", len(self._queue))
        self._append(change, Frame.of(event, seq))
        return Sent(message, waiting.answer_id, False, message.seq - 1)

    async def _sent_before(self, message: Message) -> Sent:
        """Find the turn of a message that is stored, for somebody who sent it again."""
        while True:
            if self._run is not None and self._run.running.question == message.id:
                running = self._run.running
                return Sent(message, running.answer, True, running.since)
            for waiting in self._queue:
                if waiting.message.id == message.id:
                    return Sent(waiting.message, waiting.answer_id, True, self.row.seq)
            if not self._pending:
                break
            await self._stored()
        answer = await self._store.answer(self.id, message)
        if answer is None:
            return Sent(message, None, True, self.row.seq)
        return Sent(message, answer.id, True, answer.seq - 1, answer)

    def _begin(self, waiting: Waiting) -> None:
        message, answer_id = waiting
        running = Running(message.id, answer_id, self.row.seq, now())
        self.row.running = running
        answer = Answer(answer_id, message.id, running.started_at)
        turn = Turn(
            self.id,
            message,
            answer_id,
            lambda limit: self._history_before(message, limit),
            session_metadata=self.row.metadata,
        )
        run = self._run = Run(self._agent, turn, running, answer, self)
        # The agent must not act upon a message that a crash could still take back.
        self._then(lambda error: None if error else run.start())

    def _next_turn(self, change: Change) -> None:
        if not self._queue or self.draining or self._held:
            return
        waiting = self._queue.popleft()
        self.row.queued -= 1
        message = msgspec.structs.replace(waiting.message, status="complete")
        seq = self.next_seq()
        self._append(change, Frame.of(StatusEvent(seq, message.id, "running"), seq))
        self._put(change, message, seq)
        self._begin(Waiting(message, waiting.answer_id))

    def _stop(self, run: Run) -> None:
        """Stop a turn once the intent to do so is stored with the change that is being made."""
        run.running.stopping = True
        self._then(lambda error: None if error else run.cancel("stopped"))

    def _finish(self, change: Change, answer: Answer, status: MessageStatus) -> None:
        seq = self.next_seq()
        if not answer.seq:
            answer.seq = seq
        message = answer.settled(status)
        body = encode(message)
        self._append(change, Frame.of_message(message, body, seq))
        change.messages[message.id] = StoredMessage(message, body, seq)
        self.row.message_count += 1
        self.row.running = None
        self._touch()

    async def _turn_ended(self, run: Run) -> None:
        while self._run is run and not self.broken:
            ended = asyncio.get_running_loop().create_future()
            self._ended.append(ended)
            await ended
        await self._stored()

    def _tell_ended(self) -> None:
        ended, self._ended = self._ended, []
        for future in ended:
            if not future.done():
                future.set_result(None)

    # Reading ------------------------------------------------------------------------------------

    async def _known(self, draft: Draft) -> Message | None:
        if draft.id is None:
            return None
        message = await self._find(draft.id)
        if message is None:
            if self._run is not None and self._run.running.answer == draft.id:
                raise MessageConflict
            return None
        if message.role != draft.role or message.parts != draft.parts:
            raise MessageConflict
        return message

    async def _find(self, message_id: str) -> Message | None:
        for change, _ in reversed(self._pending):
            if message_id in change.messages:
                return change.messages[message_id].message
            if message_id in change.deleted:
                return None
        return await self._store.message(self.id, message_id)

    async def _stored_message(self, message_id: str) -> Message:
        if self._run is not None and self._run.running.answer == message_id:
            raise TurnInProgress
        message = await self._find(message_id)
        if message is None:
            raise MessageNotFound
        return message

    async def _seq_of(self, message_id: str) -> int:
        if self._run is not None and self._run.answer.id == message_id:
            return self._run.answer.seq or self.next_seq()
        message = await self._find(message_id)
        if message is None:
            raise MessageNotFound
        return message.seq

    async def _as_it_stands(self) -> Body | None:
        """The answer that is being written, once everything that is in it is stored."""
        answer = None if self._run is None else self._run.answer
        body = None
        if answer is not None and answer.seq:
            body = Body(answer.seq, answer.seq, encode(answer.message()))
        await self.recorded()
        return body

    async def _from(self, seq: int) -> list[Message]:
        """All messages from a seq on; what is being written is waited for first."""
        await self.recorded()
        found: list[Message] = []
        after = seq - 1
        while bodies := await self._store.following(self.id, CHUNK, after):
            found.extend(decode_message(body.body) for body in bodies)
            after = bodies[-1].seq
        return found

    async def _history_before(self, question: Message, limit: int) -> list[Message]:
        newest = await self._store.newest(self.id, limit + len(self._queue) + 1, None)
        messages = [decode_message(body.body) for body in newest]
        asked = {message.id: message.seq for message in messages}

        def place(message: Message) -> tuple[int, int]:
            """An answer stands behind its question, also where others were queued between."""
            if message.reply_to is not UNSET and message.reply_to in asked:
                return asked[message.reply_to], message.seq
            return message.seq, 0

        settled = (
            message
            for message in messages
            if message.id != question.id and message.status != "queued"
        )
        before = [m for m in sorted(settled, key=place) if place(m) < (question.seq, 0)]
        return before[-limit:] if limit else []

    # Writing ------------------------------------------------------------------------------------

    def _change(self, durable: bool = True) -> Change:
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

    def _then(self, outcome: Outcome) -> None:
        """Do something right after the commit of everything so far, and its publication."""
        self._pending[-1][1].append(outcome)

    async def _stored(self) -> None:
        """Wait for the commit of everything so far; raises if it fails."""
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

        self._then(tell)
        await future

    def _done(self, change: Change, error: Exception | None) -> None:
        _, outcomes = self._pending.popleft()
        if error is not None:
            self._break(error)
        elif change.frames:
            self._bus.publish(self.id, change.frames)
        for outcome in outcomes:
            outcome(error)
        self._on_change(self)

    def _break(self, error: Exception) -> None:
        if self.broken:
            return
        self.broken = True
        if self._run is not None:
            self._run.drop()
            self._run = None
        self._tell_ended()
        notice = ErrorEvent(str(error), getattr(error, "code", "internal_error"))
        self._bus.publish(self.id, [Frame.of(notice, 0)])

    def _append(self, change: Change, frame: Frame) -> None:
        self.row.seq = frame.seq
        change.frames.append(frame)

    def _put(self, change: Change, message: Message, changed: int) -> None:
        change.messages[message.id] = StoredMessage(message, encode(message), changed)
        self._touch()

    def _put_new(self, change: Change, message: Message) -> None:
        body = encode(message)
        self._append(change, Frame.of_message(message, body, message.seq))
        change.messages[message.id] = StoredMessage(message, body, message.seq)
        self.row.message_count += 1
        if not self.row.title:
            self.row.title = title_of(message)
        self._touch()

    def _delete(self, change: Change, messages: Iterable[Message]) -> None:
        gone = set()
        for message in messages:
            seq = self.next_seq()
            self._append(change, Frame.of(DeletedEvent(seq, message.id), seq))
            change.messages.pop(message.id, None)
            change.deleted[message.id] = seq
            self.row.message_count -= 1
            gone.add(message.id)
        waiting = deque(waiting for waiting in self._queue if waiting.message.id not in gone)
        self.row.queued -= len(self._queue) - len(waiting)
        self._queue = waiting
        self._touch()

    def _append_session(self, change: Change) -> None:
        seq = self.next_seq()
        self.row.seq = seq
        self._touch()
        self._append(change, Frame.of(SessionEvent(seq, self._value()), seq))

    def _value(self) -> SessionValue:
        return value_of(self.row)

    def _touch(self) -> None:
        self.row.updated_at = now()

    def _message(self, draft: Draft, status: MessageStatus) -> Message:
        return Message(
            draft.id or new_id(),
            draft.role,
            text_of(draft.parts),
            draft.parts,
            now(),
            self.next_seq(),
            status,
            UNSET if draft.metadata is None else draft.metadata,
        )


def _with_running(
    found: list[Body], running: Body | None, belongs: Callable[[int], bool]
) -> list[bytes]:
    """A page, oldest first, with the answer that was being written if it was not settled since."""
    if running and belongs(running.seq) and all(body.seq != running.seq for body in found):
        insort(found, running)
    return [body.body for body in found]


def value_of(row: Row) -> SessionValue:
    """A stored session as its clients see it."""
    status: SessionStatus = "running" if row.running else "queued" if row.queued else "idle"
    return SessionValue(
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
