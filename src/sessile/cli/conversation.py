"""A conversation with a user at a terminal."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from sessile.cli.arriving import Arriving
from sessile.cli.plain import clean
from sessile.cli.prompt import Prompt, typed_answer
from sessile.cli.remote import Remote, Turn, approval_in, question_in, text_parts
from sessile.cli.screen import Screen
from sessile.wire.errors import RemoteError

T = TypeVar("T")

_ANSWERS = {"y": (True, False), "n": (False, False), "a": (True, True)}
_ENDS = {
    "approved": "Another client gave permission.",
    "denied": "Another client denied permission.",
    "expired": "The question has expired.",
}


class Conversation:
    """A session, and the user who types its messages."""

    def __init__(self, remote: Remote, session: str) -> None:
        self._remote = remote
        self._session = session
        self._screen = Screen()
        self._prompt = Prompt()
        self._status = "complete"
        self._asked: set[str] = set()

    def run(self, history: int) -> int:
        """Chat until Ctrl-D; return 1 if the last answer failed."""
        with contextlib.suppress(EOFError):
            self._begin(history)
            while True:
                self._send()
        self._screen.note(f"Continue with: sessile chat {self._session}")
        return 0 if self._status == "complete" else 1

    def _begin(self, history: int) -> None:
        path = f"/chat/{self._session}/messages"
        messages = self._remote.call("GET", path, limit=max(1, min(history, 200)))
        self._screen.note(f"Session {self._session}. Ctrl-C stops an answer, Ctrl-D ends.")
        if history:
            for message in messages:
                if message["status"] != "streaming":
                    self._screen.message(message)
        being_answered = {m["replyTo"] for m in messages if m["status"] == "streaming"}
        for question in messages:
            if question["id"] in being_answered:
                # Join the answer in progress.
                turn = self._remote.turn(self._session, question["parts"], question["id"])
                self._follow(turn)

    def _send(self) -> None:
        try:
            content = self._prompt.read()
        except RemoteError as error:
            self._screen.note(f"sessile: {error}")
            return
        if content.strip():
            self._follow(self._remote.turn(self._session, text_parts(content)))

    def _follow(self, turn: Turn) -> None:
        """Show a turn to its end; Ctrl-C stops it. Raises EOFError after Ctrl-D at a question."""
        arriving = Arriving(turn)
        over = False
        while not over:
            try:
                for event in arriving:
                    self._take(turn, event, arriving)
                over = True
            except KeyboardInterrupt:
                self._screen.settle()
                self._attempt(turn.stop)
            except RemoteError as error:
                self._screen.note(f"sessile: {error}")
                self._status = "error"
                over = True

    def _attempt(self, act: Callable[[], T]) -> T | None:
        """What an action returns; None after an error, which is shown."""
        try:
            return act()
        except RemoteError as error:
            self._screen.note(f"sessile: {error}")
            return None

    def _take(self, turn: Turn, event: dict[str, Any], arriving: Arriving) -> None:
        self._screen.event(event)
        if event["type"] == "assistant":
            self._status = event["status"]
        question = question_in(event)
        if question and question not in self._asked:
            self._asked.add(question)
            self._ask(turn, question, event["part"], arriving)

    def _ask(self, turn: Turn, id: str, call: dict[str, Any], arriving: Arriving) -> None:
        """Ask the user, unless the question is answered elsewhere or expires before that."""
        self._screen.settle()
        name = " ".join(clean(call["toolName"]).split())
        question = f"  May {name} run? [y]es, [n]o, [a]lways: "
        answer: str | None = ""
        try:
            while answer is not None and answer not in _ANSWERS:
                answer = typed_answer(question, arriving.fileno(), lambda: bool(_end(arriving, id)))
                answer = None if answer is None else answer.lower()[:1]
        except EOFError:
            print()
            self._screen.note("The question stays open.")
            raise
        except KeyboardInterrupt:
            print()
            raise
        if answer is None:
            print()
            self._screen.note(_end(arriving, id))
            return
        approve, always = _ANSWERS[answer]
        if self._attempt(lambda: turn.approve(id, approve, always)) is False:
            self._screen.note("Another client already answered.")


def _end(arriving: Arriving, id: str) -> str:
    """How a question that the user has not answered ended; nothing while it is open."""
    for event in arriving.ahead():
        if event is None or isinstance(event, RemoteError) or event["type"] == "assistant":
            return "The question is no longer open: the answer has ended."
        approval = approval_in(event)
        if approval and approval["id"] == id and approval["state"] in _ENDS:
            return _ENDS[approval["state"]]
    return ""
