"""What an agent may ask of its session during a turn."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from sessile.agents.base import EXPIRED, CallResult, Decision, Turn
from sessile.session.questions import ALWAYS, Questions
from sessile.session.schemas import check_schema
from sessile.wire.codec import clean, encode_clean, readable
from sessile.wire.messages import Message, Metadata, PastMessage
from sessile.wire.parts import ToolCallPart


class Kept(msgspec.Struct):
    """What an agent keeps with an answer that it writes, and the answer's metadata at that time."""

    record: Any
    metadata: Metadata


decode_kept: Callable[[bytes], Kept] = readable(msgspec.json.Decoder(Kept).decode)


class Runner(Protocol):
    """The turn that the agent answers."""

    kept: Kept | None

    @property
    def is_over(self) -> bool:
        """The agent is on its way out: it can ask nothing."""

    @property
    def questions(self) -> Questions:
        """What the turn asks."""

    def begin_part(self) -> None:
        """Let the next text or reasoning begin a new part."""


class Ledger(Protocol):
    """What is stored of the session."""

    @property
    def private(self) -> dict[str, Any]:
        """What the server itself believes of the session."""

    async def history(self, question: Message, messages: int) -> list[PastMessage]:
        """The newest messages before a question, each answer behind its own."""

    async def remember(self, metadata: Metadata, private: bool) -> None:
        """Merge into the session's metadata, or into what is ``private``; returns when it is
        stored."""

    def keep(self, record: bytes) -> None:
        """Store what the agent keeps with the answer."""

    async def recorded(self) -> None:
        """Wait until everything recorded so far is stored."""


class TurnHost:
    """What one call of an agent may ask of its session. When the agent had to let go, it can change
    nothing of the answer any more."""

    __slots__ = ("_ledger", "_question", "_runner", "is_left", "turn")

    def __init__(self, runner: Runner, ledger: Ledger, question: Message) -> None:
        self.turn: Turn | None = None  # while the agent has it
        self.is_left = False
        self._runner = runner
        self._ledger = ledger
        self._question = question

    async def history(self, messages: int) -> list[PastMessage]:
        return await self._ledger.history(self._question, messages)

    async def ask(self, call: ToolCallPart, key: str, about: str) -> Decision:
        if self.turn is None or self._runner.is_over:
            return Decision("expired")
        key = clean(key)
        always = self._ledger.private.get(ALWAYS)
        allowed = bool(key) and isinstance(always, list) and key in always
        decision = await self._runner.questions.ask(call, allowed, key, about)
        await self._ledger.recorded()
        return decision

    async def call(self, call: ToolCallPart, schema: Any) -> CallResult:
        if self.turn is None or self._runner.is_over:
            return CallResult(error=EXPIRED)
        if schema is not None:
            check_schema(schema)
        result = await self._runner.questions.call(call, UNSET if schema is None else schema)
        await self._ledger.recorded()
        return result

    async def keep(self, record: Any, metadata: Metadata) -> None:
        if self.turn is None:
            return
        body = encode_clean(Kept(record, metadata))
        self._runner.kept = decode_kept(body)
        self._ledger.keep(body)
        await self._ledger.recorded()

    def begin_part(self) -> None:
        if self.turn is not None and not self._runner.is_over:
            self._runner.begin_part()

    async def remember(self, metadata: Metadata, private: bool) -> None:
        await self._ledger.remember(metadata, private)
