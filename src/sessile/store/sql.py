"""Named queries out of a .sql file."""

from importlib.resources import files


def queries(filename: str) -> dict[str, str]:
    """The queries of a file beside this one: ``-- name: x``, a line of purpose, the SQL."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (files(__package__) / filename).read_text().splitlines():
        if line.startswith("-- name: "):
            lines = found.setdefault(line.removeprefix("-- name: "), [])
        elif not line.startswith("--"):
            lines.append(line)
    return {name: "\n".join(text).strip().removesuffix(";") for name, text in found.items()}


def migrations(technology: str) -> list[str]:
    """The migration scripts of a store, in their order: the first makes an empty store."""
    scripts = (files(__package__) / "migrations").iterdir()
    return [
        script.read_text()
        for script in sorted(scripts, key=lambda script: script.name)
        if script.name.startswith(technology)
    ]
