"""From an id to the live session object: woken once, put to sleep when idle."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterable, Coroutine
from typing import Any

from sessile.agents.base import Agent
from sessile.at_once import WouldWait, at_once
from sessile.bus.base import Bus
from sessile.history.pages import History
from sessile.session import commands
from sessile.session.commit import Outcome
from sessile.session.inbox import Draft, Sent
from sessile.session.limits import SessionLimits
from sessile.session.runner import continues, kind_of
from sessile.session.session import Session
from sessile.store.base import Row, Store
from sessile.wire.errors import (
    Elsewhere,
    Moved,
    SessileError,
    SessionUnreadable,
    StoreUnavailable,
)
from sessile.wire.ids import now
from sessile.wire.messages import Message, Metadata, WhileBusy
from sessile.wire.messages import Session as SessionValue

log = logging.getLogger(__name__)

AWAKE = 1_000  # sessions that stay in memory though nothing happens in them
TAIL_GRACE = 60.0  # seconds that single events are kept beyond the end of their turn
FOREVER = 2**62  # unix seconds
PARKED = 500  # sessions that are looked at in one read
SWEEP = 5.0  # seconds between two looks at what is to be trimmed or recovered


class Registry:
    """All sessions that are awake in this process, at the node of that number.

    ``awake`` is how many idle sessions stay in memory; none may where other nodes write them too.
    While it is ``draining`` no turn begins.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        agent: Agent,
        limits: SessionLimits = SessionLimits(),  # noqa: B008
        awake: int = AWAKE,
        tail_grace: float = TAIL_GRACE,
        node: int = 0,
    ) -> None:
        self.store = store
        self.node = node
        self.history = History(store, self.live)
        self._bus = bus
        self._agent = agent
        self._limits = limits
        self._awake = awake
        self._tail_grace = tail_grace
        self._live: dict[str, Session] = {}
        self._asleep_next: OrderedDict[str, Session] = OrderedDict()  # idle, longest first
        self._waking: dict[str, asyncio.Future[Session]] = {}
        self._unrecovered: dict[str, None] = {}
        self.draining = False
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Recover what this node left in the middle, and take up its queues."""
        self._unrecovered.update(dict.fromkeys(await self.store.busy(self.node)))
        self._unrecovered.update(dict.fromkeys(await self._given_up()))
        await self._recover()
        self._sweeper = asyncio.create_task(self._sweep(), name="registry sweep")

    async def close(self, patience: float = 10.0) -> None:
        """Begin no new turns, give those that run so many seconds, settle what remains.

        Turns whose agents can continue are left as they are, for the process that comes next.
        """
        self.draining = True
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

    def live(self, id: str) -> Session | None:
        """The object of a session that is awake here."""
        session = self._live.get(id)
        return None if session is None or session.broken else session

    def held(self) -> list[Session]:
        """The sessions that are stored as busy here, and whose objects are in memory."""
        return [session for session in self._live.values() if session.holds]

    async def run(self, id: str, command: commands.Command) -> Any:
        """Do a command at the session's object here.

        Raises :class:`~sessile.wire.errors.Elsewhere` for a session that is busy at another node.
        """
        session = await self.acquire(id)
        try:
            return await commands.obey(session, command)
        finally:
            self.release(session)

    async def adopt(
        self,
        id: str,
        chunks: AsyncIterable[list[Message]],
        title: str,
        metadata: Metadata,
        archived: bool,
    ) -> SessionValue:
        """Store a session that was elsewhere, as :meth:`Session.adopt` does."""
        session = await self.acquire(id)
        try:
            return await session.adopt(chunks, title, metadata, archived)
        finally:
            self.release(session)

    def send_at_once(self, id: str, draft: Draft, while_busy: WhileBusy, outcome: Outcome) -> Sent:
        """As :meth:`Session.send_at_once`; wakes a session that sleeps, unless it is busy.

        Raises :class:`~sessile.at_once.WouldWait` for that: it is recovered first.
        """
        if self.live(id) is None and at_once(self.store.row_if_busy(id)) is not None:
            raise WouldWait
        session = at_once(self.acquire(id))
        try:
            return session.send_at_once(draft, while_busy, outcome)
        finally:
            self.release(session)

    async def acquire(self, id: str) -> Session:
        """The live object, woken if it slept; kept awake until it is released."""
        session = self.live(id)
        while session is None:
            waking = self._waking.get(id)
            await (self._wake(id) if waking is None else asyncio.shield(waking))
            session = self.live(id)  # not what was woken: that may be thrown away since
        session.users += 1
        self._asleep_next.pop(id, None)
        return session

    def release(self, session: Session) -> None:
        session.users -= 1
        self._rest(session)

    async def _wake(self, id: str) -> None:
        waking = self._waking[id] = asyncio.get_running_loop().create_future()
        try:
            session = await self._woken(id)
        except BaseException as error:
            waking.set_exception(error if isinstance(error, Exception) else StoreUnavailable())
            waking.exception()  # retrieved, also where nobody waits for it
            raise
        finally:
            del self._waking[id]
        if not session.broken:
            self._live[id] = session
        waking.set_result(session)

    async def _woken(self, id: str) -> Session:
        row = await self.store.row(id) or Row(id)
        if row.busy and row.owner != self.node:
            raise Elsewhere(row.owner)
        session = Session(
            row,
            self.store,
            self._bus,
            self._agent,
            self._limits,
            self._committed,
            self.history,
            self.node,
        )
        if self.draining:
            session.begin_no_more()
        await session.wake()
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
            if not session.moved:
                self._unrecovered[session.id] = None
            return
        self._rest(session)

    # Recovering and trimming, in the background ---------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            await self._try(self._recover())
            await self._try(self._expire())
            await self._try(self.store.trim(self._tail_grace))
            await self._try(self.store.tend())

    async def _try(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except SessileError as error:
            log.warning("trimming and recovery wait for the store: %s", error)
        except Exception:
            log.exception("trimming and recovery failed")

    async def _given_up(self) -> list[str]:
        """The sessions with a parked turn that this agent does not go on with."""
        parked = await self.store.due(FOREVER)
        if not (self._limits.continues and continues(self._agent)):
            return parked
        found: list[str] = []
        while parked:
            rows = await self.store.rows(parked[:PARKED])
            found += [
                row.id for row in rows if row.running and row.running.agent != kind_of(self._agent)
            ]
            last = rows[-1].id if rows else parked[min(PARKED, len(parked)) - 1]
            parked = parked[parked.index(last) + 1 :]
        return found

    async def _expire(self) -> None:
        """Go on with parked turns whose questions nobody answered in time."""
        time = now()
        for id in await self.store.due(time):
            with contextlib.suppress(Elsewhere, SessionUnreadable, Moved):
                session = await self.acquire(id)
                try:
                    await session.expire(time)
                finally:
                    self.release(session)

    async def _recover(self) -> None:
        for id in tuple(self._unrecovered):
            # One that is damaged answers so to every client; the others go on.
            with contextlib.suppress(Elsewhere, SessionUnreadable, Moved):
                self.release(await self.acquire(id))
            self._unrecovered.pop(id, None)
