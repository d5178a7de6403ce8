"""Random interleavings of clients, agents and crashes, compared with a model of the result.

In half of the runs the agent continues after a crash, and lets go of turns that wait.

The machine drives the real session objects with the real store; a crash drops everything in
memory and opens the file again. The model knows every message and how each turn ended. Watchers
fold the events they receive, as clients do, and resume from any number they have seen.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sessile import AgentError, Draft, TextPart, ToolCallPart
from sessile.bus.memory import MemoryBus
from sessile.node.handle import Handle
from sessile.node.registry import Registry
from sessile.session.recovery import CONTINUED
from sessile.session.reply import AskedQuestion, Reply
from sessile.session.session import Session
from sessile.store.sqlite import log as sqlite_log
from sessile.store.sqlite.store import SQLiteStore
from sessile.watch.feed import Watcher
from sessile.watch.feeds import Feeds
from sessile.wire.errors import MessageConflict, QuestionAnswered, TurnInProgress
from sessile.wire.events import ResetEvent
from sessile.wire.frames import singly
from sessile.wire.messages import Message, decode_message
from tests.puppet import Ask, Client, Expected, Puppet

SESSION = "s"
T = TypeVar("T")


class Sessions(RuleBasedStateMachine):
    """The state machine. ``steps`` counts the steps of all runs."""

    steps = 0

    @initialize(slow_disk=st.booleans(), continues=st.booleans())
    def begin(self, slow_disk: bool, continues: bool) -> None:
        # With a slow disk, syncs run in a thread.
        self.disk = patch.object(sqlite_log, "QUICK", -1 if slow_disk else 60)
        self.disk.start()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.questions: dict[str, Expected] = {}  # in the order they were stored
        self.answers: dict[str, Expected] = {}  # by their question
        self.queue: list[str] = []
        self.running: str | None = None
        self.continues = continues
        self.asking: str | None = None  # the id of the open question
        self.parked = False
        self.crashes = 0  # since the answer grew
        self.clients: list[Client] = []
        self.counter = 0
        self.do(self.start())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(20):
                return await work

        return self.loop.run_until_complete(bounded())

    async def start(self) -> None:
        self.agent = Puppet(self.continues)
        self.store = SQLiteStore(Path(self.folder.name) / "s.db")
        self.bus = MemoryBus()
        self.feeds = Feeds(self.store, self.bus)
        await self.store.open()
        self.registry = Registry(self.store, self.bus, self.agent, awake=1, tail_grace=3600)
        self.handle = Handle(SESSION, self.store, self.registry.history, self.registry, self.feeds)
        await self.registry.open()
        await self.settle()

    @asynccontextmanager
    async def using(self, id: str) -> AsyncGenerator[Session, None]:
        session = await self.registry.acquire(id)
        try:
            yield session
        finally:
            self.registry.release(session)

    async def watch(self, cursor: int) -> Watcher:
        return await self.feeds.watch(SESSION, cursor)

    async def settle(self) -> None:
        """Wait until everything that can happen has happened."""
        for _ in range(12):
            await asyncio.sleep(0)
            while self.store.writer.busy:  # also while a checkpoint holds the write lock
                await asyncio.sleep(0.001)

    # What clients do ----------------------------------------------------------------------------

    @rule(text=st.text(min_size=1, max_size=8).filter(str.strip))
    def send(self, text: str) -> None:
        self.counter += 1
        id = f"q{self.counter}"
        self.do(self.sending(id, text))
        self.questions[id] = Expected("user", text, "complete")
        if self.running is None:
            self.run(id)
        else:
            self.queue.append(id)
            self.questions[id].status = "queued"

    async def sending(self, id: str, text: str) -> None:
        async with self.using(SESSION) as session:
            await session.send(Draft([TextPart(text)], id=id))
        await self.settle()

    def run(self, id: str) -> None:
        self.running = id
        self.crashes = 0
        self.questions[id].status = "complete"
        self.answers[id] = Expected("assistant", "", "streaming", id)

    @precondition(lambda self: self.questions)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.questions)))
        self.do(self.sending(id, self.questions[id].text))

    @precondition(lambda self: self.questions)
    @rule(data=st.data())
    def send_another_under_the_same_id(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.questions)))
        with pytest.raises(MessageConflict):
            self.do(self.sending(id, self.questions[id].text + "!"))

    @rule()
    def stop(self) -> None:
        async def stopping() -> bool:
            async with self.using(SESSION) as session:
                stopped = await session.stop()
            await self.settle()
            return stopped

        assert self.do(stopping()) == (self.running is not None)
        if self.running is not None:
            self.ends("stopped")

    @precondition(lambda self: self.questions)
    @rule(data=st.data(), text=st.text(max_size=8))
    def patch(self, data: st.DataObject, text: str) -> None:
        id = data.draw(st.sampled_from(list(self.questions)))

        async def patching() -> None:
            async with self.using(SESSION) as session:
                await session.update_message(id, [TextPart(text)], None)

        self.do(patching())
        self.questions[id].text = text

    @precondition(lambda self: self.questions)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(list(self.questions)))

        async def deleting() -> None:
            async with self.using(SESSION) as session:
                await session.delete_message(id)

        if id == self.running:
            with pytest.raises(TurnInProgress):
                self.do(deleting())
            return
        self.do(deleting())
        del self.questions[id]
        if id in self.queue:
            self.queue.remove(id)

    # What the agent does ------------------------------------------------------------------------

    @precondition(lambda self: self.running and not self.asking)
    @rule(text=st.text(min_size=1, max_size=8))
    def says(self, text: str) -> None:
        assert self.running
        self.script(text)
        self.answers[self.running].text += text

    @precondition(lambda self: self.running and not self.asking)
    @rule(state=st.sampled_from(["pending", "running", "complete"]))
    def uses_a_tool(self, state: str) -> None:
        self.script(ToolCallPart("1", "tool", {}, state))  # type: ignore[arg-type]

    @precondition(lambda self: self.running and not self.asking)
    @rule()
    def asks(self) -> None:
        self.counter += 1
        self.script(Ask(f"call{self.counter}"))
        found = self.do(self.open_questions())
        assert len(found) == 1
        self.asking = found[0].id

    async def open_questions(self) -> list[AskedQuestion]:
        return await self.handle.questions()

    @precondition(lambda self: self.asking)
    @rule(approve=st.booleans(), again=st.booleans())
    def is_answered(self, approve: bool, again: bool) -> None:
        assert self.running
        assert self.asking

        async def answering(id: str) -> str:
            async with self.using(SESSION) as session:
                answered = await session.answer(id, Reply(approve=approve))
            await self.settle()
            return answered.state

        state = self.do(answering(self.asking))
        assert state == ("approved" if approve else "denied")
        self.answers[self.running].text += state
        if again:
            with pytest.raises(QuestionAnswered):
                self.do(answering(self.asking))
        self.asking, self.parked, self.crashes = None, False, 0

    @precondition(lambda self: self.asking and self.continues and not self.parked)
    @rule()
    def is_parked(self) -> None:
        async def parking() -> bool:
            async with self.using(SESSION) as session:
                assert session._turns.runner
                only_waits = session._turns.runner.only_waits
                session._turns.runner.leave()
            await self.settle()
            return only_waits

        # Where a tool may run, the agent is called again.
        self.parked = self.do(parking())

    @precondition(lambda self: self.running and not self.asking)
    @rule()
    def completes(self) -> None:
        self.script(None)
        self.ends("complete")

    @precondition(lambda self: self.running and not self.asking)
    @rule()
    def fails(self) -> None:
        self.script(AgentError("as scripted"))
        self.ends("error")

    def script(self, line: object) -> None:
        assert self.agent.question == self.running, "the turn that runs was the first in the queue"
        self.agent.lines.put_nowait(line)
        self.do(self.settle())
        self.crashes = 0

    def ends(self, status: str) -> None:
        assert self.running
        self.answers[self.running].status = status
        self.running = self.asking = None
        self.parked = False
        if self.queue:
            self.run(self.queue.pop(0))

    # What happens -------------------------------------------------------------------------------

    @rule()
    def crash(self) -> None:
        async def crashing() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            # The process is gone: whatever is not yet written is lost.
            self.store.writer.drop_waiting()
            self.store.write = lambda commit: None
            await self.settle()
            await self.store.close()
            await self.start()

        self.do(crashing())
        for client in self.clients:
            client.watcher = self.do(self.watch(client.cursor))
            client.until = 0
        if self.running is None or self.parked:
            return
        if not self.continues or self.crashes == CONTINUED:
            self.ends("interrupted")
        else:
            self.crashes += 1

    @rule()
    def single_events_are_forgotten(self) -> None:
        async def trimming() -> None:
            async with self.using(SESSION) as session:
                await session.read()
                await self.store.trim(0)

        self.do(trimming())

    @rule()
    def another_session_is_used(self) -> None:
        """Only one idle session stays awake, so this one may be put to sleep."""

        async def using() -> None:
            for other in ("t", "u"):
                async with self.using(other) as session:
                    await session.persist_message(Draft([TextPart("x")]))

        self.do(using())

    # What watchers do ---------------------------------------------------------------------------

    @rule()
    def watcher_joins(self) -> None:
        if len(self.clients) < 4:
            self.clients.append(Client(self.do(self.watch(0))))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def watcher_reads(self, data: st.DataObject) -> None:
        self.do(self.reading(data.draw(st.sampled_from(self.clients)), 1))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def watcher_leaves_and_resumes(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.feeds.leave(client.watcher)
        client.watcher = self.do(self.watch(client.cursor))
        client.until = 0

    async def reading(self, client: Client, most: int) -> None:
        for _ in range(most):
            frames = await client.watcher.read()
            if not frames:
                return
            for frame in singly(frames):
                if isinstance(frame.event, ResetEvent):
                    client.until = frame.event.seq
                    continue
                if frame.seq == 0:
                    client.history.apply(frame.event)  # a later event changes it again
                    continue
                assert frame.seq > client.cursor, "no event is repeated"
                if frame.seq > client.until:
                    seen = max(client.cursor, client.until)
                    assert frame.seq == seen + 1, "no event is left out"
                client.history.apply(frame.event)
                client.cursor = frame.seq

    # What must hold -----------------------------------------------------------------------------

    def expected(self) -> list[Expected]:
        answers = [a for a in self.answers.values() if a.text or a.status != "streaming"]
        return [*self.questions.values(), *answers]

    def same(self, messages: list[Message]) -> None:
        """Messages are as the model expects; a running answer without text may be missing."""
        got = sorted(
            (m.role, m.content, m.status, m.reply_to or "")
            if isinstance(m.reply_to, str)
            else (m.role, m.content, m.status, "")
            for m in messages
            if m.status != "streaming" or m.content
        )
        assert got == sorted((e.role, e.text, e.status, e.answers or "") for e in self.expected())
        asked = [m.id for m in messages if m.role == "user"]
        assert asked == list(self.questions), "questions are in the order in which they were stored"

    @invariant()
    def history_is_as_the_model_expects(self) -> None:
        if not hasattr(self, "registry"):
            return
        Sessions.steps += 1

        async def stored() -> list[Message]:
            async with self.using(SESSION) as session:
                assert (session._turns.runner is not None) == (self.running is not None)
                assert session.running == (self.running is not None and not self.parked)
                assert len(session._turns.waiting) == len(self.queue)
                return [
                    decode_message(b)
                    async for chunk in self.registry.history.walk(SESSION)
                    for b in chunk
                ]

        self.same(self.do(stored()))
        asked = [question.id for question in self.do(self.open_questions())]
        assert asked == ([self.asking] if self.asking else [])

    def teardown(self) -> None:
        if not hasattr(self, "registry"):
            return
        try:
            while self.running is not None:
                if self.asking:
                    self.is_answered(True, again=False)
                self.completes()
            for client in self.clients:
                self.do(self.reading(client, 1_000))
                self.same(client.history.messages())
        finally:
            self.do(self.registry.close(1))
            self.do(self.store.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.folder.cleanup()
            self.disk.stop()


@pytest.mark.timeout(600)
def test_the_sessions_do_what_the_model_says(thorough: int) -> None:
    Sessions.steps = 0
    run_state_machine_as_test(
        Sessions,
        settings=settings(
            max_examples=50 * thorough,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Sessions.steps >= 2_000
