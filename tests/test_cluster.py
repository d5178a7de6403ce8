"""Commands at any node of a cluster, and the sessions of nodes that fail, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator
from typing import get_args

import pytest

from sessile.agents.base import Output, Turn
from sessile.agents.function import FunctionAgent
from sessile.node import nodes, requests
from sessile.session import commands
from sessile.session.inbox import Draft
from sessile.session.reply import Reply
from sessile.wire.errors import (
    MessageConflict,
    MessageNotFound,
    QuestionNotFound,
    SessionExists,
    SessionNotFound,
    TurnInProgress,
    Unavailable,
)
from sessile.wire.events import BroadcastEvent, Event, StatusEvent
from sessile.wire.messages import Message
from sessile.wire.parts import TextPart, ToolCallPart
from tests.simulation.world import Node, World


async def patient(turn: Turn) -> AsyncGenerator[Output, None]:
    """Says something, asks for approval, and says the decision."""
    yield "first "
    decision = await turn.ask(ToolCallPart("call", "tool", {}, "pending"))
    yield decision.state


async def endless(turn: Turn) -> AsyncGenerator[Output, None]:
    """Says a word every tenth of a second, forever."""
    while True:
        yield "on "
        await asyncio.sleep(0.1)


class Cluster(World):
    """A cluster in which nothing is lost between nodes."""

    def __init__(self, reply: object) -> None:
        super().__init__(1, agent=FunctionAgent(reply))  # type: ignore[arg-type]
        self.network.calm = True

    async def start(self, count: int) -> list[Node]:
        for _ in range(count):
            await self.start_node()
        return list(self.nodes.values())

    def owner(self) -> int:
        return self.database.rows["s"].owner

    def statuses(self) -> list[str]:
        return [message.status for message in self.database.answers("s")]


async def until(node: Node, after: int, kind: type[Event], status: str = "") -> Event:
    async for event in node.session("s").events(after):
        if isinstance(event, kind) and status in ("", getattr(event, "status", "")):
            return event
    raise AssertionError("the session ended")


async def question(node: Node) -> str:
    """The id of the agent's question."""
    while True:
        for message in (await node.session("s").get_messages()).messages:
            for part in message.parts:
                if isinstance(part, ToolCallPart) and part.question:
                    return part.question.id
        await asyncio.sleep(0.1)


def test_every_command_runs_at_the_owner_while_the_session_is_busy() -> None:
    world = Cluster(patient)

    async def story() -> None:
        one, two = await world.start(2)
        here, there = one.session("s"), two.session("s")
        sent = await here.send("go", id="q")
        assert world.owner() == one.number

        noted = await there.persist_message("a note", role="assistant", id="note")
        assert (noted.content, noted.role) == ("a note", "assistant")
        assert await there.persist_message("a note", role="assistant", id="note") == noted
        edited = await there.update_message_parts("note", [TextPart("edited")])
        assert (edited.id, edited.content) == ("note", "edited")
        assert (await there.update_message("note", metadata={"a": 1})).metadata == {"a": 1}
        await there.delete_message("note")
        assert (await there.update(title="A title", metadata={"a": 1})).title == "A title"
        waits = await there.send("and then?", id="later")
        assert waits.message.status == "queued"
        again = await there.send("and then?", id="later")
        assert (again.repeat, again.answer_id) == (True, waits.answer_id)
        heard = asyncio.create_task(until(one, waits.message.seq, BroadcastEvent))
        await asyncio.sleep(0.1)
        await there.broadcast({"x": 1})
        broadcast = await heard
        assert isinstance(broadcast, BroadcastEvent)
        assert broadcast.data == {"x": 1}

        answered = await there.answer(await question(two), Reply(approve=True))
        assert answered.state == "approved"
        await until(two, sent.after, StatusEvent, "running")
        await until(two, waits.message.seq, StatusEvent, "running")
        assert await there.stop() is True
        assert world.statuses() == ["complete", "stopped"]
        assert {one.number} == {world.owner()}, "the session has not moved to another node"

        assert (await there.regenerate()).message.id == "later"
        assert world.owner() == two.number, "an idle session can be written at any node"
        await here.delete()
        assert world.database.row("s") is None
        with pytest.raises(SessionNotFound):
            await there.stop() or await there.update(title="x")

    world.run(story())


def test_an_error_is_the_same_at_any_node() -> None:
    world = Cluster(patient)

    async def story() -> None:
        one, two = await world.start(2)
        sent = await one.session("s").send("go", id="q")
        there = two.session("s")
        with pytest.raises(MessageConflict, match="different content"):
            await there.send("something else", id="q")
        with pytest.raises(TurnInProgress):
            await there.regenerate()
        with pytest.raises(TurnInProgress):
            await there.send("no", while_busy="reject")
        with pytest.raises(MessageNotFound):
            await there.delete_message("unknown")
        with pytest.raises(TurnInProgress):
            await there.update_message_parts(str(sent.answer_id), [TextPart("x")])
        with pytest.raises(QuestionNotFound):
            await there.answer("unknown", Reply(approve=True))
        with pytest.raises(SessionExists):
            await there.create()
        with pytest.raises(SessionExists):
            await there.adopt(_no_messages(), "", {})

    world.run(story())


async def _no_messages() -> AsyncGenerator[list[Message], None]:
    yield []


def test_every_command_has_a_result_that_another_node_can_read() -> None:
    assert set(requests._RESULTS) == set(get_args(commands.Command))


def test_the_sessions_of_a_dead_node_are_taken_over_by_the_others() -> None:
    world = Cluster(endless)

    async def story() -> None:
        one, two, three = await world.start(3)
        for number in range(50):
            await one.session(f"s{number}").send("go")
        await asyncio.sleep(1)
        world.loop.dead.add(one.number)
        began = world.loop.time()
        while any(row.busy for row in world.database.rows.values()):
            await asyncio.sleep(0.1)
        assert world.loop.time() - began < nodes.GONE + 2 * nodes.BEAT + 1
        owners = {row.owner for row in world.database.rows.values()}
        assert owners == {two.number, three.number}, "the nodes share the work"

    world.run(story())


def test_a_node_that_pauses_for_a_long_time_loses_its_turn_and_continues() -> None:
    world = Cluster(endless)

    async def story() -> None:
        one, two = await world.start(2)
        await one.session("s").send("go")
        await asyncio.sleep(1)
        world.loop.paused.add(one.number)
        await asyncio.sleep(nodes.DEAD + 3)
        assert world.statuses() == ["interrupted"]
        assert world.owner() == two.number
        head = world.database.rows["s"].seq
        world.loop.paused.discard(one.number)
        await asyncio.sleep(3)
        assert world.database.rows["s"].seq == head, "no more text of the old turn is stored"
        assert one.registry.running == 0
        await world.inside(one.number, one.session("s").send("again"))
        assert world.owner() == one.number

    world.run(story())


def test_a_node_that_pauses_briefly_loses_nothing() -> None:
    world = Cluster(endless)

    async def story() -> None:
        one, two = await world.start(2)
        await one.session("s").send("go")
        world.loop.paused.add(one.number)
        await asyncio.sleep(nodes.GONE + 2)
        world.loop.paused.discard(one.number)
        await asyncio.sleep(3)
        assert await two.session("s").stop()
        assert world.statuses() == ["stopped"]

    world.run(story())


def test_a_node_cut_off_from_the_store_drops_its_turns_and_refuses_commands() -> None:
    """Its agent must stop before another node can start the next turn."""
    world = Cluster(patient)

    async def story() -> None:
        one, two = await world.start(2)
        await one.session("s").send("go")
        await question(two)
        one.store.cut = True
        await asyncio.sleep(nodes.HOLD + 3)
        assert one.registry.running == 0
        with pytest.raises(Unavailable):
            await world.inside(one.number, one.session("s").send("no"))
        await asyncio.sleep(nodes.DEAD)
        assert world.statuses() == ["interrupted"]
        one.store.cut = False
        await asyncio.sleep(2)
        await world.inside(one.number, one.session("s").send("yes"))

    world.run(story())


def test_messages_queued_at_a_node_that_shuts_down_are_answered_elsewhere_at_once() -> None:
    async def slow(turn: Turn) -> AsyncGenerator[Output, None]:
        await asyncio.sleep(2)
        yield turn.content

    world = Cluster(slow)

    async def story() -> None:
        one, two = await world.start(2)
        for text in ("one", "two"):
            last = await one.session("s").send(text)
        ending = world.inside(one.number, one.cluster.close(10))
        began = world.loop.time()
        while len(world.statuses()) < 2:
            await asyncio.sleep(0.1)
        assert world.loop.time() - began < 2 + nodes.BEAT + 2 + 1
        assert world.statuses() == ["complete", "complete"]
        assert world.owner() == two.number
        answered = world.database.answers("s")[-1]
        assert answered.id == last.answer_id
        await ending
        assert one.number not in world.database.beats

    world.run(story())


def test_a_command_for_a_node_that_does_not_answer_ends_with_a_clear_error() -> None:
    world = Cluster(endless)

    async def story() -> None:
        one, two = await world.start(2)
        await one.session("s").send("go")
        one.bus.cut = True
        began = world.loop.time()
        with pytest.raises(Unavailable, match="does not answer"):
            await two.session("s").stop()
        assert 15 <= world.loop.time() - began < 18

    world.run(story())


def test_a_lost_reply_does_not_run_the_command_twice() -> None:
    world = Cluster(patient)

    async def story() -> None:
        one, two = await world.start(2)
        await one.session("s").send("go")
        lost = [True, False]  # of replies
        world.network.loses = lambda: bool(lost) and lost.pop()  # type: ignore[method-assign]
        await two.session("s").send(Draft([TextPart("once")]))
        assert not lost
        contents = [message.content for message in world.database.queue("s")]
        assert contents == ["once"]

    world.run(story())
