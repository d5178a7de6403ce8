"""The settings of a command: from its flags, and from the environment."""

from typing import Any

from sessile.settings import TABLE, Settings, from_environment, read
from sessile.wire.errors import SettingsError


def settings_of(given: dict[str, Any]) -> Settings:
    """The settings of ``sessile serve`` with these arguments."""
    return Settings(**(from_environment() | flags_of(given)))


def store_of(given: dict[str, Any]) -> str:
    """The URL of the store, for a command that has no other setting."""
    (setting,) = [setting for setting in TABLE if setting.name == "store"]
    return str(given.get("store", from_environment(names={"store"}).get("store", setting.default)))


def flags_of(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that are given as arguments."""
    flags = dict(given)
    app = flags.pop("app", None)
    if app is not None:
        if "agent" in flags:
            raise SettingsError(f"use either {app} or --agent {flags['agent']}, not both")
        flags["agent"] = app
    for setting in TABLE:
        if isinstance(text := flags.get(setting.name), str):
            flags[setting.name] = read(setting, text, setting.flag)
    return flags
