"""The questions of one turn: what its agent asks, and the answers.

A question is part of its tool call, so it is stored, shown and found again with the answer that is
being written. Its id begins with the id of that answer, so that one of a turn that is over can be
found in the history.
"""

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from sessile.agents.base import CallResult, Decision
from sessile.session.calls import is_same
from sessile.session.reply import Reply, answered
from sessile.session.schemas import check_output
from sessile.store.base import RunningTurn
from sessile.wire.errors import InvalidRequest, QuestionAnswered
from sessile.wire.ids import now
from sessile.wire.parts import Question, QuestionKind, ToolCallPart

Rule: TypeAlias = Literal["ask", "allow", "deny"]

# The name, in what the server believes of a session, of the tools that need no permission there.
ALWAYS = "alwaysAllowed"


class Policy(NamedTuple):
    """Who approves: people (``ask``), or the rule itself. Who is asked has ``patience`` seconds."""

    rule: Rule = "ask"
    patience: float = 24 * 3600.0


class _Open(NamedTuple):
    """A question that nobody has answered: of which call, and what "always" allows."""

    call: ToolCallPart
    question: Question
    key: str


class Questions:
    """Asks people and clients for one turn, one question at a time for each tool call.

    ``find`` gives a tool call as it stands, by the id that its agent gives it, and ``put`` shows
    it. ``is_over`` says that the agent is on its way out, so that a wait which ends is not its wish.
    ``calls`` are those that the answer has when its agent is called again, and ``running`` has what
    was asked about them: what was answered is not asked again.
    """

    def __init__(
        self,
        running: RunningTurn,
        policy: Policy,
        find: Callable[[str], ToolCallPart | None],
        put: Callable[[ToolCallPart], None],
        is_over: Callable[[], bool],
        calls: Iterable[ToolCallPart] = (),
    ) -> None:
        self.decided = dict(running.decided)
        self._answer_id = running.answer
        self._policy = policy
        self._find = find
        self._put = put
        self._is_over = is_over
        self._former: set[str] = set()  # calls that nothing was asked about since
        self._open: dict[str, _Open] = {}  # by the ids of the questions
        self._closed: dict[str, Question] = {}
        self._waiters: dict[str, list[asyncio.Event]] = {}
        self._always: set[str] = set()
        self._count = 0
        for call in calls:
            self._former.add(call.tool_call_id)
            if (question := call.question) is not UNSET:
                self._count = max(self._count, _number(question.id))
                if question.is_open:
                    key = running.asked.get(question.id, "")
                    self._open[question.id] = _Open(call, question, key)

    @property
    def keys(self) -> dict[str, str]:
        """The ids of the open questions, each with the key of the permission that it is about."""
        return {id: asked.key for id, asked in self._open.items()}

    @property
    def expires_at(self) -> int:
        """When the first open question expires, in unix seconds; 0 where none is open."""
        times = [asked.question.expires_at for asked in self._open.values()]
        return min((time for time in times if time is not UNSET), default=0)

    def detach(self) -> None:
        """Leave everything as it is: others go on with the questions."""
        self._is_over = lambda: True
        self._put = lambda call: None
        self._open = {}

    async def ask(
        self, call: ToolCallPart, allowed: bool, key: str = "", about: str = ""
    ) -> Decision:
        """Show a tool call with a question, and wait for what becomes of it.

        Where it is ``allowed``, or the policy answers, nobody is asked. After the answer "always"
        what has the same ``key`` is allowed. ``about`` tells several questions about one call apart.
        """
        while (question := self._asked(call, "approval", about)) is None:
            if not (before := self._open_about(call)):
                break
            await self._wait(before)
        if (
            question is None
            and about
            and (decided := self.decided.get(f"{call.tool_call_id} {_digest(about)}"))
        ):
            state, message = decided
            return Decision(state, message, allowed)  # type: ignore[arg-type]
        if question is None and (allowed or self._policy.rule != "ask"):
            given = allowed or self._policy.rule == "allow"
            state = "approved" if given else "denied"
            question = Question(self._next_id(about), "approval", state)  # type: ignore[arg-type]
            self._put(answered(call, question))
        if question is None:
            question = self._ask(call, "approval", key=key, about=about)
        question = await self._outcome(call, question)
        return Decision(
            question.state,  # type: ignore[arg-type]
            _message(question),
            allowed or question.id in self._always,
        )

    async def call(self, call: ToolCallPart, schema: Any) -> CallResult:
        """Show a tool call that a client carries out, and wait for its output."""
        question = self._asked(call, "output") or self._ask(call, "output", schema)
        await self._outcome(call, question)
        ended = self._find(call.tool_call_id)
        assert ended is not None
        if ended.error is not UNSET:
            return CallResult(error=ended.error)
        return CallResult(None if ended.tool_output is UNSET else ended.tool_output)

    def answer(self, id: str, reply: Reply) -> Question | None:
        """Give the agent a client's answer; None if there is no such question.

        Raises :class:`~sessile.wire.errors.QuestionAnswered`, and
        :class:`~sessile.wire.errors.InvalidRequest` for an answer that does not fit the question,
        which stays open.
        """
        asked = self._open.get(id)
        if asked is None:
            if self._knows(id):
                raise QuestionAnswered
            return None
        question = asked.question
        if reply.kind != question.kind:
            needed = "`approve`" if question.kind == "approval" else "an `output` or an `error`"
            raise InvalidRequest(f"The question needs {needed}.")
        if reply.output is not UNSET and question.schema is not UNSET:
            check_output(reply.output, question.schema)
        if reply.always and reply.approve:
            self._always.add(id)
        question = msgspec.structs.replace(question, state=reply.state)
        if reply.message:
            question = msgspec.structs.replace(question, message=reply.message)
        self._close(id, question, reply)
        return question

    def expire(self, until: int) -> bool:
        """End the questions whose time is over at ``until`` (unix seconds); whether there were any."""
        times = {id: asked.question.expires_at for id, asked in self._open.items()}
        over = [id for id, time in times.items() if time is not UNSET and time <= until]
        for id in over:
            self._expire(id)
        return bool(over)

    def _knows(self, id: str) -> bool:
        """Whether a question with this id was asked in this turn."""
        return id.rpartition(".")[0] == self._answer_id and 0 < _number(id) <= self._count

    # Asking -------------------------------------------------------------------------------------

    def _asked(self, call: ToolCallPart, kind: QuestionKind, about: str = "") -> Question | None:
        """The question that was asked about this very call before."""
        known = self._find(call.tool_call_id)
        if known is None or known.question is UNSET or known.question.kind != kind:
            return None
        is_former = known.tool_call_id in self._former
        if about:
            return known.question if _about(known.question.id) == _digest(about) else None
        self._former.discard(known.tool_call_id)
        if not is_same(known, call):
            return None
        # A call that was approved and has ended may come again: that needs another approval.
        is_used = known.question.state == "approved" and not known.is_open
        return None if is_used and not is_former else known.question

    def _open_about(self, call: ToolCallPart) -> Question | None:
        """The open question about another input of a call, or about something else."""
        known = self._find(call.tool_call_id)
        return known.question if known is not None and known.asks and known.question else None

    def _ask(
        self,
        call: ToolCallPart,
        kind: QuestionKind,
        schema: Any = UNSET,
        key: str = "",
        about: str = "",
    ) -> Question:
        expires_at = now() + math.ceil(self._policy.patience)
        question = Question(self._next_id(about), kind, "open", schema, expires_at)
        asked = msgspec.structs.replace(call, question=question)
        self._open[question.id] = _Open(asked, question, key)
        self._put(asked)
        return question

    async def _outcome(self, call: ToolCallPart, question: Question) -> Question:
        """A question as it is when it is no longer open."""
        if question.is_open:
            await self._wait(question)
            left = msgspec.structs.replace(question, state="expired")
            question = self._closed.get(question.id, left)
        known = self._find(call.tool_call_id)
        if known is not None and known.is_open and question.state in ("denied", "expired"):
            self._put(answered(known, question))  # it was shown again since
        return question

    async def _wait(self, question: Question) -> None:
        """Wait until a question is closed."""
        waiters, waiter = self._waiters.setdefault(question.id, []), asyncio.Event()
        waiters.append(waiter)
        assert question.expires_at is not UNSET
        left = min(self._policy.patience, question.expires_at - now())
        try:
            async with asyncio.timeout(left):
                await waiter.wait()
        except TimeoutError:
            self._expire(question.id)
        except asyncio.CancelledError:
            waiters.remove(waiter)
            if not waiters and not self._is_over():  # its agent no longer asks
                self._expire(question.id)
            raise

    def _expire(self, id: str) -> None:
        asked = self._open.get(id)
        if asked is not None:
            self._close(id, msgspec.structs.replace(asked.question, state="expired"))

    def _close(self, id: str, question: Question, reply: Reply | None = None) -> None:
        call = self._open.pop(id).call
        self._closed[id] = question
        if about := _about(id):
            self.decided[f"{call.tool_call_id} {about}"] = question.state, _message(question)
        self._put(answered(self._find(call.tool_call_id) or call, question, reply))
        for waiter in self._waiters.pop(id, ()):
            waiter.set()

    def _next_id(self, about: str = "") -> str:
        self._count += 1
        mark = f"-{_digest(about)}" if about else ""
        return f"{self._answer_id}.{self._count}{mark}"


def _number(id: str) -> int:
    """Which question of its answer an id is of; 0 for what is not an id."""
    number = id.rpartition(".")[2].partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0


def _digest(about: str) -> str:
    return hashlib.sha256(about.encode(errors="replace")).hexdigest()[:12]


def _about(id: str) -> str:
    """The digest of what a question is about; "" where it is the only one about its call."""
    return id.rpartition(".")[2].partition("-")[2]


def _message(question: Question) -> str:
    return "" if question.message is UNSET else question.message
