"""What a watcher gets where single events are gone: the newest state of all that changed."""

from collections.abc import Sequence
from heapq import merge

from sessile.history.answer import answer_so_far
from sessile.store.base import Body, Row, Store
from sessile.wire.codec import encode
from sessile.wire.events import DeletedEvent
from sessile.wire.frames import Frame
from sessile.wire.messages import decode_message

CHUNK = 200  # messages read at once


class CatchUp:
    """Like a log that was compacted: of each message its last change, in the order of these
    changes, so that a client which is cut off in the middle goes on from the last one it saw.
    """

    def __init__(
        self, store: Store, session: str, after: int, until: int, others: list[Frame]
    ) -> None:
        self.until = until
        self.cursor = after
        self._store = store
        self._session = session
        self._after = after
        self._ended = False
        self._others = others

    @classmethod
    async def begin(cls, store: Store, session: str, cursor: int) -> "CatchUp":
        draft = await store.draft(session)
        row = await store.row(session)
        until = row.seq if row else 0
        # A number that was never given belongs to a session of that id that was deleted.
        after = cursor if cursor <= until else 0
        gone = [
            Frame.of(DeletedEvent(seq, message), seq)
            for seq, message in await store.deleted(session, after)
            if seq <= until
        ]
        others = list(merge(gone, await _being_written(store, row, until, draft), key=_seq))
        return cls(store, session, after, until, others)

    async def next(self) -> list[Frame]:
        """The next chunk, or nothing at the end."""
        frames: list[Frame] = []
        while not (frames or self._ended):
            found = await self._store.changed(self._session, CHUNK, self._after)
            self._ended = not found.cut and len(found) < CHUNK
            edge = self.until if self._ended else min(found[-1].changed, self.until)
            changed = [_whole(body, body.changed) for body in found if body.changed <= self.until]
            others = [frame for frame in self._others if self.cursor < frame.seq <= edge]
            frames = list(merge(changed, others, key=_seq))
            if frames:
                self.cursor = frames[-1].seq
            frames += self._changed_since(found)
            if found:
                self._after = found[-1].changed
        return frames

    def _changed_since(self, found: Sequence[Body]) -> list[Frame]:
        """Messages that were there at the reset and have changed since, as they have become.

        What changed them follows, event by event, and needs the message it changes. They have no
        number of their own: a client that is cut off here gets them again.
        """
        late = [body for body in found if body.changed > self.until]
        frames = [
            _whole(body, self.cursor)
            for body in late
            # A user's message may have moved behind the reset, as its turn began.
            if body.seq <= self.until or b'"role":"user"' in body.body
        ]
        for frame in frames:
            frame.seq = 0
        return frames


def _whole(body: Body, seq: int) -> Frame:
    return Frame.of_message(decode_message(body.body), body.body, seq)


def _seq(frame: Frame) -> int:
    return frame.seq


async def _being_written(
    store: Store, row: Row | None, until: int, draft: Body | None
) -> list[Frame]:
    answer = None if row is None else await answer_so_far(store, row, until, draft)
    if answer is None:
        return []
    message = answer.message()
    return [Frame.of_message(message, encode(message), answer.changed)]
