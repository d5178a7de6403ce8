"""Google's ADK server with an agent that echoes, and its SQLite sessions."""

from pathlib import Path

from common import serve
from google.adk.cli.fast_api import get_fast_api_app

AGENT = """
from google.adk.agents import BaseAgent
from google.adk.events import Event
from google.genai.types import Content, Part

from common import words


class Echo(BaseAgent):
    async def _run_async_impl(self, ctx):
        text = ctx.user_content.parts[0].text
        for word in words(text):
            content = Content(role="model", parts=[Part(text=word)])
            yield Event(author=self.name, content=content, partial=True)
        yield Event(author=self.name, content=Content(role="model", parts=[Part(text=text)]))


root_agent = Echo(name="echo")
"""

folder = Path("agents/echo")
folder.mkdir(parents=True)
(folder / "__init__.py").write_text("from . import agent\n")
(folder / "agent.py").write_text(AGENT)
serve(
    get_fast_api_app(
        agents_dir="agents",
        session_service_uri="sqlite+aiosqlite:///adk.db",
        auto_create_session=True,
        web=False,
    )
)
