"""``sessile doctor``: what would go wrong with a server that has these settings."""

import errno
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from sessile.agents.base import Agent
from sessile.cli.given import flags_of, settings_of
from sessile.cli.listening import bound, refuse_remote
from sessile.cli.plain import clean
from sessile.http.web import is_built
from sessile.redact import without_password
from sessile.settings import TABLE, Settings
from sessile.store.base import Finding
from sessile.wire.errors import SettingsError
from sessile.wiring import (
    agent_of,
    bus_of,
    examine_store,
    keep_apart,
    program_of,
)

FEW = 4096  # open files; each client is one
YEARS = range(2025, 2100)
SECRETS = ("OPENAI_API_KEY", "OPENCODE_SERVER_PASSWORD")
OTHERS = {"SESSILE_SERVER", "SESSILE_BUILD"}  # variables that are not a server's


def doctor(given: dict[str, Any]) -> int:
    """Print what was found, a line each; return 1 if there is a problem."""
    sys.dont_write_bytecode = True  # an agent of the user's is imported
    level = "ok"
    for finding in _findings(given):
        print(f"{finding.level:<8} {clean(finding.text)}", flush=True)
        if finding.level == "problem":
            level = "problem"
    return 1 if level == "problem" else 0


def _findings(given: dict[str, Any]) -> Iterator[Finding]:
    yield Finding("ok", f"Sessile {version('sessile')}, Python {platform.python_version()}")
    try:
        settings = settings_of(given)
    except SettingsError as error:
        yield Finding("problem", str(error))
        return
    yield from _of_settings(settings, set(flags_of(given)))
    yield from _refused(lambda: bus_of(settings))
    yield from _of_address(settings)
    yield _of_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield of_clock(time.time())
    yield from _of_agent_and_store(settings)
    if is_built():
        yield Finding("ok", "the web client is built")
    else:
        yield Finding(
            "warning", "the web client is not built; run `uv run just web` in a clone to build it"
        )


def _refused(attempt: Callable[[], object]) -> Iterator[Finding]:
    """The problem that an attempt shows, if it does."""
    try:
        attempt()
    except SettingsError as error:
        yield Finding("problem", str(error))


# Settings -----------------------------------------------------------------------------------------


def _of_settings(settings: Settings, flags: set[str]) -> Iterator[Finding]:
    for setting in TABLE:
        value = getattr(settings, setting.name)
        if value != setting.default:
            source = setting.flag if setting.name in flags else setting.variable
            yield Finding("ok", f"{setting.name} is {_shown(setting.name, value)} (from {source})")
    for name in SECRETS:
        if os.environ.get(name):
            yield Finding("ok", f"{name} is set")
    known = {setting.variable for setting in TABLE} | OTHERS
    for name in sorted(os.environ):
        if name.startswith("SESSILE_") and name not in known:
            yield Finding("warning", f"the variable {name} is not a setting, and has no effect")


def _shown(name: str, value: Any) -> str:
    """A setting's value without what may be a secret: passwords, and the arguments of commands."""
    if isinstance(value, tuple):
        return ", ".join(value)
    text = str(value)
    if name == "system_prompt":
        return f"a text of {len(text):,} characters"
    if name == "agent" and text.startswith("acp:"):
        command, *arguments = text.split(maxsplit=1)
        return f"{command} …" if arguments else command
    if name == "agent":
        kind, _, url = text.partition(":")
        return f"{kind}:{without_password(url)}" if url else kind
    return without_password(text)


# The machine --------------------------------------------------------------------------------------


def _of_address(settings: Settings) -> Iterator[Finding]:
    yield from _refused(lambda: refuse_remote(settings, settings.host))
    if settings.allow_remote:
        yield Finding(
            "warning",
            "there is no authentication: everybody who can reach the address can read and write "
            "all sessions",
        )
    where = f"{settings.host}:{settings.port}"
    try:
        bound(settings).close()
    except SettingsError as error:
        in_use = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        yield Finding("warning" if in_use else "problem", str(error))
    else:
        yield Finding("ok", f"{where} is free")


def _of_files(most: int) -> Finding:
    if most == resource.RLIM_INFINITY or most >= FEW:
        return Finding("ok", "the limit of open files is high enough")
    return Finding(
        "warning", f"the limit of open files is {most}, and each client needs one; raise it"
    )


def of_clock(now: float) -> Finding:
    """Whether the time can be right."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now))
    if time.gmtime(now).tm_year not in YEARS:
        return Finding("problem", f"the clock is wrong: it shows {shown}")
    return Finding("ok", f"the clock shows {shown}")


def _of_agent_and_store(settings: Settings) -> Iterator[Finding]:
    try:
        agent = agent_of(settings.agent, settings)
        settings = keep_apart(settings, agent)
    except SettingsError as error:
        yield Finding("problem", str(error))
    except Exception as error:  # of a module of the user's
        yield Finding("problem", f"the agent failed: {type(error).__name__}: {error}")
    else:
        yield _of_agent(agent, settings)
    try:
        yield from examine_store(settings.store)
    except SettingsError as error:
        yield Finding("problem", str(error))


def _of_agent(agent: Agent, settings: Settings) -> Finding:
    program = program_of(settings)
    if program is None:
        return Finding("ok", f"the agent is {_shown('agent', agent.name)}")
    if found := shutil.which(program):
        return Finding("ok", f"the agent's command is {found}")
    return Finding(
        "problem",
        f"the agent's command {program} is not on the PATH; install it, or give its path",
    )
