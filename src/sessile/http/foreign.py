"""What is read of an imported file, as sessions."""

from collections.abc import AsyncGenerator, AsyncIterator

from msgspec import Struct

from sessile.http.access import Access
from sessile.http.query import check_message_id
from sessile.node.handle import Handle
from sessile.wire.errors import InvalidRequest, MetadataTooLarge, SessionExists
from sessile.wire.messages import ExportedSession, Message, ReadPiece, Session, Skipped


class ImportedSessions(Struct):
    """The sessions that were made of a file of another chat, and what was not."""

    imported: list[Session]
    skipped: list[Skipped]


async def adopted(
    session: Handle, found: ExportedSession, messages: AsyncIterator[ReadPiece]
) -> Session:
    """The session that is made of one that was read, with its messages."""
    return await session.adopt(_checked(messages), found.title, found.metadata, found.archived)


async def import_all(
    access: Access, reading: AsyncGenerator[ReadPiece, None], count: int, id: str | None
) -> ImportedSessions:
    """Make a session of each conversation that is read, and skip those that cannot be one.

    ``id`` is for the session of a file with one conversation. Raises
    :class:`~sessile.wire.errors.SessionExists` or :class:`~sessile.wire.errors.InvalidRequest` if
    nothing could be imported.
    """
    if id is not None and count != 1:
        raise InvalidRequest(f"The file has {count:,} conversations; an `id` is for one.")
    done = ImportedSessions([], [])
    found = await _next(reading, done)
    while found is not None:
        if isinstance(found, Skipped):
            done.skipped.append(found)
        elif isinstance(found, ExportedSession):
            found.id = found.id if id is None else id
            messages = _Messages(reading)
            try:
                done.imported.append(await adopted(access.session(found.id), found, messages))
            except (SessionExists, InvalidRequest, MetadataTooLarge) as error:
                done.skipped.append(Skipped(found.title, str(error), found.id))
            found = messages.following
            if not isinstance(found, list):
                continue
        found = await _next(reading, done)
    if not done.imported:
        raise _nothing(done.skipped)
    return done


class _Messages:
    """The messages of one session among what is read; ``following`` is what comes after them."""

    def __init__(self, reading: AsyncGenerator[ReadPiece, None]) -> None:
        self._reading = reading
        self.following: ReadPiece | None = []  # none of them was read yet

    def __aiter__(self) -> AsyncIterator[ReadPiece]:
        return self

    async def __anext__(self) -> ReadPiece:
        self.following = await anext(self._reading, None)
        if isinstance(self.following, list):
            return self.following
        raise StopAsyncIteration


async def _next(
    reading: AsyncGenerator[ReadPiece, None], done: ImportedSessions
) -> ReadPiece | None:
    """What comes next; a file of which no more can be read has no more, and that is reported."""
    try:
        return await anext(reading, None)
    except InvalidRequest as error:
        done.skipped.append(Skipped("", str(error)))
        return None


def _nothing(skipped: list[Skipped]) -> InvalidRequest | SessionExists:
    if any(one.error == SessionExists.__doc__ for one in skipped):
        return SessionExists(
            "The conversations of this file were already imported; delete their sessions first."
        )
    first = skipped[0]
    about = f" of {len(skipped):,} conversations" if len(skipped) > 1 else ""
    title = f" ({first.title[:100]})" if first.title else ""
    return InvalidRequest(f"Nothing{about} could be imported{title}: {first.error}")


async def _checked(messages: AsyncIterator[ReadPiece]) -> AsyncGenerator[list[Message], None]:
    ids: set[str] = set()
    async for chunk in messages:
        assert isinstance(chunk, list)
        for message in chunk:
            check_message_id(message.id)
            if message.id in ids:
                raise InvalidRequest(f"Two messages have the id {message.id}.")
            ids.add(message.id)
        yield chunk
