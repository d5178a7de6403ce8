"""One turn: run the agent, make events of what it yields, and say how it ended."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from sessile.agents.base import Agent, Decision, Output, Turn
from sessile.agents.contain import contain
from sessile.logs import fit, fit_error
from sessile.redact import reason_for_users
from sessile.session.calls import Calls
from sessile.session.limits import Sizes, size_of
from sessile.session.questions import ALWAYS, Approvals, Policy
from sessile.store.base import RunningTurn
from sessile.wire.codec import clean, encode
from sessile.wire.errors import AgentError, AnswerTooLong, SessileError
from sessile.wire.events import ErrorEvent, Kind, PartEvent
from sessile.wire.fold import Answer
from sessile.wire.frames import ENVELOPE
from sessile.wire.messages import Message, MessageStatus, Metadata, decode_metadata
from sessile.wire.parts import Part, ReasoningPart, TextPart, ToolCallPart, decode_part

log = logging.getLogger(__name__)

Ending: TypeAlias = Literal["stopped", "interrupted"]

# An agent that yields without ever waiting hands over after so many outputs, so that what it has
# is stored and shown, and other sessions get their share of the loop.
STRIDE = 64

# Bytes of events, and as many as the answer has, after which it is stored as it stands.
DRAFT = 256 * 1024

LOST = "\ufffd"  # stands for what is not a character

# Seconds that a cancelled agent has to clean up before its turn is settled without it.
CANCEL_GRACE = 2.0


class Ledger(Protocol):
    """What a turn needs of its session."""

    @property
    def metadata(self) -> Metadata:
        """The session's metadata."""

    async def history(self, question: Message, messages: int) -> list[Message]:
        """The newest messages before a question, each answer behind its own."""

    @property
    def private(self) -> dict[str, Any]:
        """What the server itself believes of the session."""

    async def remember(self, metadata: Metadata, private: bool) -> None:
        """Merge into the session's metadata, or into what is ``private``; returns when it is
        stored."""

    def write(self, answer_id: str, part: int, kind: Kind, offset: int, text: str) -> int:
        """Store more text of a running turn's answer, and then publish it; its number."""

    def record(self, event: PartEvent) -> None:
        """Give an event of a running turn the next number, store it, and then publish it."""

    def draft(self, answer: Answer) -> None:
        """Store an answer as it stands, so that nobody who comes late needs its events."""

    async def recorded(self) -> None:
        """Wait until everything recorded so far is stored."""

    def settle(self, runner: "TurnRunner", status: MessageStatus, error: ErrorEvent | None) -> None:
        """Replace the events by the message they make."""


class TurnRunner:
    """A turn that is being answered in this process; the host of what its agent sees of it."""

    def __init__(
        self,
        session: str,
        question: Message,
        running: RunningTurn,
        answer: Answer,
        agent: Agent,
        ledger: Ledger,
        policy: Policy,
        sizes: Sizes,
        request: dict[str, Any] | None = None,
    ) -> None:
        self.running = running
        self.answer = answer
        # While it runs: the two know each other, and would wait for the collector of cycles.
        self._turn: Turn | None = Turn(
            session,
            question,
            answer.id,
            self,
            dict(ledger.metadata),
            dict(ledger.private),
            request,
        )
        self.ended_as: MessageStatus | None = None
        self._question = question
        self._agent = agent
        self._ledger = ledger
        self._policy = policy
        self._sizes = sizes
        self._size = 0  # bytes of the answer so far
        self._undrafted = 0  # bytes of events since the newest draft
        self._half: tuple[Kind, str] | None = None  # half of a surrogate pair at the text's end
        self._part_sizes: dict[str, int] = {}  # of its tool calls and data, by their names
        self._calls = Calls(answer.call)
        self._approvals: Approvals | None = None  # most turns ask nothing
        self._ending: Ending | None = None
        self._settled = False
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def start(self) -> None:
        if self._settled:  # while its begin was being stored
            return
        self._task = asyncio.create_task(self._drive(), name=f"turn {self.running.answer}")

    def cancel(self, ending: Ending) -> None:
        """End the turn soon: at once if the agent lets go, after two seconds if it does not."""
        if self._settled or self._ending:
            return
        self._ending = ending
        if self._task is None:
            self._settle(ending)
            return
        self._task.cancel()
        self._deadline = asyncio.get_running_loop().call_later(CANCEL_GRACE, self._settle, ending)

    def drop(self) -> None:
        """Give the turn up without settling it: its session can no longer be written."""
        self._settled = True
        if self._task is not None:
            self._task.cancel()

    # What the agent may ask of its session --------------------------------------------------------

    async def history(self, messages: int) -> list[Message]:
        return await self._ledger.history(self._question, messages)

    async def ask(self, call: ToolCallPart, key: str) -> Decision:
        if self._approvals is None:
            self._approvals = Approvals(
                self.answer.id, self._policy, self._calls.find, self._put_if_open
            )
        decision = await self._approvals.ask(call, bool(key) and key in self._always())
        await self._ledger.recorded()
        if key and decision.approved and decision.always:
            await self._ledger.remember({ALWAYS: [*self._always(), key]}, private=True)
        return decision

    def _always(self) -> list[Any]:
        """What may be done in this session without asking."""
        names = self._ledger.private.get(ALWAYS)
        return names if isinstance(names, list) else []

    async def remember(self, metadata: Metadata, private: bool) -> None:
        await self._ledger.remember(metadata, private)

    def decide(self, approval_id: str, decision: Decision) -> bool:
        """Answer a question of this turn; False if it has no such question."""
        if self._approvals is None or self._settled or self._ending:
            return False
        return self._approvals.answer(approval_id, decision)

    # Running it ---------------------------------------------------------------------------------

    async def _drive(self) -> None:
        contain()
        try:
            assert self._turn is not None
            async with aclosing(self._agent.reply(self._turn)) as outputs:
                await self._take_all(outputs)
        except BaseException as error:
            if self._ending:
                self._settle(self._ending)
            elif self._is_cancelled(error):
                self._settle("interrupted")
            else:
                self._settle("error", self._shown(error))
        else:
            self._settle(self._ending or "complete")

    def _is_cancelled(self, error: BaseException) -> bool:
        """Whether this turn was cancelled, and not only something that its agent waited for."""
        cancelled = self._task is not None and self._task.cancelling() > 0
        return cancelled and isinstance(error, asyncio.CancelledError)

    async def _take_all(self, outputs: AsyncGenerator[Output, None]) -> None:
        count = 0
        async for output in outputs:
            if self._settled or self._ending:
                return
            self._take(output)
            if self._undrafted > DRAFT and self._undrafted > self._size:
                self._undrafted = 0
                self._ledger.draft(self.answer)
            count += 1
            if count % STRIDE == 0:
                await self._ledger.recorded()
        self._write_half()

    def _take(self, output: Output | None) -> None:
        if output is None:
            return
        if isinstance(output, str):
            self._write("text", output)
        elif isinstance(output, TextPart):
            self._write("text", output.content)
        elif isinstance(output, ReasoningPart):
            self._write("reasoning", output.content)
        elif isinstance(output, Part):
            self._write_half()
            self._check_count(self._put(self._fitting(*self._own(output))))
        else:
            raise TypeError(f"an agent yields text or parts, not {type(output).__name__}")

    def _write(self, kind: Kind, text: str) -> None:
        if self._half is not None or not text.isascii():
            text = self._whole(kind, text)
        if not text:
            return
        room = self._sizes.answer - self._size
        self._size += size_of(text)
        is_cut = self._size > self._sizes.answer
        if is_cut:
            text = _cut(text, room)
        if text:
            answer = self.answer
            part, offset = answer.write(kind, text)
            seq = self._ledger.write(answer.id, part, kind, offset, text)
            if not answer.seq:
                answer.seq = seq
            self._undrafted += ENVELOPE + len(text)
            self._check_count(part)
        if is_cut:
            raise AnswerTooLong

    def _whole(self, kind: Kind, text: str) -> str:
        """A text as it can be stored. A half of a surrogate pair at its end waits for the other half."""
        if self._half is not None and self._half[0] == kind:
            text = self._half[1] + text
        else:
            self._write_half()
        self._half = None
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._half = kind, text[-1]
            text = text[:-1]
        return clean(text)

    def _write_half(self) -> None:
        """Write a half whose other half did not come."""
        if self._half is not None:
            kind, _ = self._half
            self._half = None
            self._write(kind, LOST)

    def _check_count(self, index: int) -> None:
        if index + 1 >= self._sizes.answer_parts:
            raise AnswerTooLong

    def _own(self, part: Part) -> tuple[Part, int]:
        """A copy of an agent's part, which the agent cannot change any more, and its bytes of JSON;
        raises if it is not JSON."""
        try:
            body = encode(part)
        except UnicodeEncodeError:
            text = json.dumps(msgspec.to_builtins(part), ensure_ascii=False)
            body = encode(decode_part(clean(text).encode()))
        own = decode_part(body)
        if isinstance(own, ToolCallPart):
            own.tool_call_id = self._calls.id_of(own)
        return own, len(body)

    def _fitting(self, part: Part, size: int) -> Part:
        """A part, of so many bytes of JSON, as it has room in the answer, where it replaces the
        one that it stands for."""
        name = part.tool_call_id if isinstance(part, ToolCallPart) else getattr(part, "name", "")
        if isinstance(part, ToolCallPart) and size > self._sizes.tool_output:
            if part.tool_output is not msgspec.UNSET:
                part.tool_output = self._sizes.cut_output(part.tool_output)
            size = len(encode(part))
        former = self._part_sizes.get(name, 0)
        if self._size + size - former > self._sizes.answer:
            raise AnswerTooLong
        self._size += size - former
        self._undrafted += size
        if name:
            self._part_sizes[name] = size
        return part

    def _put(self, part: Part) -> int:
        if isinstance(part, ToolCallPart) and part.approval is msgspec.UNSET:
            known = self.answer.call(part.tool_call_id)
            if known is not None:
                part.approval = known.approval
        index = self.answer.put(part)
        self._record(PartEvent(0, self.answer.id, index, part))
        return index

    def _put_if_open(self, part: Part) -> None:
        if not (self._settled or self._ending):
            self._put(self._own(part)[0])

    def _record(self, event: PartEvent) -> None:
        self._ledger.record(event)
        if not self.answer.seq:
            self.answer.seq = event.seq

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

    def _settle(self, status: MessageStatus, error: ErrorEvent | None = None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._settled:
            return
        self._settled = True
        turn, self._turn = self._turn, None
        try:
            if turn is not None and turn.metadata:
                self.answer.metadata = decode_metadata(encode(turn.metadata))
        except (TypeError, ValueError, RecursionError) as unfit:
            log.error("metadata of the agent %s is not JSON: %s", self._agent.name, fit(str(unfit)))
        self._ledger.settle(self, status, error)


def _with_reason(error: AgentError, content: str) -> str:
    if error.reason is None:
        return str(error)
    reason = reason_for_users(error.reason, content)
    return f"{error} It says: {reason}" if reason else f"{error} The server's log has its reply."


def _cut(text: str, room: int) -> str:
    """As much of a text as has room in so many bytes."""
    return text.encode()[: max(room, 0)].decode(errors="ignore")
