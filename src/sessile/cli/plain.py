"""Text as a terminal may get it."""

import re
from datetime import datetime

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Remove what could control the terminal."""
    return _CONTROLS.sub("", text.expandtabs())


def when(seconds: int) -> str:
    """A time as the clock on the wall shows it; ``?`` for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "?"
