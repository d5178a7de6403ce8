"""Begin or find a turn, and follow it: shared by every protocol that answers a request."""

from collections.abc import Awaitable, Callable

from sessile.http.context import Context
from sessile.http.stream import EventStream
from sessile.node.handle import Handle
from sessile.protocols.base import Protocol
from sessile.session.inbox import Sent


async def turn_stream(
    context: Context,
    session: Handle,
    begin: Callable[[Handle], Awaitable[Sent]],
    protocol: Callable[[Sent], Protocol],
) -> EventStream:
    """Watch, then begin (or find) a turn: so none of its events is missed."""
    access = context.access
    watcher = await access.watch(session)
    try:
        sent = await begin(session)
        spoken = protocol(sent)
        follows = sent.answer_id is not None
        if sent.repeat and sent.answer is not None:
            follows = await access.kept(session, sent.after) is not None
        first = spoken.begin(sent.message if sent.repeat else None)
        if follows:
            assert sent.answer_id is not None
            watcher.cursor = sent.after
            watcher.follow(sent.message.id, sent.answer_id)
        elif sent.answer is not None:
            first += spoken.settled(sent.answer)
        return EventStream(
            watcher,
            access.leave,
            spoken if follows else None,
            context.limits.heartbeat,
            first=first,
            last=spoken.end(),
            cut=spoken.cut(),
        )
    except BaseException:
        access.leave(watcher)
        raise
