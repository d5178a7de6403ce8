"""Values of JSON that may have any shape, such as those of other programs. Pure."""

from typing import Any


def record(value: object) -> dict[str, Any]:
    """An object of JSON; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """An array of JSON; an empty one for anything else."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """A text of JSON; an empty one for anything else."""
    return value if isinstance(value, str) else ""
