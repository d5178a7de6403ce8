"""The application: the only place that chooses adapters."""

import importlib
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sessile.agents.base import Agent, Turn
from sessile.agents.echo import EchoAgent
from sessile.agents.function import FunctionAgent
from sessile.agents.kit.conversation import Limits as Told
from sessile.bus.base import Bus
from sessile.bus.memory import MemoryBus
from sessile.http.context import Context, Limits
from sessile.http.edge import Edge
from sessile.http.routes import router
from sessile.node.registry import Registry, Use
from sessile.session.questions import Policy
from sessile.session.session import Limits as SessionLimits
from sessile.settings import Settings
from sessile.store.base import Store
from sessile.store.sqlite.file import read_file, write_file
from sessile.store.sqlite.store import SQLiteStore
from sessile.watch.feed import Feeds, Watcher
from sessile.wire.errors import SettingsError

RETRIES = 2  # how often a turn is begun again with --on-crash retry
DRAIN = 10.0  # seconds that running turns get when the server ends


class Sessile:
    """An ASGI application with all sessions of one store.

    It works between the two ends of its lifespan: a server that runs it by itself sees to that;
    an application that mounts it enters :meth:`lifespan` in its own.
    """

    def __init__(self, settings: Settings, agent: Agent) -> None:
        self.settings = settings
        self.agent = agent
        self.store = _store(settings)
        self.bus = _bus(settings)
        self._registry: Registry | None = None
        self._feeds: Feeds | None = None
        self._app: ASGIApp | None = None

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

    def session(self, id: str) -> Use:
        """``async with app.session("id") as session``: the live session object."""
        if self._registry is None:
            raise RuntimeError("Sessile is not started: enter its lifespan first.")
        return self._registry.use(id)

    def watch(self, id: str, after: int) -> Watcher:
        """Follow a session's events in Python: ``read()`` gives what comes after the cursor."""
        if self._feeds is None:
            raise RuntimeError("Sessile is not started: enter its lifespan first.")
        return self._feeds.watch(id, after)

    def leave(self, watcher: Watcher) -> None:
        """Watch no longer."""
        if self._feeds is not None:
            self._feeds.leave(watcher)

    @property
    def watchers(self) -> int:
        """How many streams and sockets watch a session."""
        return 0 if self._feeds is None else self._feeds.watchers

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Open everything, recover what was cut off; at the end settle and close everything."""
        async with AsyncExitStack() as stack:
            for part in (self.store, self.bus, self.agent):
                await part.open()
                stack.push_async_callback(part.close)
            self._registry = Registry(
                self.store, self.bus, self.agent, _session_limits(self.settings)
            )
            self._feeds = Feeds(self.store, self.bus)
            await self._registry.open()
            context = Context(
                self._registry,
                self._feeds,
                self.store,
                self.bus,
                Limits(self.settings.max_body, self.settings.max_import),
                write_file,
                read_file,
            )
            self._app = self._build(context)
            try:
                yield
            finally:
                await self.drain()
                self._app = self._registry = self._feeds = None

    async def drain(self, patience: float = DRAIN) -> None:
        """Begin no more turns, give those that run so many seconds, then let every client go."""
        if self._registry is not None and self._feeds is not None:
            await self._registry.close(patience)
            self._feeds.close()

    def _build(self, context: Context) -> ASGIApp:
        settings = self.settings
        app: ASGIApp = router(context)
        if settings.allow_origin:
            app = CORSMiddleware(
                app,
                allow_origins=settings.allow_origin,
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=["*"],
                expose_headers=["Link", "X-Has-More"],
            )
        return Edge(app, settings.allow_host, settings.allow_origin)

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
    **changes: Any,
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
    return Sessile(settings, _agent(agent, settings))


def _store(settings: Settings) -> Store:
    url = settings.store
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return SQLiteStore(unquote(url.removeprefix("sqlite:///")))
    raise SettingsError(
        f"the store {_without_password(url)} is not known; "
        "use sqlite:///FILE (four slashes for an absolute path)"
    )


def _session_limits(settings: Settings) -> SessionLimits:
    retries = RETRIES if settings.on_crash == "retry" else 0
    policy = Policy(settings.approve, settings.approve_timeout)
    return SessionLimits(settings.queue_limit, retries, policy)


def _bus(settings: Settings) -> Bus:
    if settings.bus in ("memory:", "memory://"):
        return MemoryBus()
    raise SettingsError(f"the bus {_without_password(settings.bus)} is not known; use memory://")


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return url
    return url.replace(f":{password}@", ":***@") if password else url


def _agent(agent: Agent | Callable[[Turn], Any] | str, settings: Settings) -> Agent:
    if isinstance(agent, str):
        return _agent_by_name(agent, settings)
    if isinstance(agent, Agent):
        return agent
    if (adapted := _framework(agent, settings)) is not None:
        return adapted
    if callable(agent):
        return FunctionAgent(agent)
    raise SettingsError(
        f"{agent!r} is no agent: it must be `async def reply(turn)`, a PydanticAI agent or a "
        "LangGraph graph"
    )


def _agent_by_name(spec: str, settings: Settings) -> Agent:
    kind, _, rest = spec.partition(":")
    if spec == "echo":
        return EchoAgent(settings.echo_delay)
    if kind == "openai":
        return _openai(rest, settings)
    if spec == "opencode" or spec.startswith("opencode:"):
        return _opencode(rest, settings)
    if kind == "acp":
        return _acp(rest, settings)
    if rest and all(part.isidentifier() for part in [*kind.split("."), *rest.split(".")]):
        return _agent(_imported(kind, rest, spec), settings)
    raise SettingsError(
        f"the agent {spec!r} is not known; "
        "use echo, openai:MODEL, opencode[:URL], acp:COMMAND or module:object"
    )


def _framework(agent: Any, settings: Settings) -> Agent | None:
    """An agent of a framework, adapted; known by where its class comes from."""
    packages = {kind.__module__.partition(".")[0] for kind in type(agent).__mro__}
    limits = _told(settings)
    if "pydantic_ai" in packages:
        from sessile.agents.pydantic_ai import PydanticAIAgent

        return PydanticAIAgent(agent, limits)
    if "langgraph" in packages:
        from sessile.agents.langgraph import LangGraphAgent

        return LangGraphAgent(agent.compile() if hasattr(agent, "compile") else agent, limits)
    return None


def _opencode(url: str, settings: Settings) -> Agent:
    if url and not url.startswith(("http://", "https://")):
        raise SettingsError(
            f"the agent opencode needs a URL such as opencode:http://127.0.0.1:4096, not {url}"
        )
    from sessile.agents.opencode.agent import OpenCodeAgent

    return OpenCodeAgent(
        url or None,
        settings.opencode_command,
        os.environ.get("OPENCODE_SERVER_PASSWORD", ""),
        _directory(settings),
        _told(settings),
        settings.retry_timeout,
    )


def _acp(command: str, settings: Settings) -> Agent:
    try:
        from sessile.agents.acp.agent import ACPAgent
    except ImportError as error:
        raise _missing(f"acp:{command}", "acp", error) from error
    return ACPAgent(command, _directory(settings), _told(settings))


def _told(settings: Settings) -> Told:
    return Told(settings.history_messages, settings.history_characters)


def _directory(settings: Settings) -> Path:
    folder = Path(settings.directory)
    if not folder.is_dir():
        raise SettingsError(f"--directory {settings.directory} is not a folder")
    return folder


def _missing(agent: str, extra: str, error: ImportError) -> SettingsError:
    return SettingsError(
        f"the agent {agent} needs more packages: pip install 'sessile[{extra}]' ({error})"
    )


def _openai(model: str, settings: Settings) -> Agent:
    if not model:
        raise SettingsError("the agent openai needs a model: openai:MODEL")
    try:
        from sessile.agents.openai import OpenAIAgent
    except ImportError as error:
        raise _missing(f"openai:{model}", "openai", error) from error
    return OpenAIAgent(
        model,
        settings.system_prompt,
        settings.history_messages,
        settings.history_characters,
    )


def _imported(module: str, name: str, spec: str) -> Any:
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(f"cannot import the agent {spec}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise SettingsError(f"cannot find the agent {spec}: {module} has no {name}")
        found = getattr(found, part)
    if isinstance(found, str):
        raise SettingsError(f"{spec} is a text, not an agent")
    return found
