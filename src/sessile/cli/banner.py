"""What ``sessile serve`` prints when it has started."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from socket import socket

from sessile.http.web import is_built
from sessile.server import Sessile
from sessile.wire.hosts import is_loopback

# Where providers speak the OpenAI protocol, by the usual names of their keys.
_PROVIDERS = {
    "ANTHROPIC_API_KEY": "https://api.anthropic.com/v1",
    "GEMINI_API_KEY": "https://generativelanguage.googleapis.com/v1beta/openai",
    "GOOGLE_API_KEY": "https://generativelanguage.googleapis.com/v1beta/openai",
    "OPENROUTER_API_KEY": "https://openrouter.ai/api/v1",
    "GROQ_API_KEY": "https://api.groq.com/openai/v1",
    "MISTRAL_API_KEY": "https://api.mistral.ai/v1",
    "DEEPSEEK_API_KEY": "https://api.deepseek.com",
    "TOGETHER_API_KEY": "https://api.together.xyz/v1",
    "XAI_API_KEY": "https://api.x.ai/v1",
}
_OLLAMA = "OPENAI_BASE_URL=http://127.0.0.1:11434/v1"


def banner(app: Sessile, listeners: Sequence[socket], environ: Mapping[str, str]) -> str:
    """The address, the store and the agent, a line each, and what a new user has to know."""
    addresses = [listener.getsockname()[:2] for listener in listeners]
    shown = [
        f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for host, port in addresses
    ]
    lines = [
        f"Sessile {version('sessile')} on {' and '.join(shown)}",
        f"  store  {app.store.name}",
        f"  agent  {app.agent.name}",
    ]
    if not is_built():
        lines.insert(1, "  web    not built; run `uv run just web` in a clone to build it")
    if not all(is_loopback(host) for host, _ in addresses):
        lines.append(
            "  no authentication: everybody who can reach this address can read and write all sessions"
        )
    if app.settings.agent == "echo" == app.agent.name:
        lines.append(
            f"  echo repeats your text; {_to_a_model(environ)}, or --agent module:function"
        )
    return "\n".join(lines)


def _to_a_model(environ: Mapping[str, str]) -> str:
    """How to put a model behind the server, with the keys that are there; none of them is shown."""
    if environ.get("OPENAI_API_KEY"):
        return f"OPENAI_API_KEY is set: add --agent openai:MODEL (for Ollama also {_OLLAMA})"
    if environ.get("OPENAI_BASE_URL"):
        return (
            "OPENAI_BASE_URL is set: add --agent openai:MODEL (and OPENAI_API_KEY if it needs one)"
        )
    for name, url in _PROVIDERS.items():
        if environ.get(name):
            return (
                f"{name} is set: for its models set OPENAI_API_KEY to it and OPENAI_BASE_URL={url}, "
                "and add --agent openai:MODEL"
            )
    return f"for a model set OPENAI_API_KEY (for Ollama {_OLLAMA}) and add --agent openai:MODEL"
