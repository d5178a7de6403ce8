"""The client for programs without asyncio: it works in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from sessile.client.client import Client
from sessile.client.session import ClientSession, Sent
from sessile.wire.events import Event
from sessile.wire.messages import Message, Metadata, Session
from sessile.wire.parts import Part, Question

T = TypeVar("T")


class SyncClient:
    """As :class:`~sessile.client.Client`; its methods return when they are done."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8787",
        *,
        headers: dict[str, str] | None = None,
        patience: float = 60.0,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="sessile client", daemon=True
        )
        self._thread.start()
        try:
            self._client = self.run(_made(url, headers, patience))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        if not self._loop.is_closed():
            self.run(self._client.close())
            self._end()

    def session(self, id: str) -> "SyncSession":
        """A session, whether it exists or not."""
        return SyncSession(self._client.session(id), self)

    def create(
        self, id: str | None = None, title: str | None = None, metadata: Metadata | None = None
    ) -> Session:
        """As :meth:`Client.create <sessile.client.Client.create>`."""
        return self.run(self._client.create(id, title, metadata))

    def sessions(self, **options: Any) -> list[Session]:
        """As :meth:`Client.sessions <sessile.client.Client.sessions>`."""
        return self.run(self._client.sessions(**options))

    def search(self, query: str, limit: int = 20) -> list[dict[str, Any]]:
        """As :meth:`Client.search <sessile.client.Client.search>`."""
        return self.run(self._client.search(query, limit))

    def info(self) -> dict[str, Any]:
        """As :meth:`Client.info <sessile.client.Client.info>`."""
        return self.run(self._client.info())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine of the client."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, events: AsyncGenerator[Event, None]) -> Iterator[Event]:
        """The events of a generator of the client; leaving the loop closes it."""
        try:
            while (event := self.run(_next(events))) is not None:
                yield event
        finally:
            if not self._loop.is_closed():
                self.run(events.aclose())

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncSession:
    """As :class:`~sessile.client.ClientSession`, method by method."""

    def __init__(self, session: ClientSession, client: SyncClient) -> None:
        self.id = session.id
        self._session = session
        self._run = client.run
        self._iterate = client.iterate

    def send(self, content: str | Sequence[Part], **options: Any) -> Sent:
        return self._run(self._session.send(content, **options))

    def stream(self, content: str | Sequence[Part], **options: Any) -> Iterator[Event]:
        return self._iterate(self._session.stream(content, **options))

    def ask(self, content: str | Sequence[Part], **options: Any) -> Message:
        return self._run(self._session.ask(content, **options))

    def regenerate(self, answer_id: str | None = None) -> Message:
        return self._run(self._session.regenerate(answer_id))

    def stop(self) -> bool:
        return self._run(self._session.stop())

    def follow(self, after: int | None = None) -> Iterator[Event]:
        return self._iterate(self._session.follow(after))

    def read(self) -> Session:
        return self._run(self._session.read())

    def messages(
        self, limit: int = 25, before: str | None = None, after: str | None = None
    ) -> list[Message]:
        return self._run(self._session.messages(limit, before, after))

    def message(self, id: str, wait: int = 0) -> Message:
        return self._run(self._session.message(id, wait))

    def questions(self) -> list[dict[str, Any]]:
        return self._run(self._session.questions())

    def approve(self, question: str, approve: bool = True, **options: Any) -> Question:
        return self._run(self._session.approve(question, approve, **options))

    def give(self, question: str, output: Any = None, error: str | None = None) -> Question:
        return self._run(self._session.give(question, output, error))

    def update(self, **changes: Any) -> Session:
        return self._run(self._session.update(**changes))

    def fork(self, at: str | None = None, id: str | None = None) -> Session:
        return self._run(self._session.fork(at, id))

    def edit(
        self, message: str, parts: Sequence[Part] | None = None, metadata: Metadata | None = None
    ) -> Message:
        return self._run(self._session.edit(message, parts, metadata))

    def delete_message(self, message: str) -> None:
        self._run(self._session.delete_message(message))

    def delete(self) -> None:
        self._run(self._session.delete())


async def _made(url: str, headers: dict[str, str] | None, patience: float) -> Client:
    return Client(url, headers=headers, patience=patience)


async def _next(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
