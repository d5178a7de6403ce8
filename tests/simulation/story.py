"""What clients do in a story, and what must hold during it and at its end."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from msgspec import UNSET

from sessile.session.inbox import Draft
from sessile.session.reply import Reply
from sessile.watch.feed import Watcher
from sessile.wire.errors import QuestionAnswered, SessileError
from sessile.wire.events import DeltaEvent, MessageEvent
from sessile.wire.frames import Frame, Piece, singly
from sessile.wire.messages import Message, decode_message
from sessile.wire.parts import TextPart, ToolCallPart
from tests.simulation.world import NODES, Node, World

SESSIONS = ("s0", "s1")
CALM = 5.0  # seconds without any fault, at first
LENGTH = 60.0  # seconds in which faults happen
HANGS = 25.0  # seconds without a fault after which a stream must have ended
READERS = ("s0", "s0", "s1")
NOTERS = (("n", "s0"), ("m", "s0"))
SENDERS = (("a", "s0"), ("b", "s0"), ("c", "s1"))


class Story:
    def __init__(self, world: World) -> None:
        self.world = world
        self.over = False
        self.stored: dict[str, tuple[str, str]] = {}  # message id -> session, text; acknowledged
        self.named: dict[str, tuple[str, int]] = {}  # a name in metadata -> session, value
        self.ended: dict[str, str] = {}  # message id -> the answer that its stream ended with
        self.answered: dict[str, str] = {}  # a question -> how it was answered; acknowledged

    async def play(self) -> None:
        world = self.world
        for _ in range(NODES):
            await world.start_node()
        clients = [
            *(self._send_all(name, session) for name, session in SENDERS),
            *(self._read(session) for session in READERS),
            *(self._note_all(name, session) for name, session in NOTERS),
            self._stop_some(),
        ]
        world.loop.create_task(self._answer_all())
        tasks = [world.loop.create_task(client) for client in clients]
        await self._run_without_faults(tasks)
        end = world.loop.time() + LENGTH
        while world.loop.time() < end:
            await asyncio.sleep(world.rng.expovariate(0.4))
            await world.happen()
            _raise_first(tasks)
            assert not world.network.wrong, world.network.wrong[0]
        self.over = world.network.calm = True
        _, late = await asyncio.wait(tasks, timeout=120)
        _raise_first(tasks)
        assert not late, f"clients hang: {late}"
        await self._die_with_work_left()
        self._check()

    async def _run_without_faults(self, tasks: list[asyncio.Task[None]]) -> None:
        """Without faults, no client notices that there are several nodes."""
        world = self.world
        world.network.calm = True
        await asyncio.sleep(CALM)
        _raise_first(tasks)
        world.network.calm = False
        assert not {*world.counts} - {"stopped"}, f"errors without a fault: {world.counts}"
        statuses = {m.status for session in SESSIONS for m in world.database.answers(session)}
        assert statuses <= {"complete", "stopped"}, f"answers without a fault: {statuses}"

    # Clients ------------------------------------------------------------------------------------

    async def _send_all(self, name: str, session: str) -> None:
        rng = self.world.rng
        count = 0
        while not self.over:
            count += 1
            id = f"{name}{count}"
            text = " ".join(f"{id}w{word}" for word in range(rng.randint(1, 6)))
            while id not in self.ended:
                await self._attempt(id, session, text)
                if rng.random() < 0.3:
                    await asyncio.sleep(rng.uniform(0, 0.3))

    async def _attempt(self, id: str, session: str, text: str) -> None:
        """Send a message to any node and read its stream while the node is alive."""
        loop, node = self.world.loop, self.world.any_node()
        attempt = self.world.inside(node.number, self._post(node, id, session, text))
        began = loop.time()
        while not attempt.done() and node.number not in loop.dead:
            await asyncio.wait([attempt], timeout=0.1)
            lasts = loop.time() - max(began, self.world.calm_since)
            assert lasts < HANGS or node.number in loop.paused, (
                f"the stream of {id} hangs at node {node.number} since {began:.2f}"
            )
        if attempt.done():
            attempt.result()
        attempt.cancel()

    async def _post(self, node: Node, id: str, session: str, text: str) -> None:
        watcher = None
        try:
            watcher = await node.feeds.watch(session)
            sent = await node.session(session).send(Draft([TextPart(text)], id=id))
            self.stored[id] = (session, text)
            if sent.answer is not None:
                self.ended[id] = sent.answer.content
                return
            assert sent.answer_id is not None, f"{id} has no answer id"
            watcher.cursor = sent.after
            watcher.follow(id, sent.answer_id)
            self.ended[id] = await _answer(watcher, sent.answer_id)
        except (SessileError, TimeoutError) as error:
            self.world.counts[f"{type(error).__name__} for a sender"] += 1
        finally:
            if watcher is not None:
                node.feeds.leave(watcher)

    async def _note_all(self, name: str, session: str) -> None:
        """Store messages and metadata at any node, each until it is acknowledged."""
        rng, count = self.world.rng, 0
        while not self.over:
            await asyncio.sleep(rng.expovariate(1))
            count += 1
            id = f"{name}{count}"
            while id not in self.named:
                node = self.world.any_node()
                noting = self.world.inside(node.number, self._note(node, session, id, count))
                await asyncio.wait([noting], timeout=5)

    async def _note(self, node: Node, session: str, id: str, value: int) -> None:
        draft = Draft([TextPart(id)], role="assistant", id=id)
        try:
            await node.session(session).persist_message(draft)
            self.stored[id] = (session, id)
            await node.session(session).update(metadata={id: value})
            self.named[id] = (session, value)
        except SessileError:
            self.world.counts["notes failed"] += 1
            await asyncio.sleep(self.world.rng.uniform(0, 0.5))

    async def _stop_some(self) -> None:
        rng = self.world.rng
        while not self.over:
            await asyncio.sleep(rng.expovariate(0.7))
            node, session = self.world.any_node(), rng.choice(SESSIONS)
            self.world.inside(node.number, self._stop(node, session))

    async def _stop(self, node: Node, session: str) -> None:
        try:
            self.world.counts["stopped"] += await node.session(session).stop()
        except SessileError:
            self.world.counts["stops failed"] += 1

    async def _answer_all(self) -> None:
        """Answer what agents ask, at any node, sometimes late, twice at once, or with a denial."""
        rng = self.world.rng
        while True:
            await asyncio.sleep(rng.expovariate(1))
            session = rng.choice(SESSIONS)
            nodes = [self.world.any_node() for _ in range(rng.randint(1, 2))]
            replies = [Reply(approve=rng.random() < 0.8) for _ in nodes]
            for node, reply in zip(nodes, replies, strict=True):
                self.world.inside(node.number, self._answer(node, session, reply))

    async def _answer(self, node: Node, session: str, reply: Reply) -> None:
        handle = node.session(session)
        try:
            for question in await handle.questions():
                answered = await handle.answer(question.id, reply)
                if question.id in self.answered:
                    self.world.network.wrong.append(f"G12: two answers to {question.id} count")
                self.answered[question.id] = answered.state
        except (SessileError, TimeoutError) as error:
            if not isinstance(error, QuestionAnswered):
                self.world.counts[f"{type(error).__name__} for an answer"] += 1

    async def _read(self, session: str) -> None:
        """Read every event once and in order, at one node after the other."""
        cursor, loop = 0, self.world.loop
        while not self.over or cursor < len(self.world.database.log[session]):
            node = self.world.any_node()
            reader = _Reader(self.world, session, cursor)
            following = self.world.inside(node.number, reader.follow(node))
            while not following.done() and node.number not in loop.dead:
                await asyncio.wait([following], timeout=0.1)
            if following.done():
                following.result()
            following.cancel()
            cursor = reader.cursor
            await asyncio.sleep(0.01)

    # The end ------------------------------------------------------------------------------------

    async def _die_with_work_left(self) -> None:
        """A node dies with running turns and queued messages, and no client asks for them."""
        node = self.world.living()[0]

        async def leave_work() -> None:
            for session in SESSIONS:
                for number in range(3):
                    words = " ".join(f"z{number}w{word}" for word in range(30))
                    draft = Draft([TextPart(words)], id=f"z{number}")
                    await node.session(session).send(draft)

        work = self.world.inside(node.number, leave_work())
        await asyncio.wait([work], timeout=20)
        work.result()
        await asyncio.sleep(0.2)
        self.world.loop.dead.add(node.number)
        await asyncio.sleep(40)

    def _check(self) -> None:
        database = self.world.database
        assert not self.world.network.wrong, self.world.network.wrong[0]
        for session in SESSIONS:
            row = database.rows[session]
            assert not row.busy, f"G8: {session} stays busy: {row}"
            bodies = sorted(database.messages[session].values())
            messages = [decode_message(body.body) for body in bodies]
            assert row.message_count == len(messages), "the count of messages is wrong"
            _check_answers(messages)
            ends = {message.status for message in messages}
            assert ends <= {"complete", "stopped"}, f"G13: an answer was not continued: {ends}"
            self._check_questions(messages)
            _check_shown(messages, database.log[session])
        for id, (session, text) in self.stored.items():
            message = database.message(session, id)
            assert message is not None, f"G1: {id} was acknowledged and is lost"
            assert message.content == text, f"G1: {id} was acknowledged with another text"
        for name, (session, value) in self.named.items():
            assert database.rows[session].metadata.get(name) == value, f"G1: {name} is lost"
        for session, name in self.world.remembered:
            assert name in database.rows[session].private, f"G1: {name} is forgotten"

    def _check_questions(self, messages: list[Message]) -> None:
        """The answers that were acknowledged count, and no tool ran twice."""
        calls = [
            part for message in messages for part in message.parts if isinstance(part, ToolCallPart)
        ]
        for call in calls:
            assert not call.asks, f"G12: a question stays open: {call}"
            if call.question is not UNSET and call.question.id in self.answered:
                acknowledged = self.answered[call.question.id]
                assert call.question.state == acknowledged, f"G12: {call} was {acknowledged}"
            ran = self.world.ran[call.tool_call_id]
            assert ran <= 1, f"G13: {call} ran {ran} times"


class _Reader:
    def __init__(self, world: World, session: str, cursor: int) -> None:
        self.cursor = cursor
        self._rng = world.rng
        self._log = world.database.log[session]
        self._session = session

    async def follow(self, node: Node) -> None:
        """Read for a while; ends when the node fails."""
        try:
            watcher = await node.feeds.watch(self._session, self.cursor)
        except SessileError:
            return
        happened = asyncio.Event()
        watcher.listener = happened.set
        try:
            for _ in range(self._rng.randint(1, 200)):
                happened.clear()
                frames = await watcher.read()
                self._take(frames)
                if not frames:
                    await asyncio.wait_for(happened.wait(), self._rng.uniform(0.1, 6))
        except (SessileError, TimeoutError):
            pass
        finally:
            node.feeds.leave(watcher)

    def _take(self, frames: Iterable[Piece]) -> None:
        for frame in singly(frames):
            if frame.seq:
                assert frame.seq == self.cursor + 1, f"G4: {frame.seq} after {self.cursor}"
                assert self._log[self.cursor] == frame.data, "G2: shown, but not stored"
                self.cursor = frame.seq


async def _answer(watcher: Watcher, answer_id: str) -> str:
    """Follow a turn to its end and return its answer."""
    happened = asyncio.Event()
    watcher.listener = happened.set
    while True:
        happened.clear()
        frames = await watcher.read()
        for frame in singly(frames):
            event = frame.event
            message = event.message if isinstance(event, MessageEvent) else None
            if message and message.id == answer_id and message.status != "streaming":
                return message.content
        if not frames:
            await asyncio.wait_for(happened.wait(), 30)


def _check_answers(messages: list[Message]) -> None:
    asked = [message.id for message in messages if message.role == "user"]
    answered = [message.reply_to for message in messages if message.reply_to]
    assert sorted(asked) == sorted(map(str, answered)), "G8, G9: not one answer for each message"


def _check_shown(messages: list[Message], log: list[bytes]) -> None:
    """The text that was shown is the text that is stored, and answers are not mixed."""
    shown: dict[str, str] = defaultdict(str)
    turns: list[str] = []
    for data in log:
        event = Frame(1, data).event
        if isinstance(event, DeltaEvent):
            id = event.message_id
            assert event.offset == len(shown[id]), "G4: a delta does not continue the text"
            shown[id] += event.text
            if not turns or turns[-1] != id:
                turns.append(id)
    contents = {message.id: message.content for message in messages}
    for id, text in shown.items():
        assert contents[id] == text, "G2, G8: the text shown is not the text stored"
    assert len(turns) == len(set(turns)), "G6: the words of two answers are mixed"


def _raise_first(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


def play(seed: int, mutation: str = "") -> World:
    """Play one story to its end; raises if anything is wrong."""
    world = World(seed, mutation)
    world.run(Story(world).play())
    return world
