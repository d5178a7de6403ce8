"""The answer so far of a turn that runs, from the events that the store keeps of it."""

import logging

from sessile.store.base import Row, Store
from sessile.wire.fold import Answer, GapError, fold_answer

log = logging.getLogger(__name__)


async def answer_so_far(store: Store, row: Row, until: int | None = None) -> Answer | None:
    """The answer that is being written in a session, as it stood at the event ``until``.

    Without ``until``: as it stands. None where no turn runs, or nothing was written yet.
    """
    running = row.running
    if running is None:
        return None
    answer = Answer(running.answer, running.question, running.started_at)
    frames = await store.events(row.id, running.since) or []
    if until is not None:
        frames = [frame for frame in frames if frame.seq <= until]
    try:
        fold_answer(answer, frames)
    except GapError as gap:
        log.error("session %s: its answer is kept as far as it goes: %s", row.id, gap)
    return answer if answer.seq else None
