"""A session that was elsewhere comes here, in several commits."""

from collections.abc import AsyncIterable

from sessile.session.edits import settled_copy
from sessile.session.journal import Journal
from sessile.session.limits import Sizes
from sessile.wire.messages import Message, Metadata


async def adopt(
    journal: Journal,
    sizes: Sizes,
    chunks: AsyncIterable[list[Message]],
    title: str,
    metadata: Metadata,
    archived: bool,
) -> None:
    """Write messages, which get new numbers, into a session that does not exist yet.

    If it fails in the middle, nothing of it stays.
    """
    row = journal.row
    sizes.check_session(metadata)
    try:
        async for messages in chunks:
            journal.change()
            row.held = True
            for message in messages:
                journal.adopt(settled_copy(message, journal.next_seq))
            await journal.stored()
        journal.change()
        row.held = False
        row.title = sizes.cut_title(title or row.title)
        row.metadata, row.archived = metadata, archived
        journal.put_session()
    except BaseException:
        if row.seq and not journal.broken:
            journal.drop()
        raise
