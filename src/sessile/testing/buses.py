"""What every bus must do."""

import asyncio
from collections.abc import Callable

import pytest

from sessile.bus.base import Bus
from sessile.wire.frames import Frame


class BusSuite:
    """The promises of :class:`~sessile.bus.base.Bus`."""

    @pytest.fixture
    async def bus(self) -> Bus:
        raise NotImplementedError("give a fixture that makes the bus, open")

    async def test_what_is_published_comes_to_those_who_subscribed(self, bus: Bus) -> None:
        one: list[Frame] = []
        two: list[Frame] = []
        bus.publish("s", [Frame(1, b"{}")])
        end = bus.subscribe("s", one.extend)
        bus.subscribe("s", two.extend)
        bus.subscribe("t", lambda frames: pytest.fail("not its session"))
        bus.publish("s", [Frame(2, b'{"a":1}'), Frame(3, b'{"b":2}')])
        await self.until(lambda: len(one) == len(two) == 2)
        end()
        bus.publish("s", [Frame(4, b"{}")])
        await self.until(lambda: len(two) == 3)
        assert [(frame.seq, frame.data) for frame in one] == [(2, b'{"a":1}'), (3, b'{"b":2}')]

    async def test_it_answers(self, bus: Bus) -> None:
        await bus.check()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)
