"""Named queries out of a .sql file."""

from importlib.resources import files


def queries(package: str) -> dict[str, str]:
    """The queries of a store's package: ``-- name: x``, a line of purpose, the SQL."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (files(package) / "queries.sql").read_text().splitlines():
        if line.startswith("-- name: "):
            lines = found.setdefault(line.removeprefix("-- name: "), [])
        elif not line.startswith("--"):
            lines.append(line)
    return {name: "\n".join(text).strip().removesuffix(";") for name, text in found.items()}


def migrations(package: str) -> list[str]:
    """The migration scripts of a store's package, in order: the first makes an empty store."""
    scripts = (files(package) / "migrations").iterdir()
    return [script.read_text() for script in sorted(scripts, key=lambda script: script.name)]
