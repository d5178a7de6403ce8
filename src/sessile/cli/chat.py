"""``sessile chat``: a session in the terminal."""

import contextlib
import sys
from typing import Any

from sessile.cli.remote import Remote, Turn, session_path
from sessile.cli.screen import Screen
from sessile.wire.codec import encode
from sessile.wire.errors import RemoteError
from sessile.wire.ids import new_id

_ANSWERS = {"y": (True, False), "n": (False, False), "a": (True, True)}


def chat(server: str, session: str | None, history: int, json: bool) -> int:
    """Chat until the end of the input; return 1 if the last answer failed."""
    remote = Remote(server)
    session = session or new_id()
    session_path(session)
    if json or not sys.stdin.isatty():
        return _ask_once(remote, session, json)
    return _Chat(remote, session).run(history)


def _ask_once(remote: Remote, session: str, json: bool) -> int:
    """Send all of standard input as one message."""
    content = sys.stdin.read().strip()
    if not content:
        raise RemoteError("standard input is empty; write a message to it")
    screen, status = Screen(), "complete"
    try:
        for event in remote.turn(session, _parts(content)).events():
            if json:
                print(encode(event).decode(), flush=True)
            else:
                _show(screen, event)
            if event["type"] == "assistant":
                status = event["status"]
            if (asked := _question(event)) and not json:
                screen.note(f"waiting for permission: approval {asked} in session {session}")
    finally:
        screen.settle()
    return 0 if status == "complete" else 1


def _parts(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "content": content}]


def _show(screen: Screen, event: dict[str, Any]) -> None:
    kind = event["type"]
    if kind == "delta":
        screen.delta(event)
    elif kind == "part":
        screen.part(event["index"], event["part"])
    elif kind == "assistant":
        screen.end(event)
    elif kind == "status" and event["status"] == "queued":
        screen.note(f"queued, position {event['position']}")


def _question(event: dict[str, Any]) -> str | None:
    """The id of the question in an event, if there is one."""
    part = event.get("part")
    approval = part.get("approval") if isinstance(part, dict) else None
    return approval["id"] if approval and approval["state"] == "asked" else None


class _Chat:
    """A conversation with a user at a terminal."""

    def __init__(self, remote: Remote, session: str) -> None:
        self._remote = remote
        self._session = session
        self._screen = Screen()
        self._status = "complete"
        self._asked: set[str] = set()

    def run(self, history: int) -> int:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives `input` its history and its keys)
        self._begin(history)
        while True:
            try:
                content = input("› ").strip()
            except (EOFError, KeyboardInterrupt):
                print()
                self._screen.note(f"Continue with: sessile chat {self._session}")
                return 0 if self._status == "complete" else 1
            if content:
                self._follow(self._remote.turn(self._session, _parts(content)))

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

    def _follow(self, turn: Turn) -> None:
        """Show a turn to its end; Ctrl-C stops it."""
        over = False
        while not over:
            try:
                for event in turn.events():
                    self._take(turn, event)
                over = True
            except KeyboardInterrupt:
                self._screen.settle()
                turn.stop()
            except RemoteError as error:
                self._screen.note(f"sessile: {error}")
                self._status = "error"
                over = True

    def _take(self, turn: Turn, event: dict[str, Any]) -> None:
        _show(self._screen, event)
        if event["type"] == "assistant":
            self._status = event["status"]
        asked = _question(event)
        if asked and asked not in self._asked:
            self._asked.add(asked)
            self._ask(turn, asked, event["part"])

    def _ask(self, turn: Turn, id: str, call: dict[str, Any]) -> None:
        self._screen.settle()
        answer = ""
        while answer not in _ANSWERS:
            answer = input(f"  May {call['toolName']} run? [y]es, [n]o, [a]lways: ").lower()[:1]
        approve, always = _ANSWERS[answer]
        if not turn.approve(id, approve, always):
            self._screen.note("Another client already answered.")
