"""``sessile chat``: a session in the terminal."""

import sys
from typing import Any

from sessile.cli.questions import has_ended, open_calls
from sessile.cli.remote import Remote, session_path, text_parts
from sessile.cli.screen import Screen
from sessile.cli.streams import decoded, write_json
from sessile.wire.errors import RemoteError
from sessile.wire.ids import new_id


def chat(server: str, session: str | None, history: int, json: bool) -> int:
    """Chat until the end of the input; return 1 if the last answer failed."""
    remote = Remote(server)
    session = session or new_id()
    session_path(session)
    if json or not sys.stdin.isatty():
        return _ask_once(remote, session, json)
    from sessile.cli.conversation import Conversation

    return Conversation(remote, session).run(history)


def _ask_once(remote: Remote, session: str, json: bool) -> int:
    """Send all of standard input as one message."""
    content = decoded(sys.stdin.buffer.read()).strip()
    if not content:
        raise RemoteError("standard input is empty; write a message to it")
    screen, status = Screen(), "complete"
    try:
        for event in remote.turn(session, text_parts(content)).events():
            if json:
                write_json(event)
            else:
                screen.event(event)
            if has_ended(event):
                status = event["status"]
            for call in [] if json else open_calls(event):
                screen.note(_how_to_answer(session, call["question"]))
    finally:
        screen.settle()
    return 0 if status == "complete" else 1


def _how_to_answer(session: str, question: dict[str, Any]) -> str:
    what, body = "an output", '{"output": …}'
    if question["kind"] == "approval":
        what, body = "permission", '{"approve": true}'
    return (
        f"waiting for {what}: question {question['id']} in session {session}; answer it with "
        f"`sessile chat {session}` in a terminal, or "
        f"POST /chat/{session}/questions/{question['id']} {body}"
    )
