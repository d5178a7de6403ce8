"""The data that nodes share: rows, messages and events, changed by atomic statements."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec

from sessile.store.base import Body, Commit, Head, Row
from sessile.wire.frames import Frame, singly
from sessile.wire.messages import Message, decode_message


class Database:
    """The statements of a shared store, each executed at once.

    ``log`` keeps every event that was ever stored, to compare with what clients see.
    """

    def __init__(self) -> None:
        self.up = True
        self.rows: dict[str, Row] = {}
        self.messages: dict[str, dict[str, Body]] = defaultdict(dict)
        self.deletions: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.log: dict[str, list[bytes]] = defaultdict(list)
        self.drafts: dict[str, Body] = {}
        self.records: dict[str, bytes] = {}  # of answers that are being written
        self.private: dict[str, dict[str, bytes]] = defaultdict(dict)  # by messages
        self.beats: Counter[int] = Counter()
        self.newest: Counter[int] = Counter()  # of each node's statements that were done
        self.mutation = ""

    def commit(self, node: int, commit: Commit, number: int) -> bool:
        """Store a commit; False if its writer has not seen the newest one.

        ``number`` counts the statements of a node. One that comes late stores no commit without
        frames, which the comparison would not notice.
        """
        is_late = number < self.newest[node]
        self.newest[node] = max(number, self.newest[node])
        row = self.rows.get(commit.session)
        if (is_late and not commit.frames) or not self._may(node, commit, row):
            return False
        if commit.drop:
            del self.rows[commit.session]
            for kept in (self.messages, self.log, self.private):
                kept[commit.session].clear()
            self._end(commit.session)
            return True
        if row is None or commit.durable:
            self.rows[commit.session] = msgspec.structs.replace(commit.row)
        else:
            row.seq = commit.row.seq
        self._put(commit)
        return True

    def _may(self, node: int, commit: Commit, row: Row | None) -> bool:
        if self.mutation == "no-compare":
            return True
        if row is None or commit.base == 0:
            return row is None and commit.base == 0
        if row.seq != commit.base:
            return False
        if self.mutation == "no-owner":
            return True
        return row.owner == node or (commit.durable and row.owner == commit.stood)

    def _put(self, commit: Commit) -> None:
        messages, log = self.messages[commit.session], self.log[commit.session]
        private = self.private[commit.session]
        if commit.row.running is None:
            self._end(commit.session)
        if commit.draft is not None:
            self.drafts[commit.session] = commit.draft
        if commit.record is not None:
            self.records[commit.session] = commit.record
        if commit.untrue is not None:
            for message in self.answers(commit.session):
                if message.seq >= commit.untrue:
                    private.pop(message.id, None)
        for message, body, changed, _, kept in commit.messages:
            messages[message.id] = Body(message.seq, changed, body)
            if kept is not None:
                private[message.id] = kept
        for id, seq in commit.deleted.items():
            messages.pop(id, None)
            private.pop(id, None)
            self.deletions[commit.session].append((seq, id))
        for frame in singly(commit.frames):
            assert frame.seq == len(log) + 1, f"G3: {frame.seq} after {len(log)}"
            log.append(frame.data)

    def _end(self, session: str) -> None:
        self.drafts.pop(session, None)
        self.records.pop(session, None)

    def has(self, commit: Commit) -> bool:
        """Whether the events of a commit are stored, byte for byte."""
        log = self.log[commit.session]
        return bool(commit.frames) and all(
            frame.seq <= len(log) and log[frame.seq - 1] == frame.data
            for frame in singly(commit.frames)
        )

    def beat(self, node: int) -> dict[int, int]:
        self.beats[node] += 1
        return dict(self.beats)

    def claim(self, owner: int, node: int, session: str | None, limit: int) -> list[str]:
        claimed = [id for id in self.busy(owner) if session in (None, id)][:limit]
        for id in claimed:
            self.rows[id].owner = node
        return claimed

    def leave(self, node: int) -> None:
        self.claim(node, 0, None, len(self.rows))
        self.beats.pop(node, None)

    # Reading ------------------------------------------------------------------------------------

    def busy(self, owner: int) -> list[str]:
        return [row.id for row in self.rows.values() if row.busy and row.owner == owner]

    def due(self, until: int) -> list[str]:
        turns = [(row.id, row.running) for row in self.rows.values()]
        return [id for id, turn in turns if turn and turn.parked and turn.expires_at <= until]

    def row(self, session: str) -> Row | None:
        row = self.rows.get(session)
        return None if row is None else msgspec.structs.replace(row)

    def heads(self, sessions: Sequence[str]) -> list[Head]:
        rows = [self.rows[id] for id in sessions if id in self.rows]
        return [Head(row.id, row.epoch, row.seq) for row in rows]

    def bodies(self, session: str) -> list[Body]:
        """The messages that are not queued, oldest first."""
        return sorted(
            body for body in self.messages[session].values() if _decode(body).status != "queued"
        )

    def changed(self, session: str, after: int) -> list[Body]:
        found = [body for body in self.messages[session].values() if body.changed > after]
        return sorted(found, key=lambda body: body.changed)

    def queue(self, session: str) -> list[Message]:
        messages = [_decode(body) for body in sorted(self.messages[session].values())]
        return [message for message in messages if message.status == "queued"]

    def message(self, session: str, id: str) -> Message | None:
        body = self.messages[session].get(id)
        return None if body is None else _decode(body)

    def answers(self, session: str) -> list[Message]:
        """The settled answers, oldest first."""
        return [m for m in map(_decode, self.bodies(session)) if m.role == "assistant"]

    def events(self, session: str, after: int) -> list[Frame] | None:
        row = self.rows.get(session)
        if after > (row.seq if row else 0):
            return None
        log = self.log[session]
        return [Frame(seq + 1, log[seq]) for seq in range(after, len(log))]


def _decode(body: Body) -> Message:
    return decode_message(body.body)
