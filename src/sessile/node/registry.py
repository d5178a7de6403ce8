"""From an id to the live session object: woken once, put to sleep when idle."""

import asyncio
import logging
from collections import OrderedDict
from types import TracebackType

from sessile.agents.base import Agent
from sessile.bus.base import Bus
from sessile.session.session import Limits, Session
from sessile.store.base import Row, Store
from sessile.wire.errors import SessileError, StoreUnavailable

log = logging.getLogger(__name__)

AWAKE = 1_000  # sessions that stay in memory though nothing happens in them
TAIL_GRACE = 60.0  # seconds that single events are kept beyond the end of their turn
SWEEP = 5.0  # seconds between two looks at what is to be trimmed or recovered
TRIMS = 500  # sessions trimmed in one transaction


class Use:
    """Keeps a session awake in an ``async with`` block."""

    __slots__ = ("_id", "_registry", "_session")

    def __init__(self, registry: "Registry", id: str) -> None:
        self._registry = registry
        self._id = id

    async def __aenter__(self) -> Session:
        self._session = await self._registry.acquire(self._id)
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._registry.release(self._session)


class Registry:
    """All sessions that are awake in this process."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        agent: Agent,
        limits: Limits = Limits(),  # noqa: B008
        awake: int = AWAKE,
        tail_grace: float = TAIL_GRACE,
    ) -> None:
        self.store = store
        self._bus = bus
        self._agent = agent
        self._limits = limits
        self._awake = awake
        self._tail_grace = tail_grace
        self._live: dict[str, Session] = {}
        self._asleep_next: OrderedDict[str, Session] = OrderedDict()  # idle, longest first
        self._waking: dict[str, asyncio.Future[Session]] = {}
        self._trims: dict[str, _Trim] = {}
        self._unrecovered: set[str] = set()
        self._draining = False
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Recover what an earlier process left in the middle, and take up its queues."""
        self._unrecovered.update(await self.store.unsettled())
        for session, last in await self.store.tails():
            self._keep_tail(session, last)
        await self._recover()
        self._sweeper = asyncio.create_task(self._sweep(), name="registry sweep")

    async def close(self, patience: float = 10.0) -> None:
        """Begin no new turns, give those that run so many seconds, settle what remains."""
        self._draining = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        sessions = list(self._live.values())
        drains = [asyncio.ensure_future(session.drain()) for session in sessions]
        if not drains:
            return
        _, late = await asyncio.wait(drains, timeout=patience)
        if late:
            for session in sessions:
                session.interrupt()
            await asyncio.wait(late)

    @property
    def awake(self) -> int:
        """How many sessions are in memory."""
        return len(self._live)

    @property
    def running(self) -> int:
        """How many turns run."""
        return sum(session.running for session in self._live.values())

    def use(self, id: str) -> Use:
        """``async with registry.use(id) as session``: the live object, woken if it slept."""
        return Use(self, id)

    async def acquire(self, id: str) -> Session:
        session = self._live.get(id)
        while session is None:
            waking = self._waking.get(id)
            session = await (self._wake(id) if waking is None else asyncio.shield(waking))
            if session.broken:
                session = self._live.get(id)
        session.users += 1
        self._asleep_next.pop(id, None)
        return session

    def release(self, session: Session) -> None:
        session.users -= 1
        self._rest(session)

    async def _wake(self, id: str) -> Session:
        waking = self._waking[id] = asyncio.get_running_loop().create_future()
        try:
            row = await self.store.row(id) or Row(id)
            session = Session(
                row,
                self.store,
                self._bus,
                self._agent,
                self._limits,
                self._committed,
            )
            if self._draining:
                session.begin_no_more()
            await session.wake()
        except BaseException as error:
            waking.set_exception(error if isinstance(error, Exception) else StoreUnavailable())
            waking.exception()  # retrieved, also where nobody waits for it
            raise
        finally:
            del self._waking[id]
        self._live[id] = session
        waking.set_result(session)
        return session

    def _rest(self, session: Session) -> None:
        """Let an idle session sleep, or soon: the longest idle goes when there are too many."""
        if not session.idle or self._live.get(session.id) is not session:
            return
        if not session.exists:
            del self._live[session.id]
            return
        self._asleep_next[session.id] = session
        self._asleep_next.move_to_end(session.id)
        while len(self._asleep_next) > self._awake:
            id, _ = self._asleep_next.popitem(last=False)
            del self._live[id]

    def _committed(self, session: Session) -> None:
        """A session has written something, or failed to."""
        if session.broken:
            if self._live.get(session.id) is session:
                del self._live[session.id]
            self._asleep_next.pop(session.id, None)
            self._unrecovered.add(session.id)
            return
        self._keep_tail(session.id, session.settled_seq)
        self._rest(session)

    # Trimming and recovering, in the background --------------------------------------------------

    def _keep_tail(self, session: str, seq: int) -> None:
        trim = self._trims.get(session)
        if trim is None:
            due = asyncio.get_running_loop().time() + self._tail_grace
            self._trims[session] = _Trim(due, seq, seq)
        else:
            trim.newest = seq

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP, self._tail_grace))
            try:
                await self._recover()
                await self._trim()
                await self.store.tend()
            except SessileError as error:
                log.warning("trimming and recovery wait for the store: %s", error)
            except Exception:
                log.exception("trimming and recovery failed")

    async def _trim(self) -> None:
        now = asyncio.get_running_loop().time()
        while True:
            due: list[tuple[str, int]] = []
            for session, trim in self._trims.items():
                if trim.due > now or len(due) == TRIMS:
                    break
                due.append((session, trim.seq))
            if not due:
                return
            await self.store.trim(due)
            for session, seq in due:
                newest = self._trims.pop(session).newest
                if newest > seq:
                    self._keep_tail(session, newest)

    async def _recover(self) -> None:
        for id in tuple(self._unrecovered):
            async with self.use(id):
                self._unrecovered.discard(id)


class _Trim:
    """When a session's events may go, up to which number, and what came since."""

    __slots__ = ("due", "newest", "seq")

    def __init__(self, due: float, seq: int, newest: int) -> None:
        self.due = due
        self.seq = seq
        self.newest = newest
