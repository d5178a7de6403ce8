"""The history of sessions: pages, all of it, and what an agent sees of it.

It is read from the store alone, on any node. Messages that wait for their turn stand at the end.
Where a session lives in this process its object is asked for the answer that is being written,
which spares folding it from the store.
"""

from bisect import insort
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import NamedTuple, Protocol, TypeVar

from sessile.history.answer import answer_so_far
from sessile.store.base import Body, Place, Row, Store
from sessile.wire.codec import decode_json, encode, readable
from sessile.wire.errors import MessageNotFound, SessionUnreadable
from sessile.wire.fold import Answer
from sessile.wire.ids import answer_id
from sessile.wire.messages import Message, PastMessage, decode_message, decode_past, id_of

CHUNK = 500  # messages read at once where all that follow are wanted
MAX_SEQ = 2**63 - 1
HISTORY = 16 * 1024 * 1024  # bytes of messages that an agent gets at most
T = TypeVar("T")

_decode_record = readable(decode_json)


class Live(Protocol):
    """A session that lives in this process."""

    @property
    def row(self) -> Row: ...

    def writing(self) -> Answer | None:
        """The answer that is being written, as it stands."""

    async def recorded(self) -> None:
        """Wait until everything written so far is stored."""


class JSONPage(NamedTuple):
    """The JSON of messages, oldest first.

    ``has_more`` says whether there are messages beyond them, and ``at`` is then the id of the
    message next to these. A page of large messages has no ``bodies`` but ``chunks`` of them.
    """

    bodies: list[bytes]
    has_more: bool
    at: str | None = None
    chunks: AsyncGenerator[list[bytes], None] | None = None

    async def all(self) -> list[bytes]:
        """Every message of the page."""
        if self.chunks is None:
            return self.bodies
        return [body async for bodies in self.chunks for body in bodies]


class History:
    """Reads histories. ``live`` finds the object of a session that lives in this process."""

    def __init__(self, store: Store, live: Callable[[str], Live | None]) -> None:
        self._store = store
        self._live = live

    async def page(
        self, session: str, limit: int, before: str | None = None, after: str | None = None
    ) -> JSONPage:
        """A page: the newest messages, or those next to ``before`` or ``after``.

        Raises :class:`~sessile.wire.errors.MessageNotFound` for an unknown ``before`` or
        ``after``.
        """
        running, waiting = await self._as_it_stands(session)
        if after is not None:
            return await self._page_after(session, limit, after, running, waiting)
        if before is None:
            end, ahead = None, waiting
        else:
            end, ahead = await self._place(session, before, running, waiting)
        if running is not None and end is not None and running.seq >= end:
            running = None
        found = await self._store.newest(session, limit + 1, end)
        if found.cut:
            places = await self._store.places(session, limit + 1, before=end)
            places = _all_places(places[::-1], running, ahead)
            return self._long_page(session, places, -limit, running, ahead)
        return _page(_with_waiting(_with_running(found[::-1], running), ahead), -limit)

    async def _page_after(
        self,
        session: str,
        limit: int,
        after: str,
        running: Body | None,
        waiting: list[Message],
    ) -> JSONPage:
        start, ahead = await self._place(session, after, running, waiting)
        if start is None:  # it waits: only others that wait stand behind it
            return _page([encode(message) for message in waiting[len(ahead) + 1 :]], limit)
        if running is not None and running.seq <= start:
            running = None
        found = await self._store.following(session, limit + 1, start)
        if found.cut:
            places = await self._store.places(session, limit + 1, after=start)
            places = _all_places(places, running, waiting)
            return self._long_page(session, places, limit, running, waiting)
        return _page(_with_waiting(_with_running(found, running), waiting), limit)

    def _long_page(
        self,
        session: str,
        found: list[Place],
        limit: int,
        running: Body | None,
        waiting: list[Message],
    ) -> JSONPage:
        """A page, as :func:`_page` makes it, that is read a little at a time while it is sent."""
        places, edge = _limited(found, limit)
        ids = {place.id for place in places}
        stored = [place.seq for place in places if place.seq < MAX_SEQ]
        if running is not None and running.seq not in stored:
            running = None
        waiting = [message for message in waiting if message.id in ids]
        rest = self._walk(session, stored[0] - 1, stored[-1], running, waiting)
        return JSONPage([], edge is not None, None if edge is None else edge.id, rest)

    async def walk(self, session: str) -> AsyncGenerator[list[bytes], None]:
        """The JSON of all messages from the oldest on, in chunks, none of which is empty."""
        running, waiting = await self._as_it_stands(session)
        async with aclosing(self._walk(session, 0, MAX_SEQ, running, waiting)) as chunks:
            async for bodies in chunks:
                yield bodies

    async def _walk(
        self,
        session: str,
        after: int,
        until: int,
        running: Body | None,
        waiting: list[Message],
    ) -> AsyncGenerator[list[bytes], None]:
        """The messages over one seq and up to another, and then those that wait."""
        at_end = False
        while not at_end:
            found = await self._store.following(session, CHUNK, after)
            at_end = not found.cut and len(found) < CHUNK
            at_end = at_end or found[-1].seq >= until
            last = until if at_end else found[-1].seq
            here = running if running and after < running.seq <= last else None
            bodies = _with_running([body for body in found if body.seq <= until], here)
            after = last
            waiting = _still_waiting(waiting, bodies)
            if at_end:
                bodies += [encode(message) for message in waiting]
            del found
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

    async def before(self, session: str, seq: int, limit: int) -> list[PastMessage]:
        """What an agent sees of the history: the newest ``limit`` messages before a number, or
        fewer where they are longer than ``HISTORY``."""
        found: list[PastMessage] = []
        size, end = 0, seq
        while len(found) < limit and size < HISTORY:
            newest = await self._store.newest(session, limit - len(found), seq)
            found += _readable(newest)
            size += sum(len(body.body) for body in newest)
            if not newest.cut:
                break
            seq = newest[-1].seq
        if found:
            records = await self._store.records(session, found[-1].seq - 1, end)
            for message in found:
                if message.id in records:
                    with suppress(SessionUnreadable):  # an agent answers without what is damaged
                        message.record = _decode_record(records[message.id])
        return found[::-1]

    async def message(self, session: str, message_id: str) -> Message:
        """One message as it stands: also an answer that is being written, or whose turn waits.

        Raises :class:`~sessile.wire.errors.MessageNotFound`.
        """
        running, waiting = await self._as_it_stands(session)
        row = await self._store.row_if_busy(session)
        # Last, so that what was settled meanwhile is found.
        stored = await self._store.message(session, message_id)
        if stored is not None:
            return stored
        if running is not None and id_of(running.body) == message_id:
            return decode_message(running.body)
        turn = None if row is None else row.running
        if turn is not None and turn.answer == message_id:
            return Answer(turn.answer, turn.question, turn.started_at).message()
        for question in waiting:
            if row is not None and answer_id(row.epoch, question.id, question.seq) == message_id:
                return Answer(message_id, question.id, question.created_at).message("queued")
        raise MessageNotFound

    async def _as_it_stands(self, session: str) -> tuple[Body | None, list[Message]]:
        """The answer that is being written, and the messages that wait.

        Nothing is shown that is not stored: where the session lives here its answer is taken as
        it stands, and then what is in it is waited for.
        """
        live = self._live(session)
        if live is not None:
            answer, queued = live.writing(), live.row.queued
            body = _body(answer)
            await live.recorded()
        else:
            row = await self._store.row_if_busy(session)
            if row is None:
                return None, []
            body, queued = _body(await answer_so_far(self._store, row)), row.queued
        return body, await self._store.queue(session) if queued else []

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
        if running is not None and id_of(running.body) == message_id:
            return running.seq, []
        raise MessageNotFound


def _readable(bodies: Iterable[Body]) -> Iterator[PastMessage]:
    """The messages, without one that is damaged: an agent answers without it."""
    for body in bodies:
        with suppress(SessionUnreadable):
            yield decode_past(body.body)


def _body(answer: Answer | None) -> Body | None:
    if answer is None or not answer.seq:
        return None
    return Body(answer.seq, answer.seq, encode(answer.message()))


def _page(found: list[bytes], limit: int) -> JSONPage:
    """A page of the first ``limit`` messages, or with a negative ``limit`` of the last."""
    bodies, edge = _limited(found, limit)
    return JSONPage(bodies, edge is not None, None if edge is None else id_of(edge))


def _limited(found: list[T], limit: int) -> tuple[list[T], T | None]:
    """The first ``limit`` items, or with a negative ``limit`` the last; and, if there are more, the
    item that the others stand next to."""
    if len(found) <= abs(limit):
        return found, None
    return (found[:limit], found[limit - 1]) if limit > 0 else (found[limit:], found[limit])


def _all_places(stored: list[Place], running: Body | None, waiting: list[Message]) -> list[Place]:
    """Where the messages of a page stand, oldest first; those that wait at the end."""
    found = list(stored)
    if running and all(place.seq != running.seq for place in found):
        insort(found, Place(running.seq, id_of(running.body)))
    ids = {place.id for place in found}
    return found + [Place(MAX_SEQ, message.id) for message in waiting if message.id not in ids]


def _with_running(found: list[Body], running: Body | None) -> list[bytes]:
    """Messages, oldest first, with the answer that was being written if it was not settled since."""
    if running and all(body.seq != running.seq for body in found):
        insort(found, running)
    return [body.body for body in found]


def _with_waiting(bodies: list[bytes], waiting: list[Message]) -> list[bytes]:
    """The messages of a page, and those that wait behind them."""
    return bodies + [encode(message) for message in _still_waiting(waiting, bodies)]


def _still_waiting(waiting: list[Message], bodies: list[bytes]) -> list[Message]:
    """Without the messages whose turn began since, which were then found in their new place."""
    if not waiting:
        return waiting
    found = {id_of(body) for body in bodies}
    return [message for message in waiting if message.id not in found]
