"""One turn: run the agent, make events of what it yields, and say how it ended."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import UNSET

from sessile.agents.base import Agent, Output, Turn, Unfinished
from sessile.agents.contain import contain
from sessile.logs import fit, fit_error
from sessile.redact import reason_for_users
from sessile.session.host import Kept, TurnHost
from sessile.session.host import Ledger as HostLedger
from sessile.session.limits import SessionLimits
from sessile.session.questions import Questions
from sessile.session.reply import Reply
from sessile.session.writing import AnswerWriter, Events
from sessile.store.base import RunningTurn
from sessile.wire.codec import decode_json, encode
from sessile.wire.errors import AgentError, SessileError
from sessile.wire.events import ErrorEvent
from sessile.wire.fold import Answer
from sessile.wire.ids import now
from sessile.wire.messages import Message, MessageStatus, Metadata, decode_message, decode_metadata
from sessile.wire.parts import Question, ToolCallPart

log = logging.getLogger(__name__)

# How an agent is made to let go: its turn is over, or it is ``left`` and goes on later.
Ending: TypeAlias = Literal["stopped", "interrupted", "left"]

# An agent that yields without ever waiting hands over after so many outputs, so that what it has
# is stored and shown, and other sessions get their share of the loop.
STRIDE = 64

# Seconds that a cancelled agent has to clean up before its turn is settled without it.
CANCEL_GRACE = 2.0

LOOK = 60.0  # seconds between two looks whether the time of a question is over


class Ledger(Events, HostLedger, Protocol):
    """What a turn needs of its session. While it is ``draining`` no agent is called."""

    draining: bool

    @property
    def metadata(self) -> Metadata:
        """The session's metadata."""

    def allow(self, key: str) -> None:
        """Store that what has this key needs no permission in the session."""

    def note(self, runner: "TurnRunner") -> None:
        """Store the turn as its runner has it."""

    def left(self, runner: "TurnRunner") -> None:
        """The agent has let go of a turn that goes on later."""

    def resume(self, runner: "TurnRunner") -> None:
        """Call the agent of a parked turn again."""

    def settle(self, runner: "TurnRunner", status: MessageStatus, error: ErrorEvent | None) -> None:
        """Replace the events by the message they make."""


class TurnRunner:
    """A turn that is being answered in this process.

    With ``again`` its agent was called before: it gets what the answer has so far, and what it
    ``kept``. A turn that is parked has no agent until it is started.
    """

    def __init__(
        self,
        session: str,
        question: Message,
        running: RunningTurn,
        answer: Answer,
        agent: Agent,
        ledger: Ledger,
        limits: SessionLimits,
        request: dict[str, Any] | None = None,
        kept: Kept | None = None,
        again: bool = False,
    ) -> None:
        self.running = running
        self.answer = answer
        self.kept = kept
        self.continues = limits.continues and continues(agent)
        self.ended_as: MessageStatus | None = None
        self._session = session
        self._question = question
        self._request = request
        self._agent = agent
        self._ledger = ledger
        self._limits = limits
        self._again = again
        self._writer = AnswerWriter(answer, ledger, limits.sizes, self.continues)
        self._questions: Questions | None = None  # most turns ask nothing
        self._ending: Ending | None = None
        self._settled = False
        self.is_left = False  # the agent has let go, and is called again later
        self.answered = False  # while the agent was letting go
        self.doubted = False  # the history before it has changed: what was kept is not true
        # While it runs: the two know each other, and would wait for the collector of cycles.
        self._host: TurnHost | None = None
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting: asyncio.TimerHandle | None = None

    @property
    def parked(self) -> bool:
        """It waits for the answers to its questions without an agent."""
        return self.running.parked

    @property
    def only_waits(self) -> bool:
        """It does nothing but wait for the answers to its questions."""
        return bool(self.running.asked) and not any(map(_may_run, self.answer.calls()))

    def start(self) -> None:
        """Call the agent, unless the turn was settled while its beginning was being stored."""
        if self._settled or self._task is not None:
            return
        if self._ledger.draining and self.continues:
            self.leave()
            return
        self.is_left = False
        host = self._host = TurnHost(self, self._ledger, self._question)
        turn = Turn(
            self._session,
            self._question,
            self.answer.id,
            host,
            dict(self._ledger.metadata),
            dict(self._ledger.private),
            self._request,
            self._unfinished() if self._again else None,
        )
        if self.kept is not None:
            turn.metadata.update(self.kept.metadata)
        host.turn = turn
        self._task = asyncio.create_task(self._drive(turn, host), name=f"turn {self.answer.id}")
        self._watch()

    def _unfinished(self) -> Unfinished:
        parts = decode_message(encode(self.answer.message())).parts
        record = None if self.kept is None else decode_json(encode(self.kept.record))
        return Unfinished(parts, record)

    def cancel(self, ending: Ending) -> None:
        """End the turn soon: at once if the agent lets go, after two seconds if it does not."""
        if self._settled or self._ending in ("stopped", "interrupted"):
            return
        is_under_way = self._ending is not None
        self._ending = ending
        if self._host is not None:
            self._host.is_left = ending == "left"
        if self._task is None:
            self._end()
        elif not is_under_way:
            self._task.cancel()
            self._deadline = asyncio.get_running_loop().call_later(CANCEL_GRACE, self._end)

    def leave(self) -> None:
        """Make the agent let go of a turn that goes on later."""
        if not self.is_left and self._ending is None:
            self.cancel("left")

    def drop(self) -> None:
        """Give the turn up without settling it: its session can no longer be written."""
        self._settled = True
        task = self._task
        self._forget()
        if task is not None:
            task.cancel()

    # Questions ------------------------------------------------------------------------------------

    @property
    def questions(self) -> Questions:
        """What the turn asks."""
        if self._questions is None:
            calls = self.answer.calls() if self._again else ()
            self._questions = Questions(
                self.running,
                self._limits.approval,
                self._writer.calls.find,
                self._show,
                lambda: self._ending is not None or self._settled,
                calls,
            )
        return self._questions

    def answer_question(self, id: str, reply: Reply) -> Question | None:
        """Answer a question of this turn; None if it has no such question.

        Raises as :meth:`~sessile.session.questions.Questions.answer`.
        """
        if self._is_ending or not (self._questions or self._again):
            return None
        if 0 < self.running.expires_at <= now() and self.questions.expire(now()) and self.parked:
            self._ledger.resume(self)
        key = self.running.asked.get(id)
        question = self.questions.answer(id, reply)
        if question is not None and reply.always and reply.approve and key:
            self._ledger.allow(key)
        if question is not None and self.parked:
            self._ledger.resume(self)
        self.answered = self.answered or (question is not None and self._ending == "left")
        return question

    def expire(self, until: int) -> None:
        """End the questions of a parked turn whose time is over at ``until`` (unix seconds)."""
        if self.parked and not self._is_ending:
            expired = self.questions.expire(until)
            if expired or not self.running.asked:
                self._ledger.resume(self)

    @property
    def _is_ending(self) -> bool:
        return self._settled or self._ending in ("stopped", "interrupted")

    @property
    def is_over(self) -> bool:
        """The agent is on its way out: it can ask nothing."""
        return self._settled or self._ending is not None

    def begin_part(self) -> None:
        """Let the next text or reasoning begin a new part."""
        self._writer.begin_part()

    def _show(self, call: ToolCallPart) -> None:
        """Write a tool call about which something was asked or answered, and the turn with it."""
        if self._is_ending:
            return
        self._writer.show(call)
        questions = self.questions
        if questions.keys or self.running.asked:
            self.running = msgspec.structs.replace(
                self.running,
                asked=questions.keys,
                expires_at=questions.expires_at,
                decided=dict(questions.decided),
            )
            self._ledger.note(self)
            self._watch()

    def _watch(self, again: bool = False) -> None:
        """While something is asked, look in a while whether that is all, or whether its time is over."""
        if self._waiting is not None or self._task is None or not self.running.asked:
            return
        parks = self.continues and getattr(self._agent, "parks", True)
        pause = max(self._limits.park_after, 1.0 if again else 0.0) if parks else LOOK
        pause = min(pause, max(1.0, self.running.expires_at - now()))
        stands = self._writer.puts, self._writer.size
        loop = asyncio.get_running_loop()
        self._waiting = loop.call_later(pause, self._look, parks, stands)

    def _look(self, parks: bool, stood: tuple[int, int]) -> None:
        self._waiting = None
        if self._task is None or self.is_over:
            return
        self.questions.expire(now() - 1)  # who waits for one has its own timer
        if parks and self.only_waits and stood == (self._writer.puts, self._writer.size):
            self.leave()
        else:
            self._watch(again=True)

    # Running it ---------------------------------------------------------------------------------

    async def _drive(self, turn: Turn, host: TurnHost) -> None:
        contain()
        error: BaseException | None = None
        try:
            async with aclosing(self._agent.reply(turn)) as outputs:
                await self._take_all(outputs, host)
        except BaseException as raised:
            error = raised
        if self._host is not host:  # it did not let go in time
            return
        if error is None or self._ending:
            self._end()
        elif self._is_cancelled(error):
            self._settle("interrupted")
        else:
            self._settle("error", self._shown(error))

    def _is_cancelled(self, error: BaseException) -> bool:
        """Whether this turn was cancelled, and not only something that its agent waited for."""
        cancelled = self._task is not None and self._task.cancelling() > 0
        return cancelled and isinstance(error, asyncio.CancelledError)

    async def _take_all(self, outputs: AsyncGenerator[Output, None], host: TurnHost) -> None:
        count = 0
        take = self._writer.take
        async for output in outputs:
            if self._ending or self._host is not host:
                return
            must_be_stored = take(output)
            count += 1
            if must_be_stored or count % STRIDE == 0:
                await self._ledger.recorded()
        self._writer.write_half()

    def _shown(self, error: BaseException) -> ErrorEvent:
        """What the clients see of an error; the rest of it is for the log."""
        name, content = self._agent.name, self._question.content
        if isinstance(error, AgentError):
            if error.details:
                details = fit(error.details, content)
                log.warning("the agent %s: %s (%s)", name, fit(str(error), content), details)
            return ErrorEvent(_with_reason(error, content), error.code)
        if isinstance(error, SessileError):
            return ErrorEvent(str(error), error.code)
        log.error("the agent %s failed", name, exc_info=fit_error(error, content))
        kind = type(error).__name__
        return ErrorEvent(f"The agent failed ({kind}); the server's log says why.", "agent_error")

    def _end(self) -> None:
        """The agent has let go, or its time for that is over."""
        if self._ending == "left":
            self._left()
        else:
            self._settle(self._ending or "complete")

    def _left(self) -> None:
        metadata = self._metadata()
        if metadata:
            self.kept = Kept(None if self.kept is None else self.kept.record, metadata)
            self._ledger.keep(encode(self.kept))
        self._forget()
        if self._questions is not None:
            self._questions.detach()
        self._ending, self._again, self._questions, self.is_left = None, True, None, True
        self._writer = AnswerWriter(self.answer, self._ledger, self._limits.sizes, self.continues)
        self._ledger.left(self)

    def _settle(self, status: MessageStatus, error: ErrorEvent | None = None) -> None:
        if self._settled:
            return
        self._settled = True
        self.answer.metadata.update(self._metadata())
        self._forget()
        self._ledger.settle(self, status, error)

    def _metadata(self) -> Metadata:
        """What the agent has put into the answer's metadata."""
        turn = None if self._host is None else self._host.turn
        if turn is None:
            return {} if self.kept is None else self.kept.metadata
        try:
            return decode_metadata(encode(turn.metadata)) if turn.metadata else {}
        except (TypeError, ValueError, RecursionError) as unfit:
            log.error("metadata of the agent %s is not JSON: %s", self._agent.name, fit(str(unfit)))
            return {}

    def _forget(self) -> None:
        """Let go of the agent."""
        for timer in (self._deadline, self._waiting):
            if timer is not None:
                timer.cancel()
        if self._host is not None:
            self._host.turn = None
        self._host = self._task = self._deadline = self._waiting = None


def _may_run(call: ToolCallPart) -> bool:
    """Whether a tool may run at this moment."""
    if call.state == "pending":
        return call.question is not UNSET and call.question.state == "approved"
    return call.state == "running" and not call.asks


def kind_of(agent: Agent) -> str:
    """The kind of an agent: its name before a colon, behind which a model may change."""
    return agent.name.partition(":")[0]


def continues(agent: Agent) -> bool:
    """Whether an agent can go on with a turn that was cut off."""
    return bool(getattr(agent, "continues", False))


def _with_reason(error: AgentError, content: str) -> str:
    if error.reason is None:
        return str(error)
    reason = reason_for_users(error.reason, content)
    return f"{error} It says: {reason}" if reason else f"{error} The server's log has its reply."
