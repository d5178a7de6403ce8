"""What every agent must do."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from sessile.agents.base import Agent
from sessile.server import Sessile, create_app
from sessile.wire.events import DeltaEvent, Event, MessageEvent, PartEvent
from sessile.wire.fold import History
from sessile.wire.messages import Message
from sessile.wire.parts import ToolCallPart

ORDER = {"pending": 0, "running": 1, "complete": 2, "error": 2}


class AgentSuite:
    """The promises of :class:`~sessile.agents.base.Agent`, behind a real session.

    The messages that are sent to the agent: ``text`` for an answer with text, ``slow`` for one that
    continues until it is stopped, ``tool`` for one with at least one tool call, ``failing`` for one
    that fails. Set a message to None if the agent cannot be made to do this.
    """

    text = "hello"
    slow: str | None = None
    tool: str | None = None
    failing: str | None = None

    @pytest.fixture
    async def agent(self) -> Agent:
        raise NotImplementedError("Define a fixture that returns the agent, not yet opened.")

    async def test_output_arrives_in_order_and_the_answer_is_settled(
        self, agent: Agent, tmp_path: Path
    ) -> None:
        async with self.serve(agent, tmp_path) as app:
            message = await self.ask(app, self.text)
            assert message.status == "complete"
            assert message.content
            if self.tool is not None:
                message = await self.ask(app, self.tool)
                calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
                assert calls
                assert {call.state for call in calls} <= {"complete", "error"}

    async def test_it_ends_when_stopped_and_answers_the_next_message(
        self, agent: Agent, tmp_path: Path
    ) -> None:
        if self.slow is None:
            return
        async with self.serve(agent, tmp_path) as app:
            await self.ask(app, self.text)
            before = asyncio.all_tasks()
            async with app.session("s") as session:
                await session.send(self.slow)
                events = self.events(app, (await session.read()).seq)
                async for event in events:
                    if isinstance(event, DeltaEvent | PartEvent):
                        break
                await events.aclose()
                assert await session.stop()
                message = (await session.get_messages(1)).messages[0]
            assert message.status == "stopped"
            # Its turn is settled after two seconds in any case; its agent must have ended by then.
            async with asyncio.timeout(2):
                while any("turn" in task.get_name() for task in asyncio.all_tasks() - before):
                    await asyncio.sleep(0.01)
            assert (await self.ask(app, self.text)).status == "complete"

    async def test_a_failure_is_reported_and_leaves_nothing_behind(
        self, agent: Agent, tmp_path: Path
    ) -> None:
        tasks, processes = asyncio.all_tasks(), children()
        async with self.serve(agent, tmp_path) as app:
            if self.failing is not None:
                message = await self.ask(app, self.failing)
                assert message.status == "error"
                assert isinstance(message.metadata, dict)
                assert message.metadata["error"]["error"]
            assert (await self.ask(app, self.text)).status == "complete"
        async with asyncio.timeout(5):
            while children() - processes or asyncio.all_tasks() - tasks:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def serve(self, agent: Agent, folder: Path) -> AsyncGenerator[Sessile, None]:
        """A server with this agent, whose policy approves every tool call."""
        app = create_app(agent=agent, store=f"sqlite:///{folder}/sessile.db", approve="allow")
        async with app.lifespan():
            yield app

    async def ask(self, app: Sessile, content: str) -> Message:
        """Send a message, check every event until the answer is settled, and return the answer."""
        session = app.session("s")
        sent = await session.send(content)
        after = sent.after
        history, seq = History(), after
        states: dict[str, int] = {}
        async for event in self.events(app, after):
            assert event.seq == seq + 1  # type: ignore[union-attr]
            seq += 1
            if isinstance(event, PartEvent) and isinstance(event.part, ToolCallPart):
                call = event.part
                assert ORDER[call.state] >= states.get(call.tool_call_id, 0), call
                states[call.tool_call_id] = ORDER[call.state]
            if isinstance(event, MessageEvent) and event.message.role == "assistant":
                shown = history.messages()[-1] if history.messages()[1:] else event.message
                assert shown.content == event.message.content
                return event.message
            history.apply(event)
        raise AssertionError("the session ended")

    async def events(self, app: Sessile, after: int) -> AsyncGenerator[Event, None]:
        """All events of the session after a number."""
        async with asyncio.timeout(60), aclosing(app.session("s").events(after)) as events:
            async for event in events:
                yield event


def children() -> set[str]:
    """The child processes of this process, if there is a /proc."""
    found: set[str] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found.update(task.read_text().split())
    return found
