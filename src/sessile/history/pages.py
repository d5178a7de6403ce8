"""The history of sessions: pages, all of it, and what an agent sees of it.

It is read from the store alone, on any node. Messages that wait for their turn stand at the end.
Where a session lives in this process its object is asked for the answer that is being written,
which spares folding it from the store.
"""

from bisect import insort
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from sessile.history.answer import answer_so_far
from sessile.store.base import Body, Row, Store
from sessile.wire.codec import encode
from sessile.wire.errors import MessageNotFound
from sessile.wire.fold import Answer
from sessile.wire.messages import Message, decode_message

CHUNK = 500  # messages read at once where all that follow are wanted
MAX_SEQ = 2**63 - 1


class Live(Protocol):
    """A session that lives in this process."""

    @property
    def row(self) -> Row: ...

    def writing(self) -> Answer | None:
        """The answer that is being written, as it stands."""

    async def recorded(self) -> None:
        """Wait until everything written so far is stored."""


class History:
    """Reads histories. ``live`` finds the object of a session that lives in this process."""

    def __init__(self, store: Store, live: Callable[[str], Live | None]) -> None:
        self._store = store
        self._live = live

    async def page(
        self, session: str, limit: int, before: str | None = None, after: str | None = None
    ) -> tuple[list[bytes], bool]:
        """The JSON of the messages of a page, oldest first, and whether there are more.

        Raises :class:`~sessile.wire.errors.MessageNotFound` for an unknown ``before`` or
        ``after``.
        """
        running, queued = await self._as_it_stands(session)
        waiting = await self._store.queue(session) if queued else []
        if after is not None:
            return await self._page_after(session, limit, after, running, waiting)
        if before is None:
            end, ahead = None, waiting
        else:
            end, ahead = await self._place(session, before, running, waiting)
        found = await self._store.newest(session, limit + 1, end)
        found.reverse()
        bodies = _with_running(found, running, lambda seq: end is None or seq < end)
        bodies = _with_waiting(bodies, ahead)
        return bodies[-limit:], len(bodies) > limit

    async def walk(self, session: str) -> AsyncGenerator[list[bytes], None]:
        """The JSON of all messages from the oldest on, in chunks, none of which is empty."""
        running, queued = await self._as_it_stands(session)
        waiting = await self._store.queue(session) if queued else []
        after = 0
        at_end = False
        while not at_end:
            found = await self._store.following(session, CHUNK, after)
            at_end = len(found) < CHUNK
            between = range(after + 1, MAX_SEQ if at_end else found[-1].seq)
            after = 0 if at_end else found[-1].seq
            bodies = _with_running(found, running, between.__contains__)
            waiting = _still_waiting(waiting, bodies)
            if at_end:
                bodies += [encode(message) for message in waiting]
            if bodies:
                yield bodies

    async def messages_from(self, session: str, message: Message) -> list[Message]:
        """A message and all that stand behind it."""
        waiting = await self._store.queue(session)
        if message.status == "queued":
            ids = [queued.id for queued in waiting]
            return waiting[ids.index(message.id) :] if message.id in ids else [message]
        found: list[Message] = []
        after = message.seq - 1
        while bodies := await self._store.following(session, CHUNK, after):
            found.extend(decode_message(body.body) for body in bodies)
            after = bodies[-1].seq
        return found + waiting

    async def before(self, session: str, seq: int, limit: int) -> list[Message]:
        """What an agent sees of the history: the newest ``limit`` messages before a number."""
        newest = await self._store.newest(session, limit, seq) if limit else []
        return [decode_message(body.body) for body in reversed(newest)]

    async def _as_it_stands(self, session: str) -> tuple[Body | None, int]:
        """The answer that is being written, and how many messages wait.

        Nothing is shown that is not stored: where the session lives here its answer is taken as
        it stands, and then what is in it is waited for.
        """
        live = self._live(session)
        if live is not None:
            answer, queued = live.writing(), live.row.queued
            body = _body(answer)
            await live.recorded()
            return body, queued
        row = await self._store.row(session)
        if row is None:
            return None, 0
        return _body(await answer_so_far(self._store, row)), row.queued

    async def _page_after(
        self,
        session: str,
        limit: int,
        after: str,
        running: Body | None,
        waiting: list[Message],
    ) -> tuple[list[bytes], bool]:
        start, ahead = await self._place(session, after, running, waiting)
        if start is None:  # it waits: only others that wait stand behind it
            bodies = [encode(message) for message in waiting[len(ahead) + 1 :]]
        else:
            found = await self._store.following(session, limit + 1, start)
            bodies = _with_running(found, running, lambda seq: seq > start)
            bodies = _with_waiting(bodies, waiting)
        return bodies[:limit], len(bodies) > limit

    async def _place(
        self, session: str, message_id: str, running: Body | None, waiting: list[Message]
    ) -> tuple[int | None, list[Message]]:
        """The seq of a message; or None where it waits, and those that wait before it."""
        for index, message in enumerate(waiting):
            if message.id == message_id:
                return None, waiting[:index]
        found = await self._store.message(session, message_id)
        if found is not None:
            return found.seq, []
        if running is not None and decode_message(running.body).id == message_id:
            return running.seq, []
        raise MessageNotFound


def _body(answer: Answer | None) -> Body | None:
    if answer is None or not answer.seq:
        return None
    return Body(answer.seq, answer.seq, encode(answer.message()))


def _with_running(
    found: list[Body], running: Body | None, belongs: Callable[[int], bool]
) -> list[bytes]:
    """A page, oldest first, with the answer that was being written if it was not settled since."""
    if running and belongs(running.seq) and all(body.seq != running.seq for body in found):
        insort(found, running)
    return [body.body for body in found]


def _with_waiting(bodies: list[bytes], waiting: list[Message]) -> list[bytes]:
    """The messages of a page, and those that wait behind them."""
    return bodies + [encode(message) for message in _still_waiting(waiting, bodies)]


def _still_waiting(waiting: list[Message], bodies: list[bytes]) -> list[Message]:
    """Without the messages whose turn began since, which were then found in their new place."""
    if not waiting:
        return waiting
    found = {decode_message(body).id for body in bodies}
    return [message for message in waiting if message.id not in found]
