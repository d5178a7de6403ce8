"""The environment of an agent's process: what it needs to run, without the server's secrets.

A model that runs commands through its agent can read this environment.
"""

import logging
import re
from collections.abc import Iterable, Mapping

from sessile.wire.errors import SettingsError

log = logging.getLogger(__name__)

# A name that ends in * is a prefix. What any process needs:
_SYSTEM = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "TMPDIR", "TMP", "TEMP", "XDG_*"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
)
# The way to a model's provider:
_NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
)
# The languages that agents are written in. Settings of npm may be tokens, so only two of them.
_RUNTIMES = (
    *("NODE_PATH", "NODE_OPTIONS", "NVM_DIR", "NVM_BIN", "FNM_DIR", "VOLTA_HOME", "BUN_INSTALL"),
    *("NPM_CONFIG_PREFIX", "NPM_CONFIG_CACHE", "npm_config_prefix", "npm_config_cache"),
    *("PNPM_HOME", "PYENV_ROOT"),
)
# The agents' own settings:
AGENTS = ("OPENCODE_*", "GEMINI_*", "CLAUDE_*", "CODEX_*")
# The keys and addresses of models' providers (docs/agents.md lists them):
PROVIDERS = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL"),
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    *("GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
    *("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "AZURE_API_KEY", "AZURE_RESOURCE_NAME"),
    *("CEREBRAS_API_KEY", "COHERE_API_KEY", "DEEPSEEK_API_KEY", "FIREWORKS_API_KEY"),
    *("GROQ_API_KEY", "MISTRAL_API_KEY", "MOONSHOT_API_KEY", "OPENROUTER_API_KEY"),
    *("PERPLEXITY_API_KEY", "TOGETHER_API_KEY", "XAI_API_KEY", "ZAI_API_KEY"),
)
ALLOWED = _SYSTEM + _NETWORK + _RUNTIMES + AGENTS + PROVIDERS

_OURS = "SESSILE_"  # never passed on, whatever the settings say
_NAME = re.compile(r"[A-Za-z_]\w*\*?|\*", re.ASCII)


def check_names(names: Iterable[str]) -> None:
    """Raises :class:`~sessile.wire.errors.SettingsError` for a name that ``--agent-env`` cannot have."""
    for name in names:
        if not _NAME.fullmatch(name):
            shown = name.partition("=")[0]
            raise SettingsError(
                f"--agent-env {shown} is not valid; use the name of an environment variable without "
                "its value, or the beginning of names and *"
            )
        if name.startswith(_OURS):
            raise SettingsError(
                f"--agent-env {name} is not valid; variables that begin with {_OURS} are the server's "
                "own and are never passed on"
            )


def agent_environment(environ: Mapping[str, str], names: Iterable[str] = ()) -> dict[str, str]:
    """The part of ``environ`` that an agent's process gets: ``ALLOWED`` names, and ``names``."""
    wanted = {*ALLOWED, *names}
    prefixes = tuple(name[:-1] for name in wanted if name.endswith("*"))
    passed = {
        name: value
        for name, value in environ.items()
        if (name in wanted or name.startswith(prefixes)) and not name.startswith(_OURS)
    }
    log.info("the agent's process gets the environment variables %s", ", ".join(sorted(passed)))
    return passed
