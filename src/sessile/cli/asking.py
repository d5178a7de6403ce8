"""Asks the user at the terminal what an agent asks."""

import json
from typing import Any

from msgspec import UNSET

from sessile.cli.arriving import Arriving
from sessile.cli.form import Field, Form, value_of
from sessile.cli.plain import clean
from sessile.cli.prompt import typed_line
from sessile.cli.questions import has_ended, state_in
from sessile.cli.remote import Turn
from sessile.cli.schema import form_of
from sessile.cli.screen import Screen
from sessile.wire.errors import RemoteError

DECLINE = "/decline"
DECLINED = "The user declined to answer."
_ANSWERS = {"y": (True, False), "n": (False, False), "a": (True, True)}
_ENDS = {
    "approved": "Another client gave permission.",
    "denied": "Another client denied permission.",
    "answered": "Another client answered.",
    "expired": "The question has expired.",
}
_HINTS = {
    "number": ", a number",
    "integer": ", a whole number",
    "boolean": ", [y]es or [n]o",
    "choice": ", a number of the list",
    "choices": ", numbers of the list with commas",
    "json": " as JSON",
}


class Asker:
    """Asks the user one question about a tool call, while the events of its turn arrive."""

    def __init__(
        self, screen: Screen, turn: Turn, arriving: Arriving, call: dict[str, Any]
    ) -> None:
        self._screen = screen
        self._turn = turn
        self._arriving = arriving
        self._call = call
        self._question = call["question"]
        self._name = " ".join(clean(call["toolName"]).split())

    def ask(self) -> None:
        """Ask until there is an answer, unless the question is answered elsewhere or expires before.

        Raises EOFError after Ctrl-D, and KeyboardInterrupt.
        """
        self._screen.settle()
        try:
            if self._question["kind"] == "approval":
                self._ask_permission()
            else:
                self._ask_output()
        except _Over as over:
            print()
            self._screen.note(str(over))
        except EOFError:
            print()
            self._screen.note("The question stays open.")
            raise
        except KeyboardInterrupt:
            print()
            raise

    def _ask_permission(self) -> None:
        answer = ""
        while True:
            while answer not in _ANSWERS:
                line = self._line(f"  May {self._name} run? [y]es, [n]o, [a]lways: ")
                answer = line.strip().lower()[:1]
            approve, always = _ANSWERS[answer]
            if not self._refused({"approve": approve, "always": always}):
                return
            answer = ""

    def _ask_output(self) -> None:
        values: list[Any] = []
        form = form_of(self._question.get("schema", UNSET))
        self._introduce(form)
        while True:
            try:
                values = [self._value(field) for field in form.fields]
                if not form.fields:
                    self._word("  Enter sends the answer: ")
                reply = {"output": form.output(values)}
            except _Declined:
                reply = {"error": DECLINED}
            if not self._refused(reply):
                return
            form = _filled(form, values)

    def _introduce(self, form: Form) -> None:
        self._screen.line(f"  {self._name} asks for input; {DECLINE} declines.")
        asked = self._call["toolInput"]
        message = asked.get("message") if isinstance(asked, dict) else None
        for text in (message, form.title, form.description):
            if isinstance(text, str) and text:
                self._screen.line(_indented(text))
        if not form.drawn and "schema" in self._question:
            schema = json.dumps(self._question["schema"], ensure_ascii=False)
            self._screen.line(_indented(f"The answer must match this JSON Schema: {schema}"))

    def _value(self, field: Field) -> Any:
        """What the user types for a field."""
        if field.options:
            self._screen.line(_indented(field.label))
            for number, (label, _) in enumerate(field.options, 1):
                self._screen.line(_indented(f"  {number}. {label}"))
        while True:
            try:
                return value_of(field, self._typed(field))
            except ValueError as error:
                self._screen.line(f"  {error}", "red")

    def _typed(self, field: Field) -> str:
        prompt = f"  {_prompt(field)}: "
        if field.kind not in ("lines", "json"):
            return self._word(prompt)
        lines: list[str] = []
        while line := self._word("  > " if lines else prompt):
            lines.append(line)
            if field.kind == "json" and _is_json("\n".join(lines)):
                break
        return "\n".join(lines)

    def _word(self, prompt: str) -> str:
        line = self._line(prompt)
        if line.strip() == DECLINE:
            raise _Declined
        return line

    def _line(self, prompt: str) -> str:
        """A line that the user types."""
        line = typed_line(prompt, self._arriving.fileno(), lambda: bool(self._end()))
        if line is None:
            raise _Over(self._end())
        return line

    def _refused(self, reply: dict[str, Any]) -> bool:
        """Send an answer; whether the server did not take it, which is shown."""
        try:
            if not self._turn.answer(self._question["id"], reply):
                self._screen.note("Another client already answered.")
        except RemoteError as error:
            self._screen.note(f"sessile: {error}")
            return True
        return False

    def _end(self) -> str:
        """How a question that the user has not answered ended; nothing while it is open."""
        for event in self._arriving.ahead():
            if event is None or isinstance(event, RemoteError) or has_ended(event):
                return "The question is no longer open: the answer has ended."
            state = state_in(event, self._question["id"])
            if state in _ENDS:
                return _ENDS[state]
        return ""


class _Over(Exception):
    """The question is no longer open; the text says why."""


class _Declined(Exception):
    """The user does not want to answer."""


def _filled(form: Form, values: list[Any]) -> Form:
    """A form whose defaults are the values that were given."""
    if not values:
        return form
    given = zip(form.fields, values, strict=True)
    fields = [field if value is UNSET else field._replace(default=value) for field, value in given]
    return form._replace(fields=fields)


def _prompt(field: Field) -> str:
    about = f" ({field.description})" if field.description else ""
    label = "" if field.options else field.label
    default = f" [{_shown(field)}]" if _shown(field) else ""
    empty = default or ("" if field.required else " (optional)")
    several = ", ends with an empty line" if field.kind == "lines" else ""
    text = f"{label}{_HINTS.get(field.kind, '')}{several}{about}{empty}"
    return " ".join(clean(text.removeprefix(", ")).split())


def _shown(field: Field) -> str:
    """The default of a field, as it is typed."""
    if field.default is UNSET or field.default is None:
        return ""
    if field.kind == "boolean":
        return "y" if field.default is True else "n"
    chosen = field.default if field.kind == "choices" else [field.default]
    if field.options and isinstance(chosen, list):
        values = [value for _, value in field.options]
        return ",".join(str(values.index(one) + 1) for one in chosen if one in values)
    is_text = isinstance(field.default, str) and field.kind != "json"
    text = field.default if is_text else json.dumps(field.default, ensure_ascii=False)
    first, _, more = str(text).partition("\n")
    return f"{first} …" if more else first


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
