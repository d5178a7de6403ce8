"""Answers that come as one response, when they are settled."""

import asyncio

from starlette.requests import Request

from sessile.http.access import Watcher
from sessile.node.handle import Handle
from sessile.wire.errors import ShuttingDown
from sessile.wire.events import DeletedEvent, PartEvent
from sessile.wire.frames import Frame
from sessile.wire.messages import Message

WAIT_MOST = 3_600  # seconds
UNSETTLED = ("queued", "streaming")


async def when_settled(
    session: Handle, watcher: Watcher, request: Request, id: str, patience: float
) -> Message | None:
    """A message, once nothing is to come; None if that takes longer than so many seconds, or the
    client has left.

    ``watcher`` sees what happens from before the message is looked for. Raises
    :class:`~sessile.wire.errors.MessageNotFound`, also where it is deleted meanwhile, and
    :class:`~sessile.wire.errors.ShuttingDown`.
    """
    waiting = asyncio.ensure_future(_settled(session, watcher, id))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait(
            (waiting, leaving), timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        return waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()
        leaving.cancel()


async def _settled(session: Handle, watcher: Watcher, id: str) -> Message:
    happened = asyncio.Event()
    watcher.listener = happened.set
    while True:
        happened.clear()
        message = await session.standing(id)
        if message.status not in UNSETTLED:
            return message
        while not await _changed(watcher, id):
            if watcher.closed:
                raise ShuttingDown
            await happened.wait()
            happened.clear()


async def _changed(watcher: Watcher, id: str) -> bool:
    """Whether more has happened to a message than that it grew, or to what it may depend on."""
    changed = False
    while frames := await watcher.read():
        for frame in frames:
            if isinstance(frame, Frame) and not isinstance(frame.event, PartEvent):
                deleted = isinstance(frame.event, DeletedEvent)
                changed = changed or deleted or frame.about == id
    return changed


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def wants_json(accept: str) -> bool:
    """Whether a client prefers JSON to a stream of events (RFC 9110, 12.5.1)."""
    return _quality(accept, "application/json") > _quality(accept, "text/event-stream")


def _quality(accept: str, media: str) -> float:
    """How much a media type is wanted, by the most specific range that covers it."""
    kind = media.partition("/")[0]
    found = {}
    for item in accept.lower().split(","):
        range, *parameters = [part.strip() for part in item.split(";")]
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        found[range] = quality
    return next((found[range] for range in (media, f"{kind}/*", "*/*") if range in found), 0.0)


def responds_async(prefer: str) -> bool:
    """Whether a client wants an answer before the work is done (RFC 7240, 4.1)."""
    return any(
        item.partition(";")[0].strip().lower() == "respond-async" for item in prefer.split(",")
    )
