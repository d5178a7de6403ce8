"""The turns of one session: the one that runs and those that wait."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from sessile.agents.base import Agent
from sessile.history.pages import History
from sessile.session.host import Kept
from sessile.session.journal import Journal
from sessile.session.limits import SessionLimits
from sessile.session.questions import ALWAYS
from sessile.session.reply import Reply, asks
from sessile.session.runner import TurnRunner, continues, kind_of
from sessile.store.base import RunningTurn
from sessile.wire.codec import encode
from sessile.wire.errors import QuestionAnswered, QuestionNotFound
from sessile.wire.events import ErrorEvent, PartEvent, StatusEvent
from sessile.wire.fold import Answer
from sessile.wire.ids import answer_id, now
from sessile.wire.messages import Message, MessageStatus, Metadata, PastMessage
from sessile.wire.parts import Question


class QueuedTurn(NamedTuple):
    """A message that waits for its turn, the id that its answer will have, and what the client
    sent along for the agent."""

    message: Message
    answer_id: str
    request: dict[str, Any] | None = None


class TurnQueue:
    """One turn at a time, first come first served. It is also the ledger of the turn that runs.

    While ``held``, or when ``draining``, no turn begins.
    """

    def __init__(
        self, journal: Journal, history: History, agent: Agent, limits: SessionLimits
    ) -> None:
        self.waiting: deque[QueuedTurn] = deque()
        self.runner: TurnRunner | None = None
        self.held = False
        self.draining = False
        self._journal = journal
        self._history = history
        self._agent = agent
        self._limits = limits
        self._ended: list[asyncio.Future[None]] = []
        self.write = journal.write

    @property
    def continues(self) -> bool:
        """Whether the agent continues a turn that was cut off."""
        return self._limits.continues and continues(self._agent)

    @property
    def kind(self) -> str:
        """The kind of the agent: its name before a colon, behind which a model may change."""
        return kind_of(self._agent)

    @property
    def busy(self) -> bool:
        """A turn runs, or messages wait."""
        return self.runner is not None or bool(self.waiting)

    @property
    def question(self) -> str | None:
        """The id of the message that is being answered."""
        return None if self.runner is None else self.runner.running.question

    @property
    def answer(self) -> str | None:
        """The id of the answer that is being written."""
        return None if self.runner is None else self.runner.running.answer

    # How a turn begins --------------------------------------------------------------------------

    def begin(
        self, message: Message, answer_id: str, request: dict[str, Any] | None = None
    ) -> None:
        """Answer a message at once."""
        since = self._journal.row.seq
        self._journal.record(StatusEvent(since + 1, message.id, "running"))
        self._begin(message, answer_id, since, request)

    def queued(self, message: Message, request: dict[str, Any] | None = None) -> QueuedTurn:
        """The turn of a message that waits."""
        id = answer_id(self._journal.row.epoch, message.id, message.seq)
        return QueuedTurn(message, id, request)

    def enqueue(self, message: Message, request: dict[str, Any] | None = None) -> QueuedTurn:
        """Answer a message when those before it are answered."""
        turn = self.queued(message, request)
        self.waiting.append(turn)
        self._journal.row.queued += 1
        event = StatusEvent(self._journal.next_seq, message.id, "queued", len(self.waiting))
        self._journal.record(event)
        return turn

    def next(self) -> None:
        """Begin the turn of the message that has waited longest, if it may."""
        if not self.waiting or self.runner or self.draining or self.held:
            return
        queued, answer_id, request = self.waiting.popleft()
        self._journal.row.queued -= 1
        since = self._journal.row.seq
        message = msgspec.structs.replace(queued, status="complete", seq=since + 1)
        event = StatusEvent(message.seq, message.id, "running")
        self._journal.move(message, event, queued.seq)
        self._begin(message, answer_id, since, request)

    def withdraw(self, gone: set[str]) -> None:
        """Take messages out of the queue that were deleted."""
        kept = deque(turn for turn in self.waiting if turn.message.id not in gone)
        self._journal.row.queued -= len(self.waiting) - len(kept)
        self.waiting = kept

    def replace(self, message: Message) -> None:
        """Put what a message has become in its place in the queue."""
        self.waiting = deque(
            turn._replace(message=message) if turn.message.id == message.id else turn
            for turn in self.waiting
        )

    def _begin(
        self, message: Message, answer_id: str, since: int, request: dict[str, Any] | None
    ) -> None:
        running = RunningTurn(message.id, answer_id, since, now(), agent=self.kind)
        answer = Answer(answer_id, message.id, running.started_at)
        self.start(self.stand(message, running, answer, request))

    def stand(
        self,
        message: Message,
        running: RunningTurn,
        answer: Answer,
        request: dict[str, Any] | None,
        kept: Kept | None = None,
        again: bool = False,
    ) -> TurnRunner:
        """Take up a turn, whose agent is not called yet."""
        self.runner = TurnRunner(
            self._journal.row.id,
            message,
            running,
            answer,
            self._agent,
            self,
            self._limits,
            request,
            kept,
            again,
        )
        return self.runner

    def start(self, runner: TurnRunner) -> None:
        """Run the agent, once everything so far is stored."""
        self._journal.row.running = runner.running
        # The agent must not act upon a message that a crash could still take back.
        self._journal.then(lambda error: None if error else runner.start())

    def go_on(self, runner: TurnRunner) -> None:
        """Run the agent of a turn that was cut off, and say so."""
        event = StatusEvent(
            self._journal.next_seq, runner.running.question, "running", continued=True
        )
        self._journal.record(event)
        self.start(runner)

    async def answer_question(self, id: str, reply: Reply) -> Question:
        """Write the answer to a question of the turn that runs.

        Raises :class:`~sessile.wire.errors.QuestionNotFound`, and
        :class:`~sessile.wire.errors.QuestionAnswered`, also for a question of a turn that is over.
        """
        question = None if self.runner is None else self.runner.answer_question(id, reply)
        if question is not None:
            return question
        await self._journal.recorded()
        answer_id, runner = id.rpartition(".")[0], self.runner
        if runner is not None and runner.answer.id == answer_id:
            parts = runner.answer.parts()
        else:
            message = await self._journal.find(answer_id)
            parts = [] if message is None else message.parts
        if any(asks(part, id) for part in parts):
            raise QuestionAnswered
        raise QuestionNotFound

    # How a turn ends ----------------------------------------------------------------------------

    def stop(self, runner: TurnRunner) -> None:
        """Stop a turn, once the intent to do so is stored."""
        self._journal.change()
        runner.running = msgspec.structs.replace(runner.running, stopping=True, parked=False)
        self._journal.row.running = runner.running
        self._journal.then(lambda error: None if error else runner.cancel("stopped"))

    def interrupt(self) -> None:
        """Settle the turn that runs as interrupted, or leave it to the next process."""
        if self.runner is None:
            return
        if self.runner.continues:
            self.runner.leave()
        else:
            self.runner.cancel("interrupted")

    def give_up(self) -> None:
        """Drop the turn that runs, for a session that cannot be written any more."""
        if self.runner is not None:
            self.runner.drop()
            self.runner = None
        self._report_end()

    async def ended(self, runner: TurnRunner) -> None:
        """Wait until a turn is settled, and that is stored."""
        await self._while(lambda: self.runner is runner)

    async def ended_or_left(self, runner: TurnRunner) -> None:
        """Wait until a turn is settled, or left to go on later, and that is stored."""
        await self._while(lambda: self.runner is runner and not runner.is_left)

    async def _while(self, lasts: Callable[[], bool]) -> None:
        while lasts() and not self._journal.broken:
            ended = asyncio.get_running_loop().create_future()
            self._ended.append(ended)
            await ended
        await self.recorded()

    def finish(self, answer: Answer, status: MessageStatus, kept: Kept | None) -> None:
        """Write an answer as it is at its end, with what its agent kept."""
        if not answer.seq:
            answer.seq = self._journal.next_seq
        doubted = self.runner is not None and self.runner.doubted
        record = None if doubted or kept is None or kept.record is None else encode(kept.record)
        self._journal.finish(answer.settled(status), record)
        self._journal.row.running = None

    def doubt(self, message: Message) -> None:
        """Drop what agents kept with the answers from a message of the history on."""
        if message.status == "queued":
            return
        self._journal.doubt(message.seq)
        if self.runner is not None:
            self.runner.doubted = True
            if self.runner.kept is not None:
                self.runner.kept = Kept(None, self.runner.kept.metadata)
                self._journal.keep(encode(self.runner.kept))

    def _report_end(self) -> None:
        ended, self._ended = self._ended, []
        for future in ended:
            if not future.done():
                future.set_result(None)

    # The ledger of the turn that runs -------------------------------------------------------------

    @property
    def metadata(self) -> Metadata:
        return self._journal.row.metadata

    @property
    def private(self) -> dict[str, Any]:
        return self._journal.row.private

    async def history(self, question: Message, messages: int) -> list[PastMessage]:
        return await self._history.before(self._journal.row.id, question.seq, messages)

    async def remember(self, metadata: Metadata, private: bool) -> None:
        if private:
            self._journal.remember(metadata)
        else:
            self._journal.merge(metadata)
            self._journal.put_session()
        await self._journal.stored()

    def allow(self, key: str) -> None:
        names = self.private.get(ALWAYS)
        names = names if isinstance(names, list) else []
        if key not in names:
            self._journal.remember({ALWAYS: [*names, key]})

    def record(self, event: PartEvent, durable: bool = False) -> None:
        self._journal.extend(event, durable)

    def draft(self, answer: Answer) -> None:
        self._journal.draft(answer.message())

    def keep(self, record: bytes) -> None:
        self._journal.keep(record)

    def note(self, runner: TurnRunner) -> None:
        self._journal.change()
        self._journal.row.running = runner.running

    async def recorded(self) -> None:
        await self._journal.recorded()

    def left(self, runner: TurnRunner) -> None:
        if self._journal.broken:
            return
        was_answered, runner.answered = runner.answered, False
        if runner.only_waits and not was_answered:
            self._stand_still(runner, parked=True)
            self._journal.then(lambda _: self._report_end())
        elif self.draining:
            self._report_end()
        else:
            self._journal.change()
            self.start(runner)

    def resume(self, runner: TurnRunner) -> None:
        self._stand_still(runner, parked=False)
        self.start(runner)

    def _stand_still(self, runner: TurnRunner, parked: bool) -> None:
        """Park a turn or not, with a draft: no event before it is needed, or may be there."""
        runner.running = msgspec.structs.replace(runner.running, parked=parked)
        self.note(runner)
        self.draft(runner.answer)

    def settle(self, runner: TurnRunner, status: MessageStatus, error: ErrorEvent | None) -> None:
        if self._journal.broken or self.runner is not runner:
            return
        if error is not None:
            runner.answer.metadata["error"] = {"error": error.error, "code": error.code}
        self.finish(runner.answer, status, runner.kept)
        self.runner = None
        runner.ended_as = status
        self.next()
        self._journal.then(lambda _: self._report_end())
