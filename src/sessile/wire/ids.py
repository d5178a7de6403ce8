"""New ids, and the time."""

import random
import time

_random = random.Random()  # nobody else's, so that nobody else's seed makes ids repeat


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): unique, and sorted by the millisecond it was made in."""
    stamp = time.time_ns() // 1_000_000
    value = (
        stamp << 80
        | 0x7 << 76
        | _random.getrandbits(12) << 64
        | 0b10 << 62
        | _random.getrandbits(62)
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def now() -> int:
    """Unix seconds."""
    return int(time.time())
