"""The turns of one session: the one that runs, those that wait, and those a crash cut off."""

import asyncio
import logging
from collections import deque
from typing import NamedTuple

import msgspec

from sessile.agents.base import Agent
from sessile.history.pages import Pages
from sessile.session.journal import Journal
from sessile.session.questions import Policy
from sessile.session.runner import Run
from sessile.store.base import Running, Store
from sessile.wire.events import DeltaEvent, ErrorEvent, PartEvent, StatusEvent
from sessile.wire.fold import Answer, GapError, fold_answer
from sessile.wire.ids import new_id, now
from sessile.wire.messages import Message, MessageStatus, Metadata

log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """A message that waits for its turn, and the id that its answer will have."""

    message: Message
    answer_id: str


class Turns:
    """One turn at a time, first come first served. It is also the ledger of the turn that runs.

    While ``held``, or when ``draining``, no turn begins. ``retries`` is how often a turn that a
    crash cut off is begun again; with 0 it is settled as interrupted. ``policy`` says who answers
    what an agent asks.
    """

    def __init__(
        self, journal: Journal, store: Store, agent: Agent, retries: int, policy: Policy
    ) -> None:
        self.queue: deque[Waiting] = deque()
        self.run: Run | None = None
        self.held = False
        self.draining = False
        self.pages = Pages(journal, store, self.writing)
        self._journal = journal
        self._store = store
        self._agent = agent
        self._retries = retries
        self._policy = policy
        self._ended: list[asyncio.Future[None]] = []

    @property
    def busy(self) -> bool:
        """A turn runs, or messages wait."""
        return self.run is not None or bool(self.queue)

    @property
    def question(self) -> str | None:
        """The id of the message that is being answered."""
        return None if self.run is None else self.run.running.question

    @property
    def answer(self) -> str | None:
        """The id of the answer that is being written."""
        return None if self.run is None else self.run.running.answer

    def writing(self) -> Answer | None:
        """The answer that is being written, as it stands."""
        return None if self.run is None else self.run.answer

    # Taking up what a process that is gone left behind --------------------------------------------

    async def wake(self) -> None:
        row = self._journal.row
        if row.queued:
            self.queue.extend(
                Waiting(message, new_id()) for message in await self._store.queue(row.id)
            )
        if row.running is None and not self.queue:
            return
        if row.running is not None:
            answer = await self._cut_off(row.running)
            question = await self._store.message(row.id, row.running.question)
            self._settle_or_retry(row.running, answer, question)
        self.next()
        await self._journal.stored()

    async def _cut_off(self, running: Running) -> Answer:
        answer = Answer(running.answer, running.question, running.started_at)
        session = self._journal.row.id
        frames = await self._store.events(session, running.since)
        try:
            fold_answer(answer, frames or ())
        except GapError as gap:
            log.error("session %s: its answer is kept as far as it goes: %s", session, gap)
        return answer

    def _settle_or_retry(self, running: Running, answer: Answer, question: Message | None) -> None:
        may_retry = running.retries < self._retries and not running.stopping
        if question is None or answer.used_tools or not may_retry:
            self._finish(answer, "stopped" if running.stopping else "interrupted")
            return
        self._journal.change()
        running.retries += 1
        if answer.seq:
            # Those who watch have words of the first try: the answer stands empty again.
            answer.clear()
            self._journal.show(answer.message())
        self._start(question, running, answer)

    # How a turn begins --------------------------------------------------------------------------

    def begin(self, waiting: Waiting) -> None:
        """Answer a message now."""
        message, answer_id = waiting
        self._journal.change()
        running = Running(message.id, answer_id, self._journal.row.seq, now())
        self._journal.row.running = running
        self._start(message, running, Answer(answer_id, message.id, running.started_at))

    def enqueue(self, waiting: Waiting) -> None:
        """Answer a message when those before it are answered."""
        self.queue.append(waiting)
        self._journal.row.queued += 1
        event = StatusEvent(self._journal.next_seq, waiting.message.id, "queued", len(self.queue))
        self._journal.record(event)

    def next(self) -> None:
        """Begin the turn of the message that has waited longest, if it may."""
        if not self.queue or self.run or self.draining or self.held:
            return
        waiting = self.queue.popleft()
        self._journal.row.queued -= 1
        message = msgspec.structs.replace(waiting.message, status="complete")
        self._journal.put(message, StatusEvent(self._journal.next_seq, message.id, "running"))
        self.begin(Waiting(message, waiting.answer_id))

    def withdraw(self, gone: set[str]) -> None:
        """Take messages out of the queue that were deleted."""
        kept = deque(waiting for waiting in self.queue if waiting.message.id not in gone)
        self._journal.row.queued -= len(self.queue) - len(kept)
        self.queue = kept

    def replace(self, message: Message) -> None:
        """Put what a message has become in its place in the queue."""
        self.queue = deque(
            Waiting(message, waiting.answer_id) if waiting.message.id == message.id else waiting
            for waiting in self.queue
        )

    def _start(self, message: Message, running: Running, answer: Answer) -> None:
        session = self._journal.row.id
        run = self.run = Run(session, message, running, answer, self._agent, self, self._policy)
        # The agent must not act upon a message that a crash could still take back.
        self._journal.then(lambda error: None if error else run.start())

    # How a turn ends ----------------------------------------------------------------------------

    def stop(self, run: Run) -> None:
        """Stop a turn, once the intent to do so is stored."""
        self._journal.change()
        run.running.stopping = True
        self._journal.then(lambda error: None if error else run.cancel("stopped"))

    def interrupt(self) -> None:
        """Settle the turn that runs as interrupted."""
        if self.run is not None:
            self.run.cancel("interrupted")

    def give_up(self) -> None:
        """Drop the turn that runs, for a session that cannot be written any more."""
        if self.run is not None:
            self.run.drop()
            self.run = None
        self._tell_ended()

    async def ended(self, run: Run) -> None:
        """Wait until a turn is settled, and that is stored."""
        while self.run is run and not self._journal.broken:
            ended = asyncio.get_running_loop().create_future()
            self._ended.append(ended)
            await ended
        await self.recorded()

    def _finish(self, answer: Answer, status: MessageStatus) -> None:
        if not answer.seq:
            answer.seq = self._journal.next_seq
        self._journal.settle(answer.settled(status))
        self._journal.row.running = None

    def _tell_ended(self) -> None:
        ended, self._ended = self._ended, []
        for future in ended:
            if not future.done():
                future.set_result(None)

    # The ledger of the turn that runs -------------------------------------------------------------

    @property
    def metadata(self) -> Metadata:
        return self._journal.row.metadata

    async def history(self, question: Message, messages: int) -> list[Message]:
        return await self.pages.before(question, messages, len(self.queue))

    async def remember(self, metadata: Metadata) -> None:
        self._journal.merge(metadata)
        self._journal.put_session()
        await self._journal.stored()

    def record(self, event: DeltaEvent | PartEvent) -> None:
        self._journal.extend(event)

    async def recorded(self) -> None:
        await self._journal.recorded()

    def settle(self, run: Run, status: MessageStatus, error: ErrorEvent | None) -> None:
        if self._journal.broken:
            return
        if error is not None:
            run.answer.metadata["error"] = {"error": error.error, "code": error.code}
        self._finish(run.answer, status)
        self.run = None
        run.ended_as = status
        self.next()
        self._journal.then(lambda _: self._tell_ended())
