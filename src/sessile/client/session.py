"""One session of a server."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import UNSET, Struct

from sessile.client.connection import Connection, given
from sessile.client.events import about, event_of, settles
from sessile.wire.errors import MessageNotFound
from sessile.wire.events import DeletedEvent, Event, MessageEvent, ResetEvent
from sessile.wire.ids import new_id
from sessile.wire.messages import Message, Metadata, Session, WhileBusy
from sessile.wire.parts import Part, Question, TextPart


class Sent(Struct, rename="camel"):
    """A message that is stored, and the id that its answer has or will have."""

    message: Message
    answer_id: str | None


class ClientSession:
    """One session. It holds nothing, so it can be kept."""

    def __init__(self, id: str, connection: Connection) -> None:
        self.id = id
        self._connection = connection
        self._chat = f"/chat/{id}"
        self._path = f"/sessions/{id}"

    # Sending ------------------------------------------------------------------------------------

    async def send(
        self,
        content: str | Sequence[Part],
        *,
        id: str | None = None,
        metadata: Metadata | None = None,
        request: dict[str, Any] | None = None,
        while_busy: WhileBusy = "queue",
        replaces: str | None = None,
    ) -> Sent:
        """Store a message and have it answered; returns when it is stored.

        ``request`` is for the agent, ``replaces`` names a message that this one is an edit of. The
        message has an id before it is sent, so it is stored once, however often it has to be sent.
        Raises what ``POST /chat/{id}`` refuses.
        """
        parts = [TextPart(content)] if isinstance(content, str) else list(content)
        body: dict[str, Any] = {"id": id or new_id(), "parts": parts, "whileBusy": while_busy}
        body |= given(metadata=metadata, request=request, replaces=replaces)
        return await self._connection.begin(Sent, self._chat, body, harmless=True)

    async def stream(
        self, content: str | Sequence[Part], **options: Any
    ) -> AsyncGenerator[Event, None]:
        """Send a message, and the events of its turn, up to its answer at its end.

        ``options`` are those of :meth:`send`. Each event comes once, also if the stream breaks or the
        server restarts meanwhile; where single events are no longer kept, whole messages come instead.
        """
        async with aclosing(self._turn(await self.send(content, **options))) as events:
            async for event in events:
                yield event

    async def ask(self, content: str | Sequence[Part], **options: Any) -> Message:
        """Send a message and return its answer at its end; look at its ``status``."""
        sent = await self.send(content, **options)
        return await self._settled(sent)

    async def regenerate(self, answer_id: str | None = None) -> Message:
        """Have a question answered again, the last by default; returns the answer at its end."""
        body = given(messageId=answer_id)
        sent = await self._connection.begin(Sent, f"{self._chat}/regenerate", body, harmless=False)
        return await self._settled(sent)

    async def stop(self) -> bool:
        """Stop the turn that runs; False if none runs."""
        stopped = await self._connection.call(dict[str, bool], "POST", f"{self._chat}/stop")
        return stopped["stopped"]

    async def _settled(self, sent: Sent) -> Message:
        async with aclosing(self._turn(sent)) as events:
            async for event in events:
                if isinstance(event, MessageEvent) and event.message.id == sent.answer_id:
                    found = event.message
        return found

    async def _turn(self, sent: Sent) -> AsyncGenerator[Event, None]:
        """The events of one turn."""
        if sent.answer_id is None:
            raise MessageNotFound("Nobody was asked to answer this message.")
        async with aclosing(self.follow(sent.message.seq - 1)) as events:
            async for event in events:
                own = about(event) in (sent.message.id, sent.answer_id)
                if isinstance(event, DeletedEvent) and (own or event.message_id is UNSET):
                    raise MessageNotFound("The message was deleted.")
                if own or isinstance(event, ResetEvent):
                    yield event
                if own and settles(event, sent.answer_id):
                    return

    # Following ----------------------------------------------------------------------------------

    async def follow(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        """Everything that happens in the session after a number, or from now on.

        It reconnects by itself and goes on after the last number; it ends with the session.
        :class:`sessile.wire.fold.History` makes messages of the events.
        """
        if after is None:
            after = (await self.read()).seq
        async with aclosing(self._connection.events(f"{self._chat}/events", after)) as stream:
            async for sent in stream:
                event = event_of(sent)
                if event is None:
                    continue
                yield event
                if isinstance(event, DeletedEvent) and event.message_id is UNSET:
                    return

    # Reading ------------------------------------------------------------------------------------

    async def read(self) -> Session:
        """The session itself; raises :class:`~sessile.wire.errors.SessionNotFound`."""
        return await self._connection.call(Session, "GET", self._path)

    async def messages(
        self, limit: int = 25, before: str | None = None, after: str | None = None
    ) -> list[Message]:
        """A page of the history, oldest first: the newest, or those next to a message."""
        return await self._connection.call(
            list[Message], "GET", f"{self._chat}/messages", limit=limit, before=before, after=after
        )

    async def message(self, id: str, wait: int = 0) -> Message:
        """One message, once it is settled or so many seconds are over."""
        return await self._connection.call(
            Message, "GET", f"{self._chat}/messages/{id}", wait=wait or None
        )

    # Questions ----------------------------------------------------------------------------------

    async def questions(self) -> list[dict[str, Any]]:
        """The open questions of the agent, with ``messageId`` and the tool call."""
        return await self._connection.call(list[dict[str, Any]], "GET", f"{self._chat}/questions")

    async def approve(
        self, question: str, approve: bool = True, *, always: bool = False, message: str = ""
    ) -> Question:
        """Give permission, or deny it with ``approve=False``.

        Raises :class:`~sessile.wire.errors.QuestionAnswered` or
        :class:`~sessile.wire.errors.QuestionNotFound`.
        """
        body = {"approve": approve, "always": always, "message": message}
        return await self._answer(question, body)

    async def give(self, question: str, output: Any = None, error: str | None = None) -> Question:
        """Give the output that an agent asks for, or say why there is none.

        Raises also :class:`~sessile.wire.errors.InvalidOutput`.
        """
        return await self._answer(
            question, {"output": output} if error is None else {"error": error}
        )

    async def _answer(self, question: str, body: dict[str, Any]) -> Question:
        return await self._connection.call(
            Question, "POST", f"{self._chat}/questions/{question}", body
        )

    # Changing -----------------------------------------------------------------------------------

    async def update(
        self,
        title: str | None = None,
        archived: bool | None = None,
        metadata: Metadata | None = None,
    ) -> Session:
        """Change the session; ``metadata`` is merged, and None removes a name."""
        body = given(title=title, archived=archived, metadata=metadata)
        return await self._connection.call(Session, "PATCH", self._path, body)

    async def fork(self, at: str | None = None, id: str | None = None) -> Session:
        """Copy the session up to and with a message, or all of it."""
        body = given(at=at, id=id)
        return await self._connection.call(Session, "POST", f"{self._path}/fork", body)

    async def edit(
        self, message: str, parts: Sequence[Part] | None = None, metadata: Metadata | None = None
    ) -> Message:
        """Replace the parts of a message, and merge into its metadata."""
        body = given(parts=parts, metadata=metadata)
        return await self._connection.call(
            Message, "PATCH", f"{self._path}/messages/{message}", body
        )

    async def delete_message(self, message: str) -> None:
        """Delete a message; a queued one is withdrawn."""
        await self._connection.call(type(None), "DELETE", f"{self._path}/messages/{message}")

    async def delete(self) -> None:
        """Delete the session with everything it has."""
        await self._connection.call(type(None), "DELETE", self._path)
