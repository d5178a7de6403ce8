"""A session, wherever it lives: read from the store, written by its owner."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from sessile.history.pages import History, JSONPage
from sessile.session import commands
from sessile.session.commit import Outcome
from sessile.session.inbox import Draft, Sent
from sessile.session.reply import AskedQuestion, Reply, asked_question
from sessile.session.values import value_of
from sessile.store.base import Row, Store
from sessile.watch.feeds import Feeds
from sessile.wire.errors import MessageNotFound, SessionNotFound, TurnInProgress
from sessile.wire.events import Event
from sessile.wire.frames import singly
from sessile.wire.ids import new_id
from sessile.wire.messages import Message, Metadata, Page, Role, WhileBusy, decode_message
from sessile.wire.messages import Session as SessionValue
from sessile.wire.parts import Part, Question, TextPart, ToolCallPart


class Owners(Protocol):
    """Finds where a session is written."""

    async def run(self, session: str, command: commands.Command) -> Any:
        """Do a command where the session may be written: here, or at its owner."""

    def send_at_once(
        self, session: str, draft: Draft, while_busy: WhileBusy, outcome: Outcome
    ) -> Sent:
        """Store a new message and have it answered; returns before the commit.

        Raises :class:`~sessile.at_once.WouldWait` where it cannot be done at once.
        """

    async def adopt(
        self,
        session: str,
        chunks: AsyncIterable[list[Message]],
        title: str,
        metadata: Metadata,
        archived: bool,
    ) -> SessionValue:
        """Store a session that was elsewhere, here."""


class Handle:
    """One session. Nothing is held by it, so it can be kept, and leaving it is not needed."""

    def __init__(
        self, id: str, store: Store, history: History, owners: Owners, feeds: Feeds
    ) -> None:
        self.id = id
        self._store = store
        self._history = history
        self._owners = owners
        self._feeds = feeds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    # Reading ------------------------------------------------------------------------------------

    async def row(self) -> Row:
        """The session as it is stored.

        Raises :class:`~sessile.wire.errors.SessionNotFound`.
        """
        row = await self._store.row(self.id)
        if row is None:
            raise SessionNotFound
        return row

    async def read(self) -> SessionValue:
        """The session as its clients see it.

        Raises :class:`~sessile.wire.errors.SessionNotFound`.
        """
        return value_of(await self.row())

    async def get_messages(
        self, limit: int = 25, before: str | None = None, after: str | None = None
    ) -> Page:
        """The newest messages, or those next to the message ``before`` or ``after``.

        The answer that is being written is among them, as it stands. Raises
        :class:`~sessile.wire.errors.MessageNotFound` if that message is unknown.
        """
        page = await self.page(limit, before, after)
        return Page([decode_message(body) for body in await page.all()], page.has_more)

    async def page(
        self, limit: int, before: str | None = None, after: str | None = None
    ) -> JSONPage:
        """What :meth:`get_messages` gives, as the JSON of each message."""
        return await self._history.page(self.id, limit, before, after)

    async def standing(self, message_id: str) -> Message:
        """A message as it stands: also an answer that is being written, or whose turn waits.

        Raises :class:`~sessile.wire.errors.MessageNotFound`.
        """
        return await self._history.message(self.id, message_id)

    async def settled_message(self, message_id: str) -> Message:
        """A message of the history.

        Raises :class:`~sessile.wire.errors.MessageNotFound`, or
        :class:`~sessile.wire.errors.TurnInProgress` for the answer that is being written.
        """
        row = await self._store.row(self.id)
        if row is not None and row.running is not None and row.running.answer == message_id:
            raise TurnInProgress
        message = await self._store.message(self.id, message_id)
        if message is None:
            raise MessageNotFound
        return message

    def walk(self) -> AsyncGenerator[list[bytes], None]:
        """All messages from the oldest on, in chunks, as the JSON of each."""
        return self._history.walk(self.id)

    async def get_message_count(self) -> int:
        """How many messages are stored."""
        row = await self._store.row(self.id)
        return row.message_count if row else 0

    async def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        """Everything that happens in the session after a number, or from now on.

        It ends with the session or the server.
        """
        watcher = await self._feeds.watch(self.id)
        happened = asyncio.Event()
        watcher.listener = happened.set
        try:
            if after is None:
                row = await self._store.row(self.id)
                after = row.seq if row else 0
            watcher.cursor = after
            while not watcher.closed:
                happened.clear()
                while frames := await watcher.read():
                    for frame in singly(frames):
                        yield frame.event
                        if frame.ends_session:
                            return
                await happened.wait()
        finally:
            self._feeds.leave(watcher)

    # Writing ------------------------------------------------------------------------------------

    async def persist_message(
        self,
        content: str | Sequence[Part] | Draft,
        *,
        role: Role = "user",
        id: str | None = None,
        metadata: Metadata | None = None,
    ) -> Message:
        """Store a message, given as text or as parts, without asking the agent to answer it.

        The same ``id`` with the same content again returns what is stored; with another content
        it raises :class:`~sessile.wire.errors.MessageConflict`.
        """
        draft = _draft(content, role, id, metadata)
        message: Message = await self._run(commands.Store(draft))
        return message

    async def send(
        self,
        content: str | Sequence[Part] | Draft,
        while_busy: WhileBusy = "queue",
        replaces: str | None = None,
        *,
        id: str | None = None,
        metadata: Metadata | None = None,
    ) -> Sent:
        """Store a user message and have it answered; returns when the message is stored.

        ``replaces`` names a user message that is deleted with everything after it, in the same
        transaction. Raises :class:`~sessile.wire.errors.TurnInProgress`,
        :class:`~sessile.wire.errors.QueueFull`, :class:`~sessile.wire.errors.MessageConflict`,
        :class:`~sessile.wire.errors.MessageNotFound` or
        :class:`~sessile.wire.errors.ShuttingDown`; then nothing is stored.
        """
        draft = _draft(content, "user", id, metadata)
        sent: Sent = await self._run(commands.Send(draft, while_busy, replaces))
        return sent

    def send_at_once(self, draft: Draft, while_busy: WhileBusy, outcome: Outcome) -> Sent:
        """As :meth:`send`, but returns before the commit.

        ``outcome`` is called after the commit, with the error if it failed. Raises
        :class:`~sessile.at_once.WouldWait` where it cannot be done at once, and as :meth:`send`.
        """
        return self._owners.send_at_once(self.id, draft, while_busy, outcome)

    async def regenerate(self, answer_id: str | None = None) -> Sent:
        """Delete an answer, the last by default, with everything after it, and answer again.

        Raises :class:`~sessile.wire.errors.MessageNotFound`, or
        :class:`~sessile.wire.errors.TurnInProgress` while a turn runs.
        """
        sent: Sent = await self._run(commands.Regenerate(answer_id))
        return sent

    async def stop(self) -> bool:
        """End the turn that runs, with what it has; returns when it is settled.

        False if no turn runs, or if it came to its own end first.
        """
        stopped: bool = await self._run(commands.Stop())
        return stopped

    async def answer(self, question_id: str, reply: Reply) -> Question:
        """Answer what an agent asks; returns when the answer is stored.

        Raises :class:`~sessile.wire.errors.QuestionNotFound`,
        :class:`~sessile.wire.errors.QuestionAnswered`, and
        :class:`~sessile.wire.errors.InvalidRequest` for an answer that does not fit the question.
        """
        question: Question = await self._run(commands.Answer(question_id, reply))
        return question

    async def questions(self) -> list[AskedQuestion]:
        """The open questions, oldest first."""
        row = await self._store.row_if_busy(self.id)
        if row is None or row.running is None or not row.running.asked:
            return []
        answer = await self.standing(row.running.answer)
        calls = (part for part in answer.parts if isinstance(part, ToolCallPart) and part.asks)
        return [asked_question(answer.id, call) for call in calls]

    async def update_message_parts(self, message_id: str, parts: list[Part]) -> Message:
        """Replace the parts of a stored message.

        Raises :class:`~sessile.wire.errors.TurnInProgress` for the answer that is being written.
        """
        return await self.update_message(message_id, parts)

    async def update_message(
        self,
        message_id: str,
        parts: list[Part] | None = None,
        metadata: Metadata | None = None,
    ) -> Message:
        """Replace the parts of a stored message, and merge into its metadata (None removes a name).

        Raises :class:`~sessile.wire.errors.TurnInProgress` for the answer that is being written.
        """
        message: Message = await self._run(commands.Edit(message_id, parts, metadata))
        return message

    async def delete_message(self, message_id: str) -> None:
        """Delete a message; a queued message is withdrawn from the queue.

        Raises :class:`~sessile.wire.errors.TurnInProgress` for the answer that is being written
        and the message that it answers.
        """
        await self._run(commands.Delete(message_id))

    async def broadcast(self, data: Any) -> None:
        """Send any JSON value to everybody who watches at this moment; it is not stored."""
        await self._run(commands.Broadcast(data))

    async def create(
        self, title: str | None = None, metadata: Metadata | None = None
    ) -> SessionValue:
        """Store the session before its first message.

        Raises :class:`~sessile.wire.errors.SessionExists`.
        """
        value: SessionValue = await self._run(commands.Create(title, metadata))
        return value

    async def update(
        self,
        title: str | None = None,
        archived: bool | None = None,
        metadata: Metadata | None = None,
    ) -> SessionValue:
        """Change the session itself; ``metadata`` is merged (RFC 7396: null removes a name).

        Raises :class:`~sessile.wire.errors.SessionNotFound`.
        """
        value: SessionValue = await self._run(commands.Update(title, archived, metadata))
        return value

    async def adopt(
        self,
        chunks: AsyncIterable[list[Message]],
        title: str,
        metadata: Metadata,
        archived: bool = False,
    ) -> SessionValue:
        """Store a session that was elsewhere, with its messages, which get new numbers.

        No two messages may have one id. What still ran or waited there is over. If it fails in
        the middle, nothing of it stays. Raises :class:`~sessile.wire.errors.SessionExists`.
        """
        return await self._owners.adopt(self.id, chunks, title, metadata, archived)

    async def delete(self) -> None:
        """Delete the session with everything it has; a turn that runs is given up.

        Raises :class:`~sessile.wire.errors.SessionNotFound`.
        """
        await self._run(commands.Drop())

    async def _run(self, command: commands.Command) -> Any:
        return await self._owners.run(self.id, command)


def _draft(
    content: str | Sequence[Part] | Draft,
    role: Role,
    id: str | None,
    metadata: Metadata | None,
) -> Draft:
    if isinstance(content, Draft):
        return content
    parts: list[Part] = [TextPart(content)] if isinstance(content, str) else list(content)
    return Draft(parts, role, id or new_id(), metadata)
