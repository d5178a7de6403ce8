"""Three nodes, the faults that happen to them, and their agent."""

import asyncio
import contextvars
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, NamedTuple

import msgspec

from sessile.agents.base import Agent, Output, Turn
from sessile.node.cluster import Cluster
from sessile.node.handle import Handle
from sessile.node.registry import Registry
from sessile.session.limits import SessionLimits
from sessile.watch.feeds import Feeds
from sessile.wire import ids
from sessile.wire.errors import StoreUnavailable
from sessile.wire.parts import ToolCallPart
from tests.simulation.database import Database
from tests.simulation.engines import SimulatedBus, SimulatedStore
from tests.simulation.loop import NODE, SimulatedLoop
from tests.simulation.network import Network

NODES = 3
PARK = 1.0  # seconds after which a turn that waits lets go of its agent


class Chatty:
    """An agent that says the words of the message, with pauses, and continues where it was cut off.
    Some of its answers begin with a tool call, for some of which it asks. ``remembered`` has the
    names that it stored in its session and that were acknowledged, ``ran`` how often each call ran.

    ``registry`` must find the session of every running turn; otherwise a second object of the same
    session could be made.
    """

    name = "chatty"
    continues = True
    registry: Registry

    def __init__(
        self, rng: random.Random, remembered: set[tuple[str, str]], ran: Counter[str]
    ) -> None:
        self._rng = rng
        self._remembered = remembered
        self._ran = ran

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def reply(self, turn: Turn) -> AsyncGenerator[Output, None]:
        for number in range(self._rng.choice((0, 0, 0, 3))):
            name = f"{turn.answer_id} {number}"
            await turn.remember({name: True}, private=True)
            self._remembered.add((turn.session_id, name))
        async for call in self._tool(turn):
            yield call
        said = len(turn.unfinished.text.split()) if turn.unfinished else 0
        for word in turn.content.split()[said:]:
            await asyncio.sleep(self._rng.expovariate(20))
            session = self.registry.live(turn.session_id)
            assert session is not None, "the session of a running turn is not found"
            assert session.running, "the turn runs in another object of the session"
            yield f"{word} "

    async def _tool(self, turn: Turn) -> AsyncGenerator[ToolCallPart, None]:
        """A tool call, or none, as the message's length has it, so that it is always the same."""
        kind = len(turn.content) % 4
        call = ToolCallPart(f"{turn.answer_id} call", "tool", {}, "pending")
        known = turn.unfinished.call(call.tool_call_id) if turn.unfinished else None
        if kind > 1 or (known and not known.is_open):
            return
        if kind and not (await turn.ask(call)).approved:
            return
        if known is None or known.state == "pending":
            yield msgspec.structs.replace(call, state="running")
            self._ran[call.tool_call_id] += 1
            await turn.keep(self._ran[call.tool_call_id])
            await asyncio.sleep(self._rng.expovariate(20))
        yield msgspec.structs.replace(call, state="complete", tool_output="done")


class Node(NamedTuple):
    number: int
    store: SimulatedStore
    bus: SimulatedBus
    registry: Registry
    cluster: Cluster
    feeds: Feeds

    def session(self, id: str) -> Handle:
        return Handle(id, self.store, self.registry.history, self.cluster, self.feeds)


class World:
    """The state of one story. ``calm_since`` is the time when the last fault ended.

    Each node has the given ``agent``, or a ``Chatty`` one.
    """

    def __init__(self, seed: int, mutation: str = "", agent: Agent | None = None) -> None:
        self.rng = random.Random(seed)
        self.loop = SimulatedLoop(self.rng)
        self.database = Database()
        self.database.mutation = mutation
        self.network = Network(self.loop, self.rng, self.database)
        self.nodes: dict[int, Node] = {}
        self.calm_since = 0.0
        self._started = 0
        self.counts: Counter[str] = Counter()
        self._agent = agent
        self.remembered: set[tuple[str, str]] = set()  # session, name in its private data
        self.ran: Counter[str] = Counter()
        self._seed = seed

    async def start_node(self) -> None:
        """Start a node under a new number; one that cannot start is started again."""
        while True:
            self._started += 1
            starting = self.inside(self._started, self._start(self._started))
            await asyncio.wait([starting])
            if not isinstance(starting.exception(), StoreUnavailable):
                starting.result()
                return
            self.loop.dead.add(self._started)

    async def _start(self, number: int) -> None:
        store, bus = SimulatedStore(self.network, number), SimulatedBus(self.network, number)
        agent = self._agent or Chatty(self.rng, self.remembered, self.ran)
        limits = SessionLimits(park_after=PARK)
        registry = Registry(store, bus, agent, limits, awake=0, tail_grace=3600, node=number)
        if isinstance(agent, Chatty):
            agent.registry = registry
        cluster = Cluster(registry, store, bus, clock=self.loop.time)
        node = Node(number, store, bus, registry, cluster, Feeds(store, bus))
        await store.open()
        await node.feeds.open()
        await cluster.open()
        self.nodes[number] = node

    def inside(self, node: int, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that runs, pauses and dies with a node, like the request of a client."""
        context = contextvars.copy_context()
        context.run(NODE.set, node)
        return self.loop.create_task(work, context=context)

    def living(self) -> list[Node]:
        return [node for number, node in self.nodes.items() if number not in self.loop.dead]

    def any_node(self) -> Node:
        return self.rng.choice(self.living())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work outside of all nodes to its end, and cancel everything else."""
        asyncio.set_event_loop(self.loop)
        ids._random.seed(self._seed)
        ids.time = _Time(self.loop)  # type: ignore[attr-defined, assignment]
        try:
            self.loop.run_until_complete(work)
        finally:
            self.loop.end()
            asyncio.set_event_loop(None)
            ids._random.seed()
            ids.time = time  # type: ignore[attr-defined]

    # Faults -------------------------------------------------------------------------------------

    async def happen(self) -> None:
        """One fault, from its start to its end."""
        node = self.any_node()
        kind = self.rng.choice(("kill", "pause", "cut store", "cut bus", "database down", "drain"))
        self.counts[kind] += 1
        self.calm_since = float("inf")
        match kind:
            case "kill":
                self.loop.dead.add(node.number)
                await asyncio.sleep(self.rng.choice((0, 1, 9)))
                await self.start_node()
            case "pause":
                self.loop.paused.add(node.number)
                await self._while()
                self.loop.paused.discard(node.number)
            case "cut store":
                node.store.cut = True
                await self._while()
                node.store.cut = False
            case "cut bus":
                node.bus.cut = True
                await self._while()
                node.bus.cut = False
            case "database down":
                self.database.up = False
                await self._while()
                self.database.up = True
            case "drain":
                await self._replace(node)
        self.calm_since = self.loop.time()

    async def _while(self) -> None:
        await asyncio.sleep(self.rng.choice((0.5, 5, 15)))

    async def _replace(self, node: Node) -> None:
        """A deployment: another node starts, and this one shuts down cleanly."""
        await self.start_node()
        ending = self.inside(node.number, node.cluster.close(self.rng.choice((0.1, 10))))
        await asyncio.wait([ending], timeout=30)
        self.loop.dead.add(node.number)


class _Time:
    """The part of the module ``time`` that ``sessile.wire.ids`` needs."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        return 1.7e9 + self._loop.time()

    def time_ns(self) -> int:
        return int(self.time() * 1e9)
