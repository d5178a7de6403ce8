"""A session as its clients see it. Pure."""

from sessile.store.base import Row
from sessile.wire.messages import Message, Session, SessionStatus

TITLE_LENGTH = 80  # characters


def value_of(row: Row) -> Session:
    """A stored session as its clients see it."""
    status: SessionStatus = "queued" if row.queued else "idle"
    if row.running is not None:
        status = "waiting" if row.running.asked else "running"
    return Session(
        row.id,
        row.title,
        status,
        row.message_count,
        row.created_at,
        row.updated_at,
        row.archived,
        row.metadata,
        row.seq,
    )


def title_of(message: Message) -> str:
    """A session's title: the first line of its first message, cut at a word."""
    line = next((line.strip() for line in message.content.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_LENGTH // 2 :] else cut).rstrip() + "…"
