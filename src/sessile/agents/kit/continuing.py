"""For agents whose answer goes on after a restart: what the model is asked, and what of the answer
is there already.
"""

from collections.abc import Container, Iterable

import msgspec
from msgspec import UNSET

from sessile.agents.base import DENIED, EXPIRED, Output, Turn, Unfinished
from sessile.agents.kit.conversation import transcribed
from sessile.wire.codec import encode
from sessile.wire.parts import FilePart, ReasoningPart, ToolCallPart

# After what the model has said so far.
GO_ON = (
    "The server restarted, which cut your answer off. Continue it exactly where it stopped: your "
    "words follow the last of those that were shown. Repeat nothing and do not mention this."
)

UNKNOWN = "The server restarted while this tool ran: it is not known whether it had an effect."

AGAIN = "The server restarted before this tool ran. It was given permission for another try."


def reminder(unfinished: Unfinished) -> str:
    """What was shown of the answer, for an agent whose own memory may have less of it."""
    shown = transcribed(unfinished.parts)
    if not shown:
        return GO_ON
    return (
        f"{GO_ON} What was shown of your answer so far, with the tools that were used:\n\n"
        f"<answer>\n{shown}\n</answer>\n\nA tool that has ended must not run again. One of which "
        "it is not known whether it ran: look first whether it had its effect."
    )


class Former:
    """What an answer has when its agent is called again."""

    def __init__(self, unfinished: Unfinished | None) -> None:
        self._unfinished = unfinished or Unfinished([])
        parts = self._unfinished.parts
        thoughts = "".join(part.content for part in parts if isinstance(part, ReasoningPart))
        self._left = {"text": self._unfinished.text, "reasoning": thoughts}
        self._files = {part.url for part in parts if isinstance(part, FilePart)}
        self._granted: list[bytes] = []
        self._ended: set[str] = set()
        self.dead: set[str] = set()  # calls that will not go on

    def new(self, outputs: Iterable[Output]) -> list[Output]:
        """The outputs without what the answer has."""
        return [output for given in outputs if (output := self._new(given)) is not None]

    def _new(self, output: Output) -> Output | None:
        if isinstance(output, str):
            return self._rest("text", output) or None
        if isinstance(output, ReasoningPart):
            rest = self._rest("reasoning", output.content)
            return ReasoningPart(rest) if rest else None
        if isinstance(output, ToolCallPart):
            if output.tool_call_id in self.dead:
                return None
            if not output.is_open:
                self._ended.add(output.tool_call_id)
        if isinstance(output, FilePart) and output.url in self._files:
            return None
        return output

    def _rest(self, kind: str, text: str) -> str:
        left = self._left[kind]
        if left.startswith(text):
            self._left[kind] = left[len(text) :]
            return ""
        self._left[kind] = ""
        return text.removeprefix(left)

    def open_calls(self) -> list[ToolCallPart]:
        """The calls of which it is not known whether they ran."""
        parts = self._unfinished.parts
        calls = [part for part in parts if isinstance(part, ToolCallPart) and part.is_open]
        return [call for call in calls if call.tool_call_id not in self._ended]

    async def close_calls(self, turn: Turn, passed_on: Container[str]) -> list[Output]:
        """The open calls at their end, once their questions are answered: the agent does not go on
        with them. One that was approved, but not ``passed_on`` to the agent, has not run: it may be
        tried again without another question."""
        closed: list[Output] = []
        for call in self.open_calls():
            self.dead.add(call.tool_call_id)
            if call.asks:
                decision = await turn.ask(call, key="")
                if not decision.approved:  # the session has shown that
                    why = EXPIRED if decision.state == "expired" else DENIED
                    self._replace(call, decision.message or why)
                    continue
                waited = True
            else:
                given = call.question is not UNSET and call.question.state == "approved"
                waited = given and call.tool_call_id not in passed_on
            if waited:
                self._granted.append(_sort_of(call))
            error = AGAIN if waited else UNKNOWN
            closed.append(msgspec.structs.replace(call, state="error", error=error))
        return closed

    def _replace(self, call: ToolCallPart, error: str) -> None:
        """Take that a call has ended without having run."""
        parts = self._unfinished.parts
        parts[parts.index(call)] = msgspec.structs.replace(call, state="error", error=error)

    def is_granted(self, call: ToolCallPart) -> bool:
        """Whether a call is another try of one that was approved; each is only once."""
        sort = _sort_of(call)
        if sort in self._granted:
            self._granted.remove(sort)
            return True
        return False

    def reminder(self) -> str:
        """What the agent is asked, to go on."""
        return reminder(self._unfinished)


def _sort_of(call: ToolCallPart) -> bytes:
    return encode([call.tool_name, call.tool_input])
