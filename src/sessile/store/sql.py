"""Named queries out of a store's ``queries.sql``, and its migrations."""

from importlib.resources import files

from sessile.store.columns import COLUMNS, WRITTEN


def queries(package: str, placeholder: str = "?{}", first: int = 1) -> dict[str, str]:
    """The queries of a store's package: ``-- name: x``, a line of purpose, the SQL.

    In them ``{columns}`` stands for the columns of a session's row, ``{written}`` for those that
    are written together, ``{values}`` for their placeholders, the first of which has the number
    ``first``, and ``{updates}`` for assignments of the values to the columns.
    """
    values = [placeholder.format(number) for number in range(first, first + len(WRITTEN))]
    words = {
        "{columns}": ", ".join(COLUMNS),
        "{written}": ", ".join(WRITTEN),
        "{values}": ", ".join(values),
        "{updates}": ", ".join(f"{c} = {v}" for c, v in zip(WRITTEN, values, strict=True)),
    }
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (files(package) / "queries.sql").read_text("utf-8").splitlines():
        if line.startswith("-- name: "):
            lines = found.setdefault(line.removeprefix("-- name: "), [])
        elif not line.startswith("--"):
            for word, meaning in words.items():
                line = line.replace(word, meaning)
            lines.append(line)
    return {name: "\n".join(text).strip().removesuffix(";") for name, text in found.items()}


def migrations(package: str) -> list[str]:
    """The migration scripts of a store's package, in order: the first makes an empty store."""
    scripts = (files(package) / "migrations").iterdir()
    return [script.read_text("utf-8") for script in sorted(scripts, key=lambda script: script.name)]
