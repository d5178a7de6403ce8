"""A session on a terminal: Markdown as it arrives, and tools as lines."""

import re
import sys
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from sessile.cli.plain import clean

LINES = 12  # of a tool's output that are shown
_FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)
_MARKS = {"complete": ("✓", "green"), "error": ("✗", "red")}


class Screen:
    """Shows messages, and answers as they arrive; plain text if the output is not a terminal."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._rich = self.console.is_terminal
        self._live: Live | None = None
        self._part = -1
        self._kind = ""
        self._rest = ""  # text that may still change on the screen
        self._states: dict[str, str] = {}
        self._lengths: dict[int, int] = {}  # of the parts of the answer, in characters
        self._after_lines = False  # the last lines are a tool's, without a blank line after them
        self._at_line_start = True

    def note(self, text: str) -> None:
        """Print a note that is not part of the session."""
        self.settle()
        if self._rich:
            self.console.print(Text(clean(text), style="dim"))
        else:
            print(clean(text), file=sys.stderr)

    def message(self, message: dict[str, Any]) -> None:
        """A whole message of the history."""
        self.settle()
        if message["role"] == "user":
            self.console.print(Text(f"› {clean(message['content'])}", style="bold"))
        else:
            for index, part in enumerate(message["parts"]):
                self.part(index, part)
        self.end(message)

    def event(self, event: dict[str, Any]) -> None:
        """What an event of a turn changes."""
        kind = event["type"]
        if kind == "delta":
            self.delta(event)
        elif kind == "part":
            self.part(event["index"], event["part"])
        elif kind == "assistant" and event["status"] == "streaming":
            self._stands(event["parts"])
        elif kind == "assistant":
            self.end(event)
        elif kind == "status":
            self._status(event)

    def delta(self, event: dict[str, Any]) -> None:
        """Show more of an answer's text or reasoning."""
        if (event["part"], event["kind"]) != (self._part, self._kind):
            self.settle()
            self._part, self._kind = event["part"], event["kind"]
        self._write(event["text"])
        self._lengths[event["part"]] = event["offset"] + len(event["text"])

    def _stands(self, parts: list[dict[str, Any]]) -> None:
        """Show what an answer has so far and is not on the screen."""
        for index, part in enumerate(parts):
            known = self._lengths.get(index, 0)
            if part["type"] in ("text", "reasoning"):
                if rest := part["content"][known:]:
                    self.delta({"part": index, "kind": part["type"], "offset": known, "text": rest})
            elif part["type"] == "tool-call" or not known:
                self.part(index, part)
        if not parts:  # it is written again from its beginning
            self._lengths, self._states = {}, {}

    def _status(self, event: dict[str, Any]) -> None:
        if event["status"] == "queued":
            self.note(f"queued, position {event['position']}")
        elif event.get("continued"):
            self.note("The server was restarted; the answer is continued.")

    def part(self, index: int, part: dict[str, Any]) -> None:
        """Show a whole part, or a tool call in its present state."""
        kind = part["type"]
        self._lengths[index] = len(part.get("content", " "))
        if kind in ("text", "reasoning"):
            self.settle()
            self._part, self._kind = index, kind
            self._write(part["content"])
            self.settle()
        elif kind == "tool-call":
            self._tool(part)
        elif kind == "data" and part["name"] == "plan":
            self.settle()
            for step in part["data"]:
                done = "x" if step.get("status") == "completed" else " "
                self.line(f"[{done}] {step.get('content', '')}", "cyan")
        elif kind in ("file", "source"):
            self.settle()
            self.line(f"{part.get('filename') or part.get('title') or kind}: {part['url'][:200]}")

    def end(self, message: dict[str, Any]) -> None:
        """The answer has ended: show how, unless it is complete."""
        self.settle()
        self._states, self._lengths = {}, {}
        if message["status"] not in ("complete", "queued", "streaming"):
            error = message.get("metadata", {}).get("error", {}).get("error", "")
            self.line(f"[{message['status']}{f': {error}' if error else ''}]", "red")

    def settle(self) -> None:
        """Finish the present output; it no longer changes."""
        rest, self._rest = self._rest, ""
        self._stop_live()
        if rest.strip() and self._rich:
            self._print(rest)
        elif not self._rich and not self._at_line_start:
            print(flush=True)
            self._at_line_start = True
        self._part = -1

    # Text ---------------------------------------------------------------------------------------

    def _write(self, text: str) -> None:
        text = clean(text)
        if not self._rich:
            if self._kind == "text":
                print(text, end="", flush=True)
                self._at_line_start = text.endswith("\n") if text else self._at_line_start
            return
        self._rest += text
        settled = _settled(self._rest)
        if settled:
            self._stop_live()
            self._print(self._rest[:settled])
            self._rest = self._rest[settled:]
        if self._live is None:
            # Text that does not fit is not shown until its paragraph is whole.
            self._live = Live(console=self.console, transient=True, refresh_per_second=12)
            self._live.start()
        self._live.update(self._shown(self._rest))

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, text: str) -> None:
        if not text.strip():
            return
        with self.console.capture() as shown:
            self.console.print(self._shown(text))
        # Rich puts blank lines around some Markdown elements only.
        gap = "\n" if self._after_lines else ""
        self.console.file.write(gap + shown.get().strip("\n") + "\n\n")
        self.console.file.flush()
        self._after_lines = False

    def _shown(self, text: str) -> Any:
        if self._kind == "reasoning":
            return Padding(Text(text.strip(), style="dim italic"), (0, 0, 0, 2))
        return Markdown(text.strip("\n"), hyperlinks=False)

    # Tools --------------------------------------------------------------------------------------

    def _tool(self, call: dict[str, Any]) -> None:
        id, state = call["toolCallId"], call["state"]
        known = self._states.get(id)
        self._states[id] = state
        if state == known or (state == "pending" and not call["toolInput"]):
            return
        self.settle()
        if known not in ("running", "named"):
            self.line(f"⚙ {call['toolName']} {_input(call['toolInput'])}", "yellow")
        if state == "pending":
            self._states[id] = "named"
        if state in _MARKS:
            mark, style = _MARKS[state]
            output = call.get("error") if state == "error" else call.get("toolOutput", "")
            self.line(f"  {mark} {_output(output)}", style)

    def line(self, text: str, style: str = "") -> None:
        """Print a line that is not text of the answer."""
        text = clean(text)
        if self._rich:
            self.console.print(Text(text, style=style))
            self._after_lines = True
        else:
            print(text, flush=True)


def _settled(text: str) -> int:
    """The length of the text that no later text can change: whole paragraphs and code blocks."""
    end = text.rfind("\n\n")
    while end > 0:
        if len(_FENCE.findall(text[:end])) % 2 == 0:
            return end + 2
        end = text.rfind("\n\n", 0, end)
    return 0


def _input(value: Any) -> str:
    if isinstance(value, dict):
        named = ", ".join(f"{name}: {item}" for name, item in value.items())
        text = str(value["command"]) if "command" in value else named
    else:
        text = str(value)
    first, _, more = text.partition("\n")
    return first[:160] + (" …" if more or len(first) > 160 else "")


def _output(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    lines = text.rstrip().splitlines() or [""]
    shown = [line[:200] for line in lines[:LINES]]
    if len(lines) > LINES:
        shown.append(f"… {len(lines) - LINES} more lines")
    return "\n    ".join(shown)
