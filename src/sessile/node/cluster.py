"""Several nodes over one store: where a command is done, and who takes over from the dead.

A session that is busy (a turn runs, messages wait, or an import is under way) has an owner, which
alone may write it; others hand it their commands. One that is not busy has none: any node may
write it, and the commit that makes it busy takes it. There are no leases. What keeps a session
whole is that the store refuses the commit of a writer that has not seen the newest one; that a
node is taken for dead is only a licence to try.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable
from typing import Any

import msgspec

from sessile.at_once import WouldWait
from sessile.bus.base import Bus, NobodyThere
from sessile.node import nodes, requests
from sessile.node.nodes import Nodes, Verdict
from sessile.node.registry import Registry
from sessile.session import commands
from sessile.session.commit import Outcome
from sessile.session.inbox import Draft, Sent
from sessile.session.session import Session
from sessile.store.base import SharedStore
from sessile.wire.errors import (
    Elsewhere,
    Moved,
    SessileError,
    SessionExists,
    ShuttingDown,
    StoreUnavailable,
    Unavailable,
)
from sessile.wire.ids import new_id
from sessile.wire.messages import Message, Metadata, WhileBusy
from sessile.wire.messages import Session as SessionValue

log = logging.getLogger(__name__)

DEADLINE = 15.0  # seconds that a command looks for the node that may do it
PATIENCE = 1.0  # seconds that another node has for one attempt
PING = 0.5  # seconds that a node has to say that it is there
PAUSES = (0.005, 0.5)  # seconds between two attempts: the first pause, which doubles up to the last
KEPT = 60.0  # seconds that the outcome of a command is kept for an attempt that follows
CLAIMED = 20  # sessions that are taken over at a time, so that all nodes share them
FORGOTTEN = 60.0  # seconds after which a dead node is no longer listed

# These commands may answer without a commit; the answer must then be true of the newest one.
_MAY_ONLY_READ = commands.Send | commands.Store | commands.Stop | commands.Answer


def _boottime() -> float:
    """Seconds that go on while the machine sleeps, where it has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class _Again(Exception):
    """The attempt had no effect: look for the session's owner again."""


class Cluster:
    """The sessions of all nodes, at the node of ``registry``; it keeps no idle sessions awake.

    ``clock`` gives seconds, of which only differences are used.
    """

    def __init__(
        self,
        registry: Registry,
        store: SharedStore,
        bus: Bus,
        clock: Callable[[], float] = _boottime,
    ) -> None:
        self.registry = registry
        self.node = registry.node
        self.nodes = Nodes()
        self._store = store
        self._bus = bus
        self._clock = clock
        self._leaving = False
        self._beaten = 0.0  # when this node's beat was counted last
        self._outcomes: dict[str, asyncio.Task[requests.Reply]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._beat()
        await self._bus.serve(self.node, self._answer)
        await self.registry.open()
        self._watch = asyncio.create_task(self._watch_nodes(), name="nodes of the cluster")

    async def close(self, patience: float = 10.0) -> None:
        """Settle what runs here, then leave what waits to the other nodes."""
        self._leaving = True
        await self.registry.close(patience)
        if self._watch is not None:
            self._watch.cancel()
        await self._store.leave(self.node)

    @property
    def cut_off(self) -> bool:
        """This node's last beat is so old that others may soon take its sessions over."""
        return self._clock() - self._beaten > nodes.HOLD

    # Where a command is done --------------------------------------------------------------------

    async def run(self, id: str, command: commands.Command) -> Any:
        """Do a command here, or at the node that owns the session while it is busy.

        Raises :class:`~sessile.wire.errors.Unavailable` where no node could do it in 15 s.
        """
        request = requests.Request(new_id(), id, _with_message_id(command))
        deadline = self._clock() + DEADLINE
        pause, longest = PAUSES
        while True:
            try:
                return await self._attempt(request)
            except (_Again, Moved):
                if self._clock() > deadline:
                    raise Unavailable("The session's node does not answer. Try again.") from None
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def send_at_once(self, id: str, draft: Draft, while_busy: WhileBusy, outcome: Outcome) -> Sent:
        """The node of a session must be found first, which is a wait."""
        raise WouldWait

    async def adopt(
        self,
        id: str,
        chunks: AsyncIterable[list[Message]],
        title: str,
        metadata: Metadata,
        archived: bool,
    ) -> SessionValue:
        """Store a session that was elsewhere. It is done here, for it has no owner yet."""
        try:
            return await self.registry.adopt(id, chunks, title, metadata, archived)
        except Elsewhere:
            raise SessionExists from None

    async def _attempt(self, request: requests.Request) -> Any:
        if self.cut_off:  # what this node believes may be long past
            raise _Again
        try:
            session = await self.registry.acquire(request.session)
        except Elsewhere as elsewhere:
            return await self._at(elsewhere.owner, request)
        try:
            return await self._here(session, request.command)
        finally:
            self.registry.release(session)

    async def _here(self, session: Session, command: commands.Command) -> Any:
        try:
            result = await commands.obey(session, command)
        except StoreUnavailable:
            raise
        except SessileError:
            await self._prove(session)
            raise
        if isinstance(command, _MAY_ONLY_READ):
            await self._prove(session)
        return result

    async def _prove(self, session: Session) -> None:
        """Check that the answer is true of the session's newest commit; otherwise start again."""
        if not await session.is_current():
            session.give_up()
            raise Moved

    async def _at(self, owner: int, request: requests.Request) -> Any:
        if await self._is_dead(owner):
            await self._store.claim(owner, self.node, request.session)
            raise _Again
        try:
            answer = await self._bus.request(owner, msgspec.json.encode(request), PATIENCE)
        except (NobodyThere, TimeoutError):
            raise _Again from None
        reply = requests.decode_reply(answer)
        if isinstance(reply, requests.Done):
            return requests.result_of(reply, request.command)
        if isinstance(reply, requests.NotMine) or reply.code == ShuttingDown.code:
            raise _Again
        raise requests.error_of(reply)

    # Commands of other nodes --------------------------------------------------------------------

    async def _answer(self, data: bytes) -> bytes:
        """Do what another node asks, once for all of its attempts; nothing is asked by a ping."""
        if not data:
            return b""
        request = requests.decode_request(data)
        outcome = self._outcomes.get(request.id)
        if outcome is None:
            outcome = asyncio.create_task(self._obey(request), name=f"command {request.id}")
            self._outcomes[request.id] = outcome
            asyncio.get_running_loop().call_later(KEPT, self._outcomes.pop, request.id, None)
        return msgspec.json.encode(await asyncio.shield(outcome))

    async def _obey(self, request: requests.Request) -> requests.Reply:
        session = None if self.cut_off else self.registry.live(request.session)
        if session is None:
            return self._not_mine(request)
        session.users += 1
        try:
            return requests.done(await self._here(session, request.command))
        except Moved:
            return self._not_mine(request)
        except SessileError as error:
            return requests.failed(error)
        except Exception:
            log.exception("a command of another node failed")
            return requests.failed(SessileError())
        finally:
            self.registry.release(session)

    def _not_mine(self, request: requests.Request) -> requests.NotMine:
        self._outcomes.pop(request.id, None)
        return requests.NotMine()

    # Who lives ----------------------------------------------------------------------------------

    async def _beat(self) -> None:
        began = self._clock()
        beats = await self._store.beat(self.node)
        self._beaten = began
        self.nodes.saw(beats, self._clock())

    async def _is_dead(self, node: int) -> bool:
        if node in (0, self.node):
            return node == 0
        verdict = self.nodes.judge(node)
        if verdict is Verdict.UNKNOWN:  # it may have come since the last look
            await self._beat()
            verdict = self.nodes.judge(node)
        if verdict is not Verdict.SILENT:
            return verdict is not Verdict.ALIVE
        try:
            await self._bus.request(node, b"", PING)
        except NobodyThere:
            return True
        except TimeoutError:
            return False
        return False

    async def _watch_nodes(self) -> None:
        while True:
            await asyncio.sleep(nodes.BEAT)
            try:
                await self._look()
            except SessileError as error:
                log.warning("the nodes of the cluster cannot be seen: %s", error)
            except Exception:
                log.exception("the nodes of the cluster cannot be seen")

    async def _look(self) -> None:
        """Beat, take over from the dead, and wake what is busy here without an object."""
        try:
            await self._beat()
        except StoreUnavailable:
            if self.cut_off:  # others may have these sessions soon: an agent must not go on
                for session in self.registry.held():
                    session.give_up()
            raise
        if not self._leaving:
            await self._sweep()

    async def _sweep(self) -> None:
        for node in (0, *self.nodes):
            if await self._is_dead(node):
                await self._take_over(node)
        await self._compare_held()

    async def _take_over(self, node: int) -> None:
        while claimed := await self._store.claim(node, self.node, limit=CLAIMED):
            log.warning("took over %d sessions of node %x", len(claimed), node)
            await asyncio.gather(*map(self._revive, claimed))
        if node and self.nodes.silence(node) > FORGOTTEN:
            await self._store.leave(node)

    async def _compare_held(self) -> None:
        """Drop what another node has taken, and wake what only the store knows to be busy here.

        The second is what a commit with an unknown outcome leaves.
        """
        held = [(session, session.head) for session in self.registry.held()]
        stored = await self._store.busy(self.node)
        for session, head in held:
            if session.id not in stored and session.holds and session.head == head:
                session.give_up()
        await asyncio.gather(*map(self._revive, stored))

    async def _revive(self, id: str) -> None:
        if self.registry.live(id) is not None:
            return
        try:
            self.registry.release(await self.registry.acquire(id))
        except SessileError as error:
            log.warning("session %s is woken later: %s", id, error)


def _with_message_id(command: commands.Command) -> commands.Command:
    """A command whose message has an id, so that a second attempt is not a second message."""
    match command:
        case commands.Send(draft) | commands.Store(draft) if draft.id is None:
            return msgspec.structs.replace(
                command, draft=msgspec.structs.replace(draft, id=new_id())
            )
    return command
