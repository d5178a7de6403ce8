"""All settings: one table for flags, environment variables and documentation."""

import os
from collections.abc import Container, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypedDict, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec import inspect as types

from sessile.wire.errors import SettingsError

_MIB = 1024 * 1024

CrashPolicy: TypeAlias = Literal["continue", "mark", "retry"]
ApprovalPolicy: TypeAlias = Literal["ask", "allow", "deny"]
LocalUsers: TypeAlias = Literal["user", "any"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]


class _Default(str):
    """A default that differs from the same value as a setting."""


DEFAULT_STORE = _Default("sqlite:///sessile.db")


def _meta(
    help: str, metavar: str = "", least: float | None = None, most: float | None = None
) -> Meta:
    return Meta(description=help, extra={"metavar": metavar}, ge=least, le=most)


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of a server.

    Every field is a flag of ``sessile serve`` and an environment variable, ``SESSILE_`` and the
    field's name. A flag takes precedence. In the environment, commas separate the items of a list.
    A value of another type or outside its bounds raises
    :class:`~sessile.wire.errors.SettingsError`.
    """

    host: Annotated[str, _meta("the address to listen on", "ADDRESS")] = "127.0.0.1"
    port: Annotated[int, _meta("the port to listen on; 0 picks a free port", "PORT", 0, 65535)] = (
        8787
    )
    store: Annotated[str, _meta("where sessions are stored", "URL")] = DEFAULT_STORE
    bus: Annotated[str, _meta("what carries events between nodes", "URL")] = "memory://"
    agent: Annotated[
        str,
        _meta(
            "the agent that answers: echo, openai:MODEL, opencode[:URL], acp:COMMAND or "
            "module:object",
            "SPEC",
        ),
    ] = "echo"
    allow_remote: Annotated[
        bool,
        _meta("listen on an address that other machines can reach, without authentication"),
    ] = False
    local: Annotated[
        LocalUsers,
        _meta("who may connect over loopback: user (the one who runs the server) or any", "WHO"),
    ] = "user"
    drain_timeout: Annotated[
        float,
        _meta("seconds for running turns to end when the server is stopped", "SECONDS", 0, 86400),
    ] = 10.0
    allow_host: Annotated[
        tuple[str, ...], _meta("a Host to accept, in addition to loopback", "HOST")
    ] = ()
    allow_origin: Annotated[
        tuple[str, ...], _meta("an Origin to accept writes from", "ORIGIN")
    ] = ()
    max_body: Annotated[
        int, _meta("the maximum size of a body or a frame", "BYTES", 1024, 1 << 30)
    ] = _MIB
    queue_limit: Annotated[
        int, _meta("the maximum number of queued messages in a session", "COUNT", 1, 1_000_000)
    ] = 100
    max_import: Annotated[
        int, _meta("the maximum size of an imported session", "BYTES", 1024, 1 << 40)
    ] = 256 * _MIB
    max_title: Annotated[
        int, _meta("the maximum length of a title; a longer one is cut", "COUNT", 10, 10_000)
    ] = 200
    max_session_metadata: Annotated[
        int, _meta("the maximum size of a session's metadata", "BYTES", 1024, 1 << 30)
    ] = 64 * 1024
    max_message_metadata: Annotated[
        int, _meta("the maximum size of a message's metadata", "BYTES", 1024, 1 << 30)
    ] = 16 * 1024
    max_parts: Annotated[
        int, _meta("the maximum number of parts in a client's message", "COUNT", 1, 100_000)
    ] = 1_000
    max_answer_parts: Annotated[
        int, _meta("the maximum number of parts in an answer", "COUNT", 1, 1_000_000)
    ] = 5_000
    max_answer: Annotated[
        int, _meta("the maximum size of an answer; a longer one is cut", "BYTES", 1024, 1 << 30)
    ] = 8 * _MIB
    max_tool_output: Annotated[
        int,
        _meta("the maximum size of a tool's output; a longer one is cut", "BYTES", 1024, 1 << 30),
    ] = _MIB
    max_head: Annotated[
        int, _meta("the maximum size of a request's head", "BYTES", 1024, 1 << 24)
    ] = 64 * 1024
    max_head_fields: Annotated[
        int, _meta("the maximum number of header fields of a request", "COUNT", 10, 10_000)
    ] = 100
    head_timeout: Annotated[
        float, _meta("seconds in which a request's head must arrive", "SECONDS", 0.1, 3600)
    ] = 10.0
    body_timeout: Annotated[
        float,
        _meta("seconds in which a body must arrive, and more if it is large", "SECONDS", 0.1, 3600),
    ] = 30.0
    body_rate: Annotated[
        int,
        _meta("how much of a body gives it one second more to arrive", "BYTES", 1, 1 << 30),
    ] = 16 * 1024
    send_timeout: Annotated[
        float,
        _meta(
            "seconds after which a client that reads nothing is disconnected", "SECONDS", 0.1, 3600
        ),
    ] = 30.0
    max_pipelined: Annotated[
        int,
        _meta("the maximum number of requests that wait in a connection", "COUNT", 1, 10_000),
    ] = 16
    max_pings: Annotated[
        int, _meta("the maximum number of pings in a WebSocket in 10 s", "COUNT", 1, 1_000_000)
    ] = 100
    max_fragments: Annotated[
        int,
        _meta("the maximum number of frames of a WebSocket message", "COUNT", 1, 1_000_000),
    ] = 256
    max_connections: Annotated[
        int,
        _meta(
            "the maximum number of connections from an address; ten times as many from loopback",
            "COUNT",
            1,
            1_000_000,
        ),
    ] = 1_000
    on_crash: Annotated[
        CrashPolicy,
        _meta(
            "what to do with an answer that a restart interrupted: continue where the agent can, "
            "mark or retry",
            "POLICY",
        ),
    ] = "continue"
    approve: Annotated[
        ApprovalPolicy,
        _meta(
            "how to answer when an agent asks for permission: ask people, allow all, or deny all",
            "POLICY",
        ),
    ] = "ask"
    approve_timeout: Annotated[
        float,
        _meta(
            "seconds after which an unanswered question of an agent expires",
            "SECONDS",
            0.001,
            366 * 86400,
        ),
    ] = 86400.0
    park_after: Annotated[
        float,
        _meta(
            "seconds that a turn waits on a question before it lets go of an agent that can continue",
            "SECONDS",
            0,
            366 * 86400,
        ),
    ] = 60.0
    system_prompt: Annotated[str, _meta("the system prompt for openai:MODEL", "TEXT")] = ""
    history_messages: Annotated[
        int,
        _meta("the maximum number of history messages for an agent", "COUNT", 0, 1_000_000),
    ] = 50
    history_characters: Annotated[
        int,
        _meta("the maximum number of history characters for an agent", "COUNT", 0, 1 << 40),
    ] = 100_000
    directory: Annotated[
        str,
        _meta(
            "the folder in which opencode and acp work; a session may use a folder inside it",
            "FOLDER",
        ),
    ] = "."
    opencode_command: Annotated[str, _meta("the command that starts OpenCode", "COMMAND")] = (
        "opencode"
    )
    agent_env: Annotated[
        tuple[str, ...],
        _meta(
            "an environment variable that the agent's process may have; NAME* is a prefix", "NAME"
        ),
    ] = ()
    allow_file_host: Annotated[
        tuple[str, ...],
        _meta(
            "a host whose addresses of files are passed on to the model; * is all public", "HOST"
        ),
    ] = ()
    retry_timeout: Annotated[
        float,
        _meta(
            "seconds for which opencode may retry when a model's provider fails",
            "SECONDS",
            0,
            86400,
        ),
    ] = 60.0
    echo_delay: Annotated[float, _meta("seconds between the words of echo", "SECONDS", 0, 3600)] = (
        0.0
    )
    log_level: Annotated[LogLevel, _meta("debug, info, warning or error", "LEVEL")] = "warning"

    def __post_init__(self) -> None:
        for setting in TABLE:
            value = getattr(self, setting.name)
            checked = _convert(setting, value, setting.flag, strict=True)
            msgspec.structs.force_setattr(self, setting.name, checked)


class SettingsFields(TypedDict, total=False):
    """The fields of :class:`Settings` except ``agent``, for editors and type checkers."""

    host: str
    port: int
    store: str
    bus: str
    allow_remote: bool
    local: LocalUsers
    drain_timeout: float
    allow_host: tuple[str, ...]
    allow_origin: tuple[str, ...]
    max_body: int
    queue_limit: int
    max_import: int
    max_title: int
    max_session_metadata: int
    max_message_metadata: int
    max_parts: int
    max_answer_parts: int
    max_answer: int
    max_tool_output: int
    max_head: int
    max_head_fields: int
    head_timeout: float
    body_timeout: float
    body_rate: int
    send_timeout: float
    max_pipelined: int
    max_pings: int
    max_fragments: int
    max_connections: int
    on_crash: CrashPolicy
    approve: ApprovalPolicy
    approve_timeout: float
    park_after: float
    system_prompt: str
    history_messages: int
    history_characters: int
    directory: str
    opencode_command: str
    agent_env: tuple[str, ...]
    allow_file_host: tuple[str, ...]
    retry_timeout: float
    echo_delay: float
    log_level: LogLevel


class Setting(NamedTuple):
    """One row of the table: ``type`` with its bounds, and what it is for."""

    name: str
    type: Any
    default: Any
    help: str
    metavar: str

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"SESSILE_{self.name.upper()}"


def _rows() -> Iterator[Setting]:
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        meta: Meta = hints[field.name].__metadata__[0]
        assert meta.description is not None
        assert meta.extra is not None
        yield Setting(
            field.name, field.type, field.default, meta.description, meta.extra["metavar"]
        )


TABLE = list(_rows())  # in the order of the documentation


def from_environment(
    environ: Mapping[str, str] | None = None, names: Container[str] | None = None
) -> dict[str, Any]:
    """The settings from the environment: all, or those with one of the ``names``.

    Raises :class:`~sessile.wire.errors.SettingsError`, which names the variable.
    """
    environ = os.environ if environ is None else environ
    return {
        setting.name: read(setting, environ[setting.variable], setting.variable)
        for setting in TABLE
        if setting.variable in environ and (names is None or setting.name in names)
    }


_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false", "": "false"}


def read(setting: Setting, text: str, name: str) -> Any:
    """A setting from text; ``name`` is what an error names."""
    value: Any = text
    if isinstance(setting.default, bool):
        value = _WORDS.get(text.lower(), text)
    elif isinstance(setting.default, tuple):
        value = [item.strip() for item in text.split(",") if item.strip()]
    return _convert(setting, value, name, strict=False)


def _convert(setting: Setting, value: Any, name: str, strict: bool) -> Any:
    try:
        return msgspec.convert(value, setting.type, strict=strict)
    except msgspec.ValidationError:
        expected = _expected(types.type_info(setting.type))
        raise SettingsError(f"{name} must be {expected}, not {value!r}") from None


def _expected(kind: types.Type) -> str:
    match kind:
        case types.Metadata(type=inner):
            return _expected(inner)
        case types.IntType(ge=least, le=most):
            return f"a whole number from {least} to {most}"
        case types.FloatType(ge=least, le=most):
            return f"a number from {least} to {most}"
        case types.BoolType():
            return "true or false"
        case types.LiteralType(values=values):
            return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
        case types.StrType():
            return "text"
    return "a list of texts"
