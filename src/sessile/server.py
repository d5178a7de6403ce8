"""The application: everything of one server, between the two ends of its lifespan."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Unpack

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sessile.agents.base import Agent, Turn
from sessile.agents.contain import containing
from sessile.http.access import Access, Figures
from sessile.http.context import Context, Limits
from sessile.http.edge import Edge
from sessile.http.routes import router
from sessile.http.short import ShortWays
from sessile.node.handle import Handle
from sessile.node.registry import Registry
from sessile.session.limits import SessionLimits, Sizes
from sessile.session.questions import Policy
from sessile.settings import Settings, SettingsFields
from sessile.signals import at_the_end
from sessile.watch.feeds import Feeds
from sessile.wire.hosts import plain_origin
from sessile.wiring import agent_of, bus_of, keep_apart, read_export, store_of, write_file

RETRIES = 2  # how often a turn is started again with --on-crash retry
ESCAPED = 16  # times as large as its text a message can be as JSON, in which it stands twice


class Sessile:
    """An ASGI application with all sessions of one store.

    It works between the two ends of its lifespan: a server that runs it by itself sees to that;
    an application that mounts it enters :meth:`lifespan` in its own.
    """

    def __init__(self, settings: Settings, agent: Agent) -> None:
        self.settings = settings
        self.agent = agent
        self.store = store_of(settings)
        self.bus = bus_of(settings)
        self._registry: Registry | None = None
        self._feeds: Feeds | None = None
        self._app: ASGIApp | None = None
        self.short_ways: ShortWays | None = None  # for Sessile's own server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
        elif self._app is None:
            raise RuntimeError(
                "Sessile is not started: enter its lifespan in that of the application that "
                "mounts it."
            )
        else:
            await self._app(scope, receive, send)

    def session(self, id: str) -> Handle:
        """A session: ``await app.session("id").persist_message("Hello")``."""
        if self._registry is None or self._feeds is None:
            raise RuntimeError("Sessile is not started: enter its lifespan first.")
        return Handle(id, self.store, self._registry.history, self._registry, self._feeds)

    @property
    def watchers(self) -> int:
        """How many streams and sockets watch a session."""
        return self._figures().watchers

    def _figures(self) -> Figures:
        if self._registry is None or self._feeds is None:
            return Figures(0, 0, 0)
        registry = self._registry
        return Figures(
            registry.awake,
            registry.running,
            self._feeds.watchers,
            registry.draining,
            self.store.unreadable,
        )

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Open everything, recover what was cut off; at the end settle and close everything.

        On SIGINT and SIGTERM :meth:`drain` begins at once, so that no stream keeps the server from
        ending.
        """
        tasks: set[asyncio.Task[None]] = set()

        def drain() -> None:
            task = asyncio.create_task(self.drain(), name="drain")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        async with self.opened():
            with at_the_end(drain):
                yield

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """The lifespan for a server that drains by itself."""
        async with AsyncExitStack() as stack:
            stack.enter_context(containing())
            for part in (self.store, self.bus, self.agent):
                await part.open()
                stack.push_async_callback(part.close)
            self._registry = Registry(
                self.store, self.bus, self.agent, _session_limits(self.settings)
            )
            self._feeds = Feeds(self.store, self.bus)
            await self._feeds.open()
            await self._registry.open()
            self._app = self._build(self._feeds)
            try:
                yield
            finally:
                await self.drain()
                self._app = self._registry = self._feeds = self.short_ways = None

    async def drain(self) -> None:
        """Begin no more turns, give those that run some time to end, then let every client go."""
        if self._registry is not None and self._feeds is not None:
            await self._registry.close(self.settings.drain_timeout)
            self._feeds.close()

    def _build(self, feeds: Feeds) -> ASGIApp:
        settings = self.settings
        access = Access(self.store, self.bus, feeds, self.session, self._figures)
        limits = Limits(settings.max_body, settings.max_import)
        read = partial(
            read_export, largest=ESCAPED * settings.max_answer, unpacked=settings.max_import
        )
        context = Context(access, limits, _write_sqlite, read)
        app: ASGIApp = router(context)
        if settings.allow_origin:
            app = CORSMiddleware(
                app,
                allow_origins=[plain_origin(origin) for origin in settings.allow_origin],
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Link", "X-Has-More"],
            )
        edge = Edge(app, settings.allow_host, settings.allow_origin)
        self.short_ways = ShortWays(edge, context, plain_origin=not settings.allow_origin)
        return edge

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                await stack.enter_async_context(self.lifespan())
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(
    settings: Settings | None = None,
    *,
    agent: Agent | Callable[[Turn], Any] | str | None = None,
    **changes: Unpack[SettingsFields],
) -> Sessile:
    """The application.

    ``agent`` is a function (``async def reply(turn)``), an object with the methods of
    :class:`~sessile.agents.base.Agent`, or what ``--agent`` takes; ``changes`` are fields of
    :class:`~sessile.settings.Settings`. Raises :class:`~sessile.wire.errors.SettingsError`.
    """
    if settings is None:
        settings = Settings(**changes)
    elif changes:
        raise TypeError("give settings, or single fields of them, not both")
    if agent is None:
        agent = settings.agent
    made = agent_of(agent, settings)
    return Sessile(keep_apart(settings, made), made)


def _session_limits(settings: Settings) -> SessionLimits:
    retries = RETRIES if settings.on_crash == "retry" else 0
    policy = Policy(settings.approve, settings.approve_timeout)
    sizes = Sizes(
        settings.max_title,
        settings.max_session_metadata,
        settings.max_message_metadata,
        settings.max_parts,
        settings.max_answer_parts,
        settings.max_answer,
        settings.max_tool_output,
    )
    continues = settings.on_crash == "continue"
    return SessionLimits(
        settings.queue_limit, retries, policy, sizes, continues, settings.park_after
    )


async def _write_sqlite(path: str, session: Handle) -> None:
    await write_file(path, await session.row(), session.walk())
