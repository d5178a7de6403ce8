"""New ids, and the time."""

import random
import time
import uuid

LAST_DATE = 253_402_300_799  # seconds, the end of the year 9999: later dates no calendar has

_ANSWERS = uuid.UUID("5e551e00-0000-4000-8000-000000000000")
_random = random.Random()  # nobody else's, so that nobody else's seed makes ids repeat
_bits = _random.getrandbits
_VERSION, _VARIANT = 0x7 << 76, 0b10 << 62


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): unique, and sorted by the millisecond it was made in."""
    stamp = time.time_ns() // 1_000_000
    value = stamp << 80 | _VERSION | _bits(12) << 64 | _VARIANT | _bits(62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_epoch() -> int:
    """A number that no other life of a session's id has, over 0."""
    return _random.getrandbits(62) + 1


def answer_id(epoch: int, question: str, seq: int) -> str:
    """The id of the answer to a queued message, the same on every node and after a restart.

    ``epoch`` is the session's, ``seq`` the number that the message has while it waits.
    """
    return str(uuid.uuid5(_ANSWERS, f"{epoch}\n{question}\n{seq}"))


def now() -> int:
    """Unix seconds."""
    return int(time.time())
