"""Creates adapters from their names; no other module names an adapter."""

import contextlib
import hashlib
import importlib
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import msgspec

from sessile.agents.base import Agent, Turn
from sessile.agents.echo import EchoAgent
from sessile.agents.function import FunctionAgent
from sessile.agents.kit.conversation import HistoryLimits
from sessile.agents.kit.environment import check_names
from sessile.agents.kit.files import FileHosts
from sessile.bus.base import Bus
from sessile.bus.memory import MemoryBus
from sessile.redact import without_password
from sessile.settings import DEFAULT_STORE, Settings
from sessile.store.base import Checked, Finding, Store
from sessile.store.reading import SMALL, is_own, read_apart, read_here
from sessile.store.sqlite.backup import back_up
from sessile.store.sqlite.check import check
from sessile.store.sqlite.examine import examine
from sessile.store.sqlite.file import write_file
from sessile.store.sqlite.store import SQLiteStore
from sessile.wire.errors import SettingsError
from sessile.wire.messages import ReadPiece

__all__ = [
    "agent_of",
    "back_up_store",
    "bus_of",
    "check_store",
    "examine_store",
    "keep_apart",
    "program_of",
    "read_export",
    "store_of",
    "write_file",
]


def store_of(settings: Settings) -> Store:
    """The store that the settings name; raises :class:`~sessile.wire.errors.SettingsError`."""
    return SQLiteStore(_file_of(settings.store))


def check_store(url: str, report: Callable[[str], None]) -> Checked:
    """Check the store at a URL (:func:`sessile.store.sqlite.check.check`)."""
    return check(_file_of(url), report)


def back_up_store(url: str, to: Path, report: Callable[[str], None]) -> Checked:
    """Copy the store at a URL (:func:`sessile.store.sqlite.backup.back_up`)."""
    return back_up(_file_of(url), to, report)


def examine_store(url: str) -> Iterator[Finding]:
    """What a server would find where the store at a URL is
    (:func:`sessile.store.sqlite.examine.examine`)."""
    return examine(_file_of(url))


def _file_of(url: str) -> str:
    path = _database(url)
    if path is None:
        raise SettingsError(
            f"unknown store {without_password(url)}; "
            "use sqlite:///FILE (four slashes for an absolute path)"
        )
    if ":memory:" in path or path.startswith("file:"):
        raise SettingsError(
            "a store in memory would keep nothing; use sqlite:///FILE, in tests in a temporary folder"
        )
    return path


def _database(url: str) -> str | None:
    """The file of an embedded store."""
    scheme, _, path = url.partition(":///")
    return unquote(path) if scheme == "sqlite" and path else None


def bus_of(settings: Settings) -> Bus:
    """The bus that the settings name; raises :class:`~sessile.wire.errors.SettingsError`."""
    if settings.bus in ("memory:", "memory://"):
        return MemoryBus()
    raise SettingsError(f"unknown bus {without_password(settings.bus)}; use memory://")


def keep_apart(settings: Settings, agent: Agent) -> Settings:
    """The settings with a store that the agent cannot read and destroy with its tools.

    The default store of an agent that works in a folder is not in that folder but among the user's
    data. Raises :class:`~sessile.wire.errors.SettingsError` for another store inside it.
    """
    folder: Path | None = getattr(agent, "folder", None)
    path = _database(settings.store)
    if folder is None or path is None or not _is_inside(Path(path), folder):
        return settings
    if settings.store is DEFAULT_STORE and not Path(path).exists():
        place = _among_the_users_data(folder)
        if place is not None and not _is_inside(place, folder):
            return msgspec.structs.replace(settings, store=f"sqlite:///{quote(str(place))}")
    raise SettingsError(
        f"the store {path} is inside the folder in which the agent works ({folder}), "
        "so the agent could read and delete it; use --directory FOLDER for another folder, or "
        "--store sqlite:////FOLDER/sessile.db for a store outside it"
    )


def _among_the_users_data(folder: Path) -> Path | None:
    """The store for a folder: of its name, and a digest of its whole path."""
    try:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        place = data / "sessile"
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    digest = hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:8]
    return place / f"{folder.name or 'root'}-{digest}.db"


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a file, or the target of its link, is in a folder, also under the folder's other names."""
    for where in (path.absolute().parent.resolve(), path.resolve().parent):
        for above in (where, *where.parents):
            if above == folder or (above.exists() and above.samefile(folder)):
                return True
    return False


SQLITE_MAGIC = b"SQLite format 3\0"


def read_export(file: IO[bytes], largest: int, unpacked: int) -> AsyncGenerator[ReadPiece, None]:
    """Read an export, of a session in JSON or as a SQLite file, or of another chat; if it may harm,
    in a child process.

    ``largest`` is how many bytes a message may have, ``unpacked`` how many a compressed file may
    contain. Raises :class:`~sessile.wire.errors.InvalidRequest`.
    """
    start = os.pread(file.fileno(), SMALL + 1, 0)
    if start.startswith(SQLITE_MAGIC):
        return read_apart(file, "sessile.store.sqlite.imported", largest)
    if len(start) <= SMALL and is_own(start):
        return read_here(start)
    return read_apart(file, "sessile.store.reading", largest, str(unpacked))


def agent_of(agent: Agent | Callable[[Turn], Any] | str, settings: Settings) -> Agent:
    """Make an agent of the argument; raises :class:`~sessile.wire.errors.SettingsError`."""
    if isinstance(agent, str):
        return _agent_by_name(agent, settings)
    if isinstance(agent, Agent):
        return agent
    if (adapted := _framework(agent, settings)) is not None:
        return adapted
    if callable(agent):
        return FunctionAgent(agent)
    raise SettingsError(
        f"{agent!r} is not an agent; use `async def reply(turn)`, a PydanticAI agent or a "
        "LangGraph graph"
    )


def program_of(settings: Settings) -> str | None:
    """The program that the agent of these settings starts; None if it starts none."""
    kind, _, rest = settings.agent.partition(":")
    if settings.agent == "opencode":
        return settings.opencode_command
    if kind == "acp":
        with contextlib.suppress(ValueError):
            return next(iter(shlex.split(rest)), None)
    return None


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
        return agent_of(_imported(kind, rest, spec), settings)
    raise SettingsError(
        f"unknown agent {spec!r}; "
        "use echo, openai:MODEL, opencode[:URL], acp:COMMAND or module:object"
    )


def _framework(agent: Any, settings: Settings) -> Agent | None:
    """Adapt an agent of a framework, recognized by the package of its class."""
    packages = {kind.__module__.partition(".")[0] for kind in type(agent).__mro__}
    limits, files = _history_limits(settings), FileHosts(settings.allow_file_host)
    if "pydantic_ai" in packages:
        from sessile.agents.pydantic_ai import PydanticAIAgent

        return PydanticAIAgent(agent, limits, files)
    if "langgraph" in packages:
        from sessile.agents.langgraph.agent import LangGraphAgent

        return LangGraphAgent(
            agent.compile() if hasattr(agent, "compile") else agent, limits, files
        )
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
        _history_limits(settings),
        settings.retry_timeout,
        _passed(settings),
        FileHosts(settings.allow_file_host),
    )


def _acp(command: str, settings: Settings) -> Agent:
    try:
        from sessile.agents.acp.agent import ACPAgent
    except ImportError as error:
        raise _missing(f"acp:{command}", "acp", error) from error
    return ACPAgent(
        command,
        _directory(settings),
        _history_limits(settings),
        _passed(settings),
        FileHosts(settings.allow_file_host),
    )


def _history_limits(settings: Settings) -> HistoryLimits:
    return HistoryLimits(settings.history_messages, settings.history_characters)


def _directory(settings: Settings) -> Path:
    folder = Path(settings.directory)
    if not folder.is_dir():
        raise SettingsError(f"--directory {settings.directory} does not exist or is not a folder")
    return folder


def _passed(settings: Settings) -> tuple[str, ...]:
    check_names(settings.agent_env)
    return settings.agent_env


def _missing(agent: str, extra: str, error: ImportError) -> SettingsError:
    return SettingsError(
        f"the agent {agent} needs additional packages: pip install 'sessile[{extra}]' ({error})"
    )


def _openai(model: str, settings: Settings) -> Agent:
    if not model:
        raise SettingsError("the agent openai needs a model; use openai:MODEL")
    try:
        from sessile.agents.openai.agent import OpenAIAgent
    except ImportError as error:
        raise _missing(f"openai:{model}", "openai", error) from error
    return OpenAIAgent(
        model,
        settings.system_prompt,
        settings.history_messages,
        settings.history_characters,
        files=FileHosts(settings.allow_file_host),
    )


def _imported(module: str, name: str, spec: str) -> Any:
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(f"cannot import the agent {spec}: {error}") from error
    except SystemExit as error:
        raise SettingsError(
            f"the module {module} of the agent {spec} ended the program when it was imported "
            '(sys.exit); put what runs it under `if __name__ == "__main__":`'
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise SettingsError(f"cannot find the agent {spec}: the module {module} has no {name}")
        found = getattr(found, part)
    if isinstance(found, str):
        raise SettingsError(f"{spec} is a string, not an agent")
    return found
