"""``sessile serve``: the server in its own process."""

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from socket import socket
from typing import Any

import uvicorn

from sessile.cli import streams
from sessile.cli.banner import banner
from sessile.cli.given import settings_of
from sessile.cli.listening import inherited_sockets, listening, refuse_remote
from sessile.http.frames import guarded_frames, sending_anywhere
from sessile.http.guard import EdgeLimits, Guard
from sessile.http.short import short
from sessile.logs import Formatter
from sessile.server import Sessile, create_app
from sessile.settings import Settings

LAST_REQUESTS = 0.5  # seconds in which what is connected may still send a request
SET_DUMPABLE = 4  # prctl(2), on Linux


def serve(given: dict[str, Any]) -> int:
    """Serve until SIGINT or SIGTERM.

    Raises :class:`~sessile.wire.errors.SettingsError` if the server cannot start.
    """
    settings = settings_of(given)
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    inherited = inherited_sockets()
    if not inherited:
        refuse_remote(settings, settings.host)
    for listener in inherited:
        refuse_remote(settings, listener.getsockname()[0])
    app = create_app(settings)
    _hide_environment()
    _allow_many_files()
    listeners = inherited or [listening(settings)]
    with suppress(KeyboardInterrupt):
        _run(app, listeners, bool(inherited), settings)
    return 0


def _hide_environment() -> None:
    """Close /proc/PID/environ and /proc/PID/mem of this process to other processes of its user, such
    as the commands of an agent. Debuggers and core dumps then need root."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SET_DUMPABLE, 0, 0, 0, 0)


def _allow_many_files() -> None:
    """Raise the soft limit: every client is an open file, and the usual limit of 1,024 is low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Server(uvicorn.Server):
    """uvicorn; it settles the running turns before it closes connections."""

    def __init__(
        self, config: uvicorn.Config, app: Sessile, guard: Guard, banner: str, inherited: bool
    ) -> None:
        super().__init__(config)
        self._sessile = app
        self._guard = guard
        self._banner = banner
        self._inherited = inherited

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle SIGINT and SIGTERM, and do not raise them again: the store is still open then."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self._guard.watch(self.server_state.connections)
        try:
            print(self._banner, flush=True)
        except OSError as error:  # a server is not its banner
            streams.silence()
            streams.complain(f"the banner cannot be written: {error.strerror}")

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        if self._inherited:
            # The next process accepts what connects from this moment on. What is connected has its
            # request answered, as the last of its connection.
            for server in self.servers:
                server.close()
            self._guard.close_after_answers()
            await asyncio.sleep(LAST_REQUESTS)
        await self._sessile.drain()
        await super().shutdown(sockets)


def _run(app: Sessile, listeners: list[socket], inherited: bool, settings: Settings) -> None:
    only_user = settings.local == "user" and not settings.allow_remote
    guard = Guard(_edge_limits(settings), only_user)
    config = uvicorn.Config(
        sending_anywhere(app),
        http=short(guard, lambda: app.short_ways),
        ws=guarded_frames(guard),
        ws_max_size=settings.max_body,
        ws_per_message_deflate=False,
        lifespan="off",
        access_log=settings.log_level == "debug",
        log_config=None,
        log_level=settings.log_level,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config, app, guard, banner(app, listeners, os.environ), inherited)

    async def serve() -> None:
        async with app.opened():
            _collect_rarely()
            await server.serve(listeners)

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())


def _edge_limits(settings: Settings) -> EdgeLimits:
    return EdgeLimits(
        settings.max_head,
        settings.max_head_fields,
        settings.head_timeout,
        settings.body_timeout,
        settings.body_rate,
        settings.send_timeout,
        settings.max_pipelined,
        settings.max_pings,
        settings.max_fragments,
        settings.max_connections,
    )


def _collect_rarely() -> None:
    """Collect reference cycles less often: the server creates hardly any, and each collection scans
    all open requests and all active sessions."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 5)
