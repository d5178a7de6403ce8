"""A store and a bus over simulated networks, with delays, cuts and lost answers."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from sessile.bus.base import Answerer, NobodyThere, Publication, Receiver
from sessile.bus.memory import MemoryBus
from sessile.node import nodes
from sessile.store.base import Body, Chunk, Commit, Head, Hit, OpenCommit, Place, Row
from sessile.wire.errors import Moved, StoreUnavailable
from sessile.wire.frames import Frame, Piece, singly
from sessile.wire.messages import Message
from tests.simulation.network import Network

T = TypeVar("T")

STATEMENT = 1.0  # seconds, the timeout of a statement
ATTEMPTS = 3  # of a read


class SimulatedStore:
    """The shared store as one node has it.

    A commit is retried, unchanged, until its outcome is known, for at most the time that this node
    keeps its sessions without a beat.
    """

    name = "simulated"
    unreadable = 0
    id = "simulated"

    def __init__(self, network: Network, node: int) -> None:
        self.cut = False
        self.node = node
        self._network = network
        self._database = network.database
        self._waiting: list[OpenCommit] = []
        self._sent = 0  # statements that commit
        self._asked = asyncio.Event()

    async def open(self) -> None:
        self._writer = asyncio.create_task(self._write_all())

    async def close(self) -> None: ...

    async def check(self) -> None: ...

    # Writing ------------------------------------------------------------------------------------

    def write(self, commit: OpenCommit) -> None:
        self._waiting.append(commit)
        self._asked.set()

    async def _write_all(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await asyncio.sleep(0)
            while self._waiting:
                batch: dict[str, OpenCommit] = {}
                for commit in self._waiting:
                    batch.setdefault(commit.session, commit)
                self._waiting = [c for c in self._waiting if batch[c.session] is not c]
                outcomes = await self._store([commit.take() for commit in batch.values()])
                for commit, error in zip(batch.values(), outcomes, strict=True):
                    commit.done(error)

    async def _store(self, commits: list[Commit]) -> list[Exception | None]:
        end = asyncio.get_running_loop().time() + nodes.HOLD
        again = False
        while True:
            try:
                done = await self._ask(self._statement(commits))
            except (OSError, TimeoutError):
                if asyncio.get_running_loop().time() > end:
                    return [StoreUnavailable() for _ in commits]
                again = True
                await asyncio.sleep(0.1)
                continue
            return [
                None if ok or (again and self._database.has(commit)) else Moved()
                for commit, ok in zip(commits, done, strict=True)
            ]

    def _statement(self, commits: list[Commit]) -> Callable[[], list[bool]]:
        self._sent += 1
        number = self._sent
        return lambda: [self._database.commit(self.node, commit, number) for commit in commits]

    async def _ask(self, statement: Callable[[], T]) -> T:
        return await self._network.ask(statement, lambda: self.cut, STATEMENT)

    async def _read(self, statement: Callable[[], T]) -> T:
        for _ in range(ATTEMPTS):
            try:
                return await self._ask(statement)
            except (OSError, TimeoutError):
                pass
        raise StoreUnavailable

    # Nodes --------------------------------------------------------------------------------------

    async def beat(self, node: int) -> dict[int, int]:
        return await self._read(lambda: self._database.beat(node))

    async def claim(
        self, owner: int, node: int, session: str | None = None, limit: int = 20
    ) -> list[str]:
        return await self._read(lambda: self._database.claim(owner, node, session, limit))

    async def leave(self, node: int) -> None:
        await self._read(lambda: self._database.leave(node))

    async def busy(self, owner: int) -> list[str]:
        return await self._read(lambda: self._database.busy(owner))

    async def due(self, now: int) -> list[str]:
        return await self._read(lambda: self._database.due(now))

    # Sessions -----------------------------------------------------------------------------------

    async def row(self, session: str) -> Row | None:
        return await self._read(lambda: self._database.row(session))

    async def heads(self, sessions: Sequence[str]) -> list[Head]:
        return await self._read(lambda: self._database.heads(sessions))

    async def listed(self, *_: Any) -> list[str]:
        raise NotImplementedError

    async def places(self, *_: Any, **__: Any) -> list[Place]:
        raise NotImplementedError

    async def request(self, session: str, message: str) -> dict[str, Any]:
        return {}

    async def record(self, session: str) -> bytes | None:
        return await self._read(lambda: self._database.records.get(session))

    async def records(self, session: str, after: int, before: int) -> dict[str, bytes]:
        found = await self._read(lambda: dict(self._database.private[session]))
        between = {m.id for m in self._database.answers(session) if after < m.seq < before}
        return {id: record for id, record in found.items() if id in between}

    async def row_if_busy(self, session: str) -> Row | None:
        row = await self.row(session)
        return row if row is not None and (row.busy or row.running) else None

    async def rows(self, sessions: Sequence[str]) -> Chunk[Row]:
        rows = [await self.row(session) for session in sessions]
        return Chunk(row for row in rows if row is not None)

    async def message(self, session: str, message: str) -> Message | None:
        return await self._read(lambda: self._database.message(session, message))

    async def was_deleted(self, session: str, message: str) -> bool:
        return any(id == message for _, id in await self.deleted(session, 0))

    async def newest(self, session: str, limit: int, before: int | None) -> Chunk[Body]:
        found = await self._read(lambda: self._database.bodies(session))
        newest = [body for body in reversed(found) if before is None or body.seq < before]
        return Chunk(newest[:limit])

    async def following(self, session: str, limit: int, after: int) -> Chunk[Body]:
        found = await self._read(lambda: self._database.bodies(session))
        return Chunk([body for body in found if body.seq > after][:limit])

    async def changed(self, session: str, limit: int, after: int) -> Chunk[Body]:
        found = await self._read(lambda: self._database.changed(session, after))
        return Chunk(found[:limit])

    async def deleted(self, session: str, after: int) -> list[tuple[int, str]]:
        found = await self._read(lambda: list(self._database.deletions[session]))
        return [(seq, id) for seq, id in found if seq > after]

    async def queue(self, session: str) -> list[Message]:
        return await self._read(lambda: self._database.queue(session))

    async def answer(self, session: str, question: Message) -> Message | None:
        answers = await self._read(lambda: self._database.answers(session))
        return next((answer for answer in answers if answer.reply_to == question.id), None)

    async def last_answer(self, session: str) -> Message | None:
        answers = await self._read(lambda: self._database.answers(session))
        return answers[-1] if answers else None

    async def draft(self, session: str) -> Body | None:
        return await self._read(lambda: self._database.drafts.get(session))

    async def events(self, session: str, after: int) -> Chunk[Piece] | None:
        found = await self._read(lambda: self._database.events(session, after))
        return None if found is None else Chunk(found)

    async def search(self, words: Sequence[str], limit: int) -> list[Hit]:
        raise NotImplementedError

    async def tend(self) -> None: ...

    async def trim(self, grace: float) -> None: ...


class SimulatedBus:
    """The bus as one node has it: direct within the node, lossy between nodes."""

    name = "simulated"
    may_lose = True
    doubts = 0

    def __init__(self, network: Network, node: int) -> None:
        self.cut = False
        self.node = node
        self._network = network
        self._local = MemoryBus()
        self._answer: Answerer | None = None
        self._working: dict[asyncio.Task[None], None] = {}
        self._context = contextvars.copy_context()
        network.buses[node] = self

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None: ...

    def publish(self, session: str, publication: Publication) -> None:
        log = self._network.database.log[session]
        for frame in singly(publication.frames):
            # A session that was dropped no longer has a log.
            if frame.seq and log and log[frame.seq - 1 : frame.seq] != [frame.data]:
                self._network.wrong.append(f"G2: shown, but not stored: {frame.data!r}")
        self._local.publish(session, publication)
        for bus in self._network.others(self.node):
            if not self.cut and not bus.cut and not self._network.loses():
                for _ in range(self._network.copies()):
                    frames = [_copy(frame) for frame in singly(publication.frames)]
                    self._network.later(
                        bus._local.publish,
                        session,
                        publication._replace(frames=frames),
                        context=bus._context,
                    )

    async def subscribe(self, session: str, receiver: Receiver) -> Callable[[], None]:
        await asyncio.sleep(self._network.delay())
        return await self._local.subscribe(session, receiver)

    async def serve(self, node: int, answer: Answerer) -> None:
        self._answer = answer
        self._context = contextvars.copy_context()

    async def request(self, node: int, request: bytes, patience: float) -> bytes:
        await asyncio.sleep(self._network.delay())
        other = self._network.buses.get(node)
        if self.cut:
            raise TimeoutError
        if other is None or other._answer is None or other.cut or self._network.is_dead(node):
            raise NobodyThere
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[bytes] = loop.create_future()
        here = contextvars.copy_context()

        async def there(answering: Awaitable[bytes]) -> None:
            answer = await answering
            if not other.cut and not self._network.loses():
                self._network.later(_set_answer, reply, answer, context=here)

        def arrives() -> None:
            assert other._answer is not None
            work = loop.create_task(there(other._answer(request)), context=other._context)
            other._working[work] = None
            work.add_done_callback(lambda work: other._working.pop(work))

        if not self._network.loses():
            self._network.later(arrives, context=other._context)
        return await asyncio.wait_for(reply, patience)


def _copy(frame: Frame) -> Frame:
    return Frame(frame.seq, frame.data, broadcast=frame.broadcast)


def _set_answer(reply: asyncio.Future[bytes], answer: bytes) -> None:
    if not reply.done():
        reply.set_result(answer)
