"""The questions of one turn: what its agent asks permission for, and the answers."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from sessile.agents.base import DENIED, Decision
from sessile.wire.errors import ApprovalAnswered
from sessile.wire.parts import Approval, ToolCallPart

Rule: TypeAlias = Literal["ask", "allow", "deny"]

# The name, in what the server believes of a session, of the tools that need no permission there.
ALWAYS = "alwaysAllowed"

EXPIRED = "Nobody answered in time."


class Policy(NamedTuple):
    """Who answers: people (``ask``), who have ``patience`` seconds, or the rule itself."""

    rule: Rule = "ask"
    patience: float = 24 * 3600.0


class _Question:
    """One that was put."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.decision: Decision | None = None
        self.decided = asyncio.Event()


class Approvals:
    """Asks people for one turn, one question at a time for each tool call.

    A question is the ``approval`` of its tool call. ``find`` gives a tool call as it stands,
    ``put`` shows it. The id of a question begins with the id of its answer, so that one of a turn
    that is over can be found in the history.
    """

    def __init__(
        self,
        answer_id: str,
        policy: Policy,
        find: Callable[[str], ToolCallPart | None],
        put: Callable[[ToolCallPart], None],
    ) -> None:
        self._answer_id = answer_id
        self._policy = policy
        self._find = find
        self._put = put
        self._questions: dict[str, _Question] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._count = 0

    async def ask(self, call: ToolCallPart, allowed: bool) -> Decision:
        """Show a tool call with a question, and wait for what becomes of it.

        Where it is ``allowed``, or the policy answers, nobody is asked.
        """
        if allowed or self._policy.rule != "ask":
            id = self._next_id()
            allowed = allowed or self._policy.rule == "allow"
            decision = Decision("approved" if allowed else "denied")
            self._put(_answered(call, Approval(id, decision.state), ""))
            return decision
        async with self._asking.setdefault(call.tool_call_id, asyncio.Lock()):
            id = self._next_id()
            question = self._questions[id] = _Question(call.tool_call_id)
            self._put(msgspec.structs.replace(call, approval=Approval(id, "asked")))
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._policy.patience):
                        await question.decided.wait()
            finally:
                # Nobody answered, or its agent no longer asks; an answer that came since then counts.
                decision = question.decision or self._settle(id, question, Decision("expired"))
            return decision

    def answer(self, id: str, decision: Decision) -> bool:
        """Give the agent what a person decided; False if there is no such question.

        Raises :class:`~sessile.wire.errors.ApprovalAnswered`.
        """
        question = self._questions.get(id)
        if question is None:
            return False
        if question.decision is not None:
            raise ApprovalAnswered
        self._settle(id, question, decision)
        return True

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._answer_id}.{self._count}"

    def _settle(self, id: str, question: _Question, decision: Decision) -> Decision:
        question.decision = decision
        question.decided.set()
        call = self._find(question.call_id)
        if call is not None:
            self._put(_answered(call, Approval(id, decision.state), decision.message))
        return decision


def _answered(call: ToolCallPart, approval: Approval, message: str) -> ToolCallPart:
    """A tool call whose question is answered; without permission it is over."""
    call = msgspec.structs.replace(call, approval=approval)
    if approval.state != "approved" and call.state in ("pending", "running"):
        call.state = "error"
        call.error = message or (DENIED if approval.state == "denied" else EXPIRED)
    return call


def asks(part: object, id: str) -> bool:
    """Whether a part of the history is what a question was about."""
    return isinstance(part, ToolCallPart) and part.approval is not UNSET and part.approval.id == id
