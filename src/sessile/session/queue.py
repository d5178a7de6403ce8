"""The turns of one session: the one that runs and those that wait."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

import msgspec

from sessile.agents.base import Agent
from sessile.history.pages import History
from sessile.session.journal import Journal
from sessile.session.limits import Sizes
from sessile.session.questions import Policy
from sessile.session.runner import TurnRunner
from sessile.store.base import RunningTurn
from sessile.wire.events import ErrorEvent, PartEvent, StatusEvent
from sessile.wire.fold import Answer
from sessile.wire.ids import answer_id, now
from sessile.wire.messages import Message, MessageStatus, Metadata


class QueuedTurn(NamedTuple):
    """A message that waits for its turn, the id that its answer will have, and what the client
    sent along for the agent."""

    message: Message
    answer_id: str
    request: dict[str, Any] | None = None


class TurnQueue:
    """One turn at a time, first come first served. It is also the ledger of the turn that runs.

    While ``held``, or when ``draining``, no turn begins. ``policy`` says who answers what an
    agent asks.
    """

    def __init__(
        self, journal: Journal, history: History, agent: Agent, policy: Policy, sizes: Sizes
    ) -> None:
        self.waiting: deque[QueuedTurn] = deque()
        self.runner: TurnRunner | None = None
        self.held = False
        self.draining = False
        self._journal = journal
        self._history = history
        self._agent = agent
        self._policy = policy
        self._sizes = sizes
        self._ended: list[asyncio.Future[None]] = []
        self.write = journal.write

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
        running = RunningTurn(message.id, answer_id, since, now())
        self.start(message, running, Answer(answer_id, message.id, running.started_at), request)

    def start(
        self,
        message: Message,
        running: RunningTurn,
        answer: Answer,
        request: dict[str, Any] | None,
    ) -> None:
        """Run the agent, once everything so far is stored."""
        self._journal.row.running = running
        session = self._journal.row.id
        runner = self.runner = TurnRunner(
            session, message, running, answer, self._agent, self, self._policy, self._sizes, request
        )
        # The agent must not act upon a message that a crash could still take back.
        self._journal.then(lambda error: None if error else runner.start())

    # How a turn ends ----------------------------------------------------------------------------

    def stop(self, runner: TurnRunner) -> None:
        """Stop a turn, once the intent to do so is stored."""
        self._journal.change()
        runner.running = msgspec.structs.replace(runner.running, stopping=True)
        self._journal.row.running = runner.running
        self._journal.then(lambda error: None if error else runner.cancel("stopped"))

    def interrupt(self) -> None:
        """Settle the turn that runs as interrupted."""
        if self.runner is not None:
            self.runner.cancel("interrupted")

    def give_up(self) -> None:
        """Drop the turn that runs, for a session that cannot be written any more."""
        if self.runner is not None:
            self.runner.drop()
            self.runner = None
        self._report_end()

    async def ended(self, runner: TurnRunner) -> None:
        """Wait until a turn is settled, and that is stored."""
        while self.runner is runner and not self._journal.broken:
            ended = asyncio.get_running_loop().create_future()
            self._ended.append(ended)
            await ended
        await self.recorded()

    def finish(self, answer: Answer, status: MessageStatus) -> None:
        """Write an answer as it is at its end."""
        if not answer.seq:
            answer.seq = self._journal.next_seq
        self._journal.finish(answer.settled(status))
        self._journal.row.running = None

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

    async def history(self, question: Message, messages: int) -> list[Message]:
        return await self._history.before(self._journal.row.id, question.seq, messages)

    async def remember(self, metadata: Metadata, private: bool) -> None:
        if private:
            self._journal.remember(metadata)
        else:
            self._journal.merge(metadata)
            self._journal.put_session()
        await self._journal.stored()

    def record(self, event: PartEvent) -> None:
        self._journal.extend(event)

    def draft(self, answer: Answer) -> None:
        self._journal.draft(answer.message())

    async def recorded(self) -> None:
        await self._journal.recorded()

    def settle(self, runner: TurnRunner, status: MessageStatus, error: ErrorEvent | None) -> None:
        if self._journal.broken:
            return
        if error is not None:
            runner.answer.metadata["error"] = {"error": error.error, "code": error.code}
        self.finish(runner.answer, status)
        self.runner = None
        runner.ended_as = status
        self.next()
        self._journal.then(lambda _: self._report_end())
