"""Takes the pictures of the documentation: real programs, on a real terminal.

python -m tests.pictures
"""

import asyncio
import io
import re
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests import real
from tests.fake_models import FakeModels, Step, served
from tests.serving import Process
from tests.test_terminal import Terminal, chat

DOCS = Path(__file__).parent.parent / "docs"

QUESTION = "What is in this folder?"
ANSWER = [
    Step("think", "They want to know what is here."),
    Step("say", "Let me look."),
    Step("call", "bash", '{"command":"ls","description":"List files"}'),
    Step(
        "say",
        "There are **two files**:\n\n1. `README.md`, which says what this is\n2. `poem.py`, which "
        "begins\n\n```python\ndef poem(lines: int = 12) -> str:\n    return verse(lines)\n```\n\n"
        "Shall I write the rest of it?",
    ),
]


async def terminal(folder: Path) -> None:
    """``sessile chat`` with OpenCode, as docs/terminal.svg."""
    work = folder / "work"
    work.mkdir()
    for name in ("README.md", "poem.py"):
        (work / name).touch()
    with served(FakeModels({QUESTION: ANSWER})) as url:
        environment = real.opencode_environment(folder / "home", url)
        flags = ("--agent", "opencode", "--opencode-command", str(real.OPENCODE))
        with Process(folder, *flags, "--directory", str(work), **environment) as server:
            screen = Terminal(folder)
            screen.run(*chat(server, "poems"))
            await screen.shows("›$")
            screen.type(QUESTION)
            await screen.shows(r"rest of it\?\n+›$")
            shown = screen.picture()
            screen.end()
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown.rstrip()))
    svg = console.export_svg(title="sessile chat poems")
    # Its fonts would come from somebody else's server.
    (DOCS / "terminal.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


def main() -> None:
    real.install()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(terminal(Path(folder)))


if __name__ == "__main__":
    main()
