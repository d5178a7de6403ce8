"""A conversation with a user at a terminal."""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from sessile.cli.arriving import Arriving
from sessile.cli.asking import Asker
from sessile.cli.prompt import Prompt
from sessile.cli.questions import has_ended, open_calls
from sessile.cli.remote import Remote, Turn, text_parts
from sessile.cli.screen import Screen
from sessile.wire.errors import RemoteError

T = TypeVar("T")

LEAST = 20  # messages that are read, to find the answer in progress and its question


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
        messages = self._remote.call("GET", path, limit=max(LEAST, min(history, 200)))
        self._screen.note(f"Session {self._session}. Ctrl-C stops an answer, Ctrl-D ends.")
        for message in messages[-history:] if history else []:
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
        if has_ended(event):
            self._status = event["status"]
        for call in open_calls(event):
            if call["question"]["id"] not in self._asked:
                self._asked.add(call["question"]["id"])
                Asker(self._screen, turn, arriving, call).ask()
