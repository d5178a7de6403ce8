"""Takes up what a process that is gone left in the middle of a session."""

import logging
from typing import Any

import msgspec

from sessile.history.answer import answer_so_far
from sessile.session.host import Kept, decode_kept
from sessile.session.journal import Journal
from sessile.session.limits import SessionLimits
from sessile.session.queue import TurnQueue
from sessile.store.base import RunningTurn, Store
from sessile.wire.codec import encode
from sessile.wire.errors import ContinuedTooOften, SessionUnreadable
from sessile.wire.fold import Answer
from sessile.wire.ids import now
from sessile.wire.messages import Message

log = logging.getLogger(__name__)

# How often a turn is continued within so many seconds before its answer grows.
CONTINUED, WITHIN = 5, 3600


async def recover(journal: Journal, turns: TurnQueue, store: Store, limits: SessionLimits) -> None:
    """Continue, settle or begin again the turn that was cut off, and take up the queue."""
    row = journal.row
    if row.held:  # an import that was cut off: nothing of it stays
        journal.drop()
        await journal.recorded()
        return
    if row.queued:
        for message in await store.queue(row.id):
            turns.waiting.append(turns.queued(message, await store.request(row.id, message.id)))
    if row.running is not None:
        await _take_up(journal, turns, store, limits, row.running)
    if row.running is not None or turns.waiting:
        turns.next()
        await journal.recorded()


async def _take_up(
    journal: Journal, turns: TurnQueue, store: Store, limits: SessionLimits, running: RunningTurn
) -> None:
    session = journal.row.id
    answer = await answer_so_far(store, journal.row)
    if answer is None:
        answer = Answer(running.answer, running.question, running.started_at)
    question = await store.message(session, running.question)
    request = await store.request(session, running.question)
    kept = await _kept(store, session)
    if kept is not None:
        answer.metadata.update(kept.metadata)
    if running.stopping or question is None:
        turns.finish(answer, "stopped" if running.stopping else "interrupted", kept)
    elif turns.continues and turns.kind == running.agent:
        _continue(journal, turns, running, answer, question, request, kept)
    elif running.retries < limits.retries and not answer.used_tools:
        _retry(journal, turns, running, answer, question, request)
        if kept is not None:
            journal.keep(encode(Kept(None, {})))
    else:
        turns.finish(answer, "interrupted", kept)


async def _kept(store: Store, session: str) -> Kept | None:
    """What the agent kept; a turn goes on without what is damaged."""
    try:
        record = await store.record(session)
        return None if record is None else decode_kept(record)
    except SessionUnreadable:
        log.error("session %s: what its agent kept cannot be read", session)
        return None


def _continue(
    journal: Journal,
    turns: TurnQueue,
    running: RunningTurn,
    answer: Answer,
    question: Message,
    request: dict[str, Any],
    kept: Kept | None,
) -> None:
    if running.parked or turns.draining:
        turns.stand(question, running, answer, request, kept, again=True).is_left = True
        return
    grown = answer.changed if answer.seq else 0
    former = running.continued if grown <= running.grown else ()
    recent = tuple(time for time in former if time > now() - WITHIN)
    if len(recent) >= CONTINUED:
        error = ContinuedTooOften()
        answer.metadata["error"] = {"error": str(error), "code": error.code}
        turns.finish(answer, "interrupted", kept)
        return
    running = msgspec.structs.replace(running, continued=(*recent, now()), grown=grown)
    turns.go_on(turns.stand(question, running, answer, request, kept, again=True))


def _retry(
    journal: Journal,
    turns: TurnQueue,
    running: RunningTurn,
    answer: Answer,
    question: Message,
    request: dict[str, Any],
) -> None:
    journal.change()
    if answer.seq:
        # Watchers have words of the first try: the answer stands empty again.
        answer.clear()
        journal.show(answer.message())
    again = msgspec.structs.replace(running, retries=running.retries + 1)
    turns.start(turns.stand(question, again, answer, request))
