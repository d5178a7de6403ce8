"""What every bus must do."""

import asyncio
from collections.abc import Callable

import pytest

from sessile.bus.base import Bus, NobodyThere, Publication
from sessile.wire.frames import Frame, singly


def news(*seqs: int, epoch: int = 7) -> Publication:
    """A publication with events of these numbers."""
    frames = [Frame(seq, b'{"seq":%d}' % seq) for seq in seqs]
    return Publication(epoch, seqs[-1], frames)


class BusSuite:
    """The promises of :class:`~sessile.bus.base.Bus`."""

    @pytest.fixture
    async def bus(self) -> Bus:
        raise NotImplementedError("Define a fixture that returns the bus, opened.")

    async def test_subscribers_receive_what_is_published(self, bus: Bus) -> None:
        one: list[Publication] = []
        two: list[Publication] = []
        bus.publish("s", news(1))
        end = await bus.subscribe("s", one.append)
        await bus.subscribe("s", two.append)
        await bus.subscribe("t", lambda publication: pytest.fail("an event of another session"))
        bus.publish("s", news(2, 3))
        await self.until(lambda: len(one) == len(two) == 1)
        end()
        bus.publish("s", news(4))
        await self.until(lambda: len(two) == 2)
        assert [self.plain(publication) for publication in one] == [self.plain(news(2, 3))]
        assert self.plain(two[1]) == self.plain(news(4))

    async def test_a_subscription_is_active_when_subscribe_returns(self, bus: Bus) -> None:
        for number in range(20):
            received: list[Publication] = []
            end = await bus.subscribe(f"s{number}", received.append)
            bus.publish(f"s{number}", news(1))
            await self.until(lambda received=received: bool(received))  # type: ignore[misc]
            end()

    async def test_a_node_answers_several_requests_at_the_same_time(self, bus: Bus) -> None:
        waiting = asyncio.Event()

        async def answer(request: bytes) -> bytes:
            if request == b"slow":
                await waiting.wait()
            return request.upper()

        await bus.serve(5, answer)
        slow = asyncio.create_task(bus.request(5, b"slow", 10))
        assert await bus.request(5, b"quick", 10) == b"QUICK"
        waiting.set()
        assert await slow == b"SLOW"

    async def test_a_request_that_cannot_be_answered_raises(self, bus: Bus) -> None:
        async def never(request: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        with pytest.raises(NobodyThere):
            await bus.request(6, b"x", 10)
        await bus.serve(6, never)
        with pytest.raises(TimeoutError):
            await bus.request(6, b"x", 0.05)

    async def test_the_check_succeeds(self, bus: Bus) -> None:
        await bus.check()

    def plain(self, publication: Publication) -> tuple[int, int, list[tuple[int, bytes]]]:
        return (
            publication.epoch,
            publication.head,
            [(frame.seq, frame.data) for frame in singly(publication.frames)],
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)
