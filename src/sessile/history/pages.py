"""What is read of a session's history: pages, all of it, and what an agent is shown."""

from bisect import insort
from collections.abc import AsyncGenerator, Callable

from msgspec import UNSET

from sessile.session.journal import Journal
from sessile.store.base import Body, Store
from sessile.wire.codec import encode
from sessile.wire.errors import MessageNotFound
from sessile.wire.fold import Answer
from sessile.wire.messages import Message, decode_message

CHUNK = 500  # messages read at once where all that follow are wanted
MAX_SEQ = 2**63 - 1


class Pages:
    """The history of one session, with the answer that is being written as it stands.

    Nothing is shown that is not stored: an answer in the making is taken as it stands, then what
    is in it is waited for, and then the store is read.
    """

    def __init__(
        self, journal: Journal, store: Store, writing: Callable[[], Answer | None]
    ) -> None:
        self._journal = journal
        self._store = store
        self._writing = writing

    @property
    def _id(self) -> str:
        return self._journal.row.id

    async def page(
        self, limit: int, before: str | None = None, after: str | None = None
    ) -> tuple[list[bytes], bool]:
        """The JSON of the messages of a page, oldest first, and whether there are more."""
        running = await self._as_it_stands()
        if after is not None:
            start = await self._seq_of(after)
            found = await self._store.following(self._id, limit + 1, start)
            bodies = _with_running(found, running, lambda seq: seq > start)
            return bodies[:limit], len(bodies) > limit
        end = None if before is None else await self._seq_of(before)
        found = await self._store.newest(self._id, limit + 1, end)
        found.reverse()
        bodies = _with_running(found, running, lambda seq: end is None or seq < end)
        return bodies[-limit:], len(bodies) > limit

    async def walk(self) -> AsyncGenerator[list[bytes], None]:
        """The JSON of all messages from the oldest on, in chunks, none of which is empty."""
        running = await self._as_it_stands()
        after = 0
        at_end = False
        while not at_end:
            found = await self._store.following(self._id, CHUNK, after)
            at_end = len(found) < CHUNK
            between = range(after + 1, MAX_SEQ if at_end else found[-1].seq)
            after = 0 if at_end else found[-1].seq
            if bodies := _with_running(found, running, between.__contains__):
                yield bodies

    async def messages_from(self, seq: int) -> list[Message]:
        """All messages from a number on."""
        await self._journal.recorded()
        found: list[Message] = []
        after = seq - 1
        while bodies := await self._store.following(self._id, CHUNK, after):
            found.extend(decode_message(body.body) for body in bodies)
            after = bodies[-1].seq
        return found

    async def before(self, question: Message, limit: int, queued: int) -> list[Message]:
        """What an agent is shown of the history when it answers a question.

        The newest ``limit`` settled messages, each answer behind its question, also where others
        were ``queued`` between the two.
        """
        newest = await self._store.newest(self._id, limit + queued + 1, None)
        messages = [decode_message(body.body) for body in newest]
        asked = {message.id: message.seq for message in messages}

        def place(message: Message) -> tuple[int, int]:
            if message.reply_to is not UNSET and message.reply_to in asked:
                return asked[message.reply_to], message.seq
            return message.seq, 0

        settled = (
            message
            for message in messages
            if message.id != question.id and message.status != "queued"
        )
        shown = [m for m in sorted(settled, key=place) if place(m) < (question.seq, 0)]
        return shown[-limit:] if limit else []

    async def _as_it_stands(self) -> Body | None:
        answer = self._writing()
        body = None
        if answer is not None and answer.seq:
            body = Body(answer.seq, answer.seq, encode(answer.message()))
        await self._journal.recorded()
        return body

    async def _seq_of(self, message_id: str) -> int:
        answer = self._writing()
        if answer is not None and answer.id == message_id:
            return answer.seq or self._journal.next_seq
        message = await self._journal.find(message_id)
        if message is None:
            raise MessageNotFound
        return message.seq


def _with_running(
    found: list[Body], running: Body | None, belongs: Callable[[int], bool]
) -> list[bytes]:
    """A page, oldest first, with the answer that was being written if it was not settled since."""
    if running and belongs(running.seq) and all(body.seq != running.seq for body in found):
        insort(found, running)
    return [body.body for body in found]
