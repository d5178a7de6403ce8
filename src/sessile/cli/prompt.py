"""What a user types in a terminal: messages, and answers to questions."""

import os
import select
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

from prompt_toolkit import PromptSession
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.output.vt100 import Vt100_Output

from sessile.cli.streams import recovered

LINE = 4096  # bytes of a typed line, as in the terminal driver


class Prompt:
    """Reads messages, with a history and the usual keys; what is pasted is one message."""

    def __init__(self) -> None:
        output = create_output(always_prefer_tty=True)
        if isinstance(output, Vt100_Output):
            output.enable_cpr = False  # not every terminal says where its cursor is
        self._session: PromptSession[str] = PromptSession("› ", output=output, enable_suspend=True)

    def read(self) -> str:
        """A message exactly as it was typed or pasted, with ``\\n`` as the end of each line.

        Raises EOFError after Ctrl-D and Ctrl-C, and :class:`~sessile.wire.errors.RemoteError` for
        a text that is not UTF-8.
        """
        try:
            return recovered(self._session.prompt())
        except KeyboardInterrupt:
            raise EOFError from None


def typed_line(question: str, fileno: int, is_over: Callable[[], bool]) -> str | None:
    """The line that a user types after a question, without its end; None once it is over.

    ``is_over`` is called whenever ``fileno`` can be read. Raises EOFError after Ctrl-D.
    """
    shown = sys.stdout if sys.stdout.isatty() else sys.stderr
    print(question, end="", file=shown, flush=True)
    keys = sys.stdin.fileno()
    while not is_over():
        ready, _, _ = select.select([keys, fileno], [], [])
        if keys in ready:
            line = os.read(keys, LINE)
            if not line:
                raise EOFError
            return line.decode(errors="replace").rstrip("\r\n")
    with suppress(termios.error):  # half an answer is not the beginning of the next message
        termios.tcflush(keys, termios.TCIFLUSH)
    return None
