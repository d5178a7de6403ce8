"""The answer so far of a turn that runs, from the events that the store keeps of it."""

import logging

from sessile.store.base import Body, Chunk, Row, Store
from sessile.wire.fold import Answer, GapError, fold_answer
from sessile.wire.frames import before
from sessile.wire.messages import decode_message

log = logging.getLogger(__name__)


async def answer_so_far(
    store: Store, row: Row, until: int | None = None, draft: Body | None = None
) -> Answer | None:
    """The answer that is being written in a session, as it stood at the event ``until``.

    Without ``until``: as it stands. None where no turn runs, or nothing was written yet. With
    ``until`` comes the draft of the time before ``row`` was read: a newer one may be later.
    """
    running = row.running
    if running is None:
        return None
    if until is None:
        draft = await store.draft(row.id)
    answer, after = Answer(running.answer, running.question, running.started_at), running.since
    if draft is not None:
        drafted = decode_message(draft.body)
        if drafted.id == running.answer:
            answer, after = Answer.of(drafted), draft.changed
            answer.changed = after
    more = True
    try:
        while more:
            frames = await store.events(row.id, after) or Chunk()
            more = frames.cut and (until is None or frames[-1].seq < until)
            after = frames[-1].seq if frames else after
            fold_answer(answer, frames if until is None else before(frames, until + 1))
    except GapError as gap:
        log.error("session %s: its answer is kept as far as it goes: %s", row.id, gap)
    return answer if answer.seq else None
