"""All settings: one table for flags, environment variables and documentation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from sessile.wire.errors import SettingsError


def _setting(default: Any, help: str, metavar: str = "") -> Any:
    return field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a server.

    Every field is a flag of ``sessile serve`` and an environment variable, ``SESSILE_`` and the
    field's name. A flag takes precedence. In the environment, commas separate the items of a list.
    """

    host: str = _setting("127.0.0.1", "the address to listen on", "ADDRESS")
    port: int = _setting(8787, "the port to listen on; 0 picks a free port", "PORT")
    store: str = _setting("sqlite:///sessile.db", "where sessions are stored", "URL")
    bus: str = _setting("memory://", "what carries events between nodes", "URL")
    agent: str = _setting(
        "echo",
        "the agent that answers: echo, openai:MODEL, opencode[:URL], acp:COMMAND or module:object",
        "SPEC",
    )
    allow_remote: bool = _setting(
        False, "listen on an address that other machines can reach, without authentication"
    )
    allow_host: tuple[str, ...] = _setting((), "a Host to accept, in addition to loopback", "HOST")
    allow_origin: tuple[str, ...] = _setting((), "an Origin to accept writes from", "ORIGIN")
    max_body: int = _setting(1024 * 1024, "the maximum size of a body or a frame", "BYTES")
    queue_limit: int = _setting(100, "the maximum number of queued messages in a session", "COUNT")
    max_import: int = _setting(
        256 * 1024 * 1024, "the maximum size of an imported session", "BYTES"
    )
    on_crash: str = _setting(
        "mark", "what to do with an answer that a crash interrupted: mark or retry", "POLICY"
    )
    approve: Literal["ask", "allow", "deny"] = _setting(
        "ask",
        "how to answer when an agent asks for permission: ask people, allow all, or deny all",
        "POLICY",
    )
    approve_timeout: float = _setting(
        86400.0, "seconds after which an unanswered permission request expires", "SECONDS"
    )
    system_prompt: str = _setting("", "the system prompt for openai:MODEL", "TEXT")
    history_messages: int = _setting(
        50, "the maximum number of history messages for an agent", "COUNT"
    )
    history_characters: int = _setting(
        100_000, "the maximum number of history characters for an agent", "COUNT"
    )
    directory: str = _setting(
        ".",
        "the folder in which opencode and acp work; a session may use a folder inside it",
        "FOLDER",
    )
    opencode_command: str = _setting("opencode", "the command that starts OpenCode", "COMMAND")
    retry_timeout: float = _setting(
        60.0, "seconds for which opencode may retry when a model's provider fails", "SECONDS"
    )
    echo_delay: float = _setting(0.0, "seconds between the words of echo", "SECONDS")
    log_level: str = _setting("warning", "debug, info, warning or error", "LEVEL")

    def __post_init__(self) -> None:
        for name, least, most in (
            ("port", 0, 65535),
            ("max_body", 1024, 1 << 30),
            ("max_import", 1024, 1 << 40),
            ("queue_limit", 1, 1_000_000),
            ("history_messages", 0, 1_000_000),
            ("history_characters", 0, 1 << 40),
            ("echo_delay", 0, 3600),
            ("retry_timeout", 0, 86400),
            ("approve_timeout", 0.001, 366 * 86400),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                flag = name.replace("_", "-")
                raise SettingsError(f"--{flag} must be from {least} to {most}, not {value}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError(
                f"--log-level must be debug, info, warning or error, not {self.log_level}"
            )
        if self.approve not in ("ask", "allow", "deny"):
            raise SettingsError(f"--approve must be ask, allow or deny, not {self.approve}")
        if self.on_crash not in ("mark", "retry"):
            raise SettingsError(f"--on-crash must be mark or retry, not {self.on_crash}")


class SettingsFields(TypedDict, total=False):
    """The fields of :class:`Settings` except ``agent``, for editors and type checkers."""

    host: str
    port: int
    store: str
    bus: str
    allow_remote: bool
    allow_host: tuple[str, ...]
    allow_origin: tuple[str, ...]
    max_body: int
    queue_limit: int
    max_import: int
    on_crash: str
    approve: Literal["ask", "allow", "deny"]
    approve_timeout: float
    system_prompt: str
    history_messages: int
    history_characters: int
    directory: str
    opencode_command: str
    retry_timeout: float
    echo_delay: float
    log_level: str


def environment_name(name: str) -> str:
    return f"SESSILE_{name.upper()}"


def from_environment(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The settings from the environment.

    Raises :class:`~sessile.wire.errors.SettingsError`, which names the variable.
    """
    environ = os.environ if environ is None else environ
    found: dict[str, Any] = {}
    for setting in fields(Settings):
        name = environment_name(setting.name)
        if name in environ:
            found[setting.name] = read(setting.default, environ[name], name)
    return found


def read(default: Any, text: str, name: str) -> Any:
    """Convert text to the type of the setting's default."""
    if isinstance(default, bool):
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
        raise SettingsError(f"{name} must be true or false, not {text!r}")
    if isinstance(default, tuple):
        return _list(text.split(","))
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError:
            kind = "a whole number" if isinstance(default, int) else "a number"
            raise SettingsError(f"{name} must be {kind}, not {text!r}") from None
    return text


def _list(items: Sequence[str]) -> tuple[str, ...]:
    return tuple(item.strip() for item in items if item.strip())
