"""Takes up what a process that is gone left in the middle of a session."""

from typing import Any

import msgspec

from sessile.history.answer import answer_so_far
from sessile.session.journal import Journal
from sessile.session.queue import TurnQueue
from sessile.store.base import RunningTurn, Store
from sessile.wire.fold import Answer
from sessile.wire.messages import Message


async def recover(journal: Journal, turns: TurnQueue, store: Store, retries: int) -> None:
    """Settle or begin again the turn that was cut off, and take up the queue.

    ``retries`` is how often a turn is started again; with 0 it is settled as interrupted.
    """
    row = journal.row
    if row.held:  # an import that was cut off: nothing of it stays
        journal.drop()
        await journal.recorded()
        return
    if row.queued:
        for message in await store.queue(row.id):
            turns.waiting.append(turns.queued(message, await store.request(row.id, message.id)))
    running = row.running
    if running is not None:
        answer = await answer_so_far(store, row)
        question = await store.message(row.id, running.question)
        if answer is None:
            answer = Answer(running.answer, running.question, running.started_at)
        request = await store.request(row.id, running.question)
        _settle_or_retry(journal, turns, running, answer, question, request, retries)
    if running is not None or turns.waiting:
        turns.next()
        await journal.recorded()


def _settle_or_retry(
    journal: Journal,
    turns: TurnQueue,
    running: RunningTurn,
    answer: Answer,
    question: Message | None,
    request: dict[str, Any],
    retries: int,
) -> None:
    may_retry = running.retries < retries and not running.stopping
    if question is None or answer.used_tools or not may_retry:
        turns.finish(answer, "stopped" if running.stopping else "interrupted")
        return
    journal.change()
    if answer.seq:
        # Watchers have words of the first try: the answer stands empty again.
        answer.clear()
        journal.show(answer.message())
    again = msgspec.structs.replace(running, retries=running.retries + 1)
    turns.start(question, again, answer, request)
