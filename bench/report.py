"""Writes figures as JSON, as Markdown tables and as a chart."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.works import Figure

BEGIN, END = "<!-- bench: written by `uv run just bench` -->", "<!-- /bench -->"
COLOURS = {"reference": "#9aa0a6", "Sessile": "#1a73e8", "ceiling": "#dadce0"}
CHART = (
    ("turns, 2 events", "64 at once, 1,000 sessions"),
    ("turns, 2 events", "1 at once, 1,000 sessions"),
    ("turns, 20 events", "16 at once, 1,000 sessions"),
    ("first message of new sessions", "16 at once"),
    ("newest page", "of 1,000,000 messages"),
    ("fan-out, frames delivered", "to 1,000 WebSockets"),
    ("answers of 5,000 tokens", "32 at once"),
)


class Report(msgspec.Struct):
    """What one run measured, and where."""

    python: str
    cores: int
    rounds: int
    sync_ms: float
    figures: list[Figure]


def report(figures: list[Figure], rounds: int, sync_ms: float) -> Report:
    cores = len(os.sched_getaffinity(0))
    return Report(platform.python_version(), cores, rounds, sync_ms, figures)


def write(found: Report, folder: Path) -> None:
    """``performance.json``, ``performance.svg``, and the tables into ``performance.md``."""
    encoded = msgspec.json.format(msgspec.json.encode(found), indent=1)
    (folder / "performance.json").write_bytes(encoded + b"\n")
    (folder / "performance.svg").write_text(chart(found.figures))
    page = folder / "performance.md"
    text = page.read_text() if page.exists() else f"{BEGIN}\n{END}\n"
    head, rest = text.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n\n{tables(found)}\n{END}{rest.partition(END)[2]}")


# Tables -----------------------------------------------------------------------------------------


def tables(found: Report) -> str:
    """One table for each kind of work; medians of the rounds, Sessile's lowest and highest too."""
    where = (
        f"Python {found.python}, {found.cores} cores, {found.sync_ms:.2f} ms an fdatasync of 4 KiB; "
        f"medians of {found.rounds} rounds, and the lowest and highest.\n\n![Chart](performance.svg)\n"
    )
    works = dict.fromkeys(figure.work for figure in found.figures)
    blocks = [_table(work, [f for f in found.figures if f.work == work]) for work in works]
    return "\n".join([where, *blocks])


def _table(work: str, figures: Sequence[Figure]) -> str:
    servers = list(dict.fromkeys(figure.server for figure in figures))
    unit = figures[0].unit
    heads = [f"{work} ({unit.strip('/') if unit != '/s' else 'a second'})", *servers]
    compared = "Sessile" in servers and len(servers) > 1
    if compared:
        heads += [
            f"of the {name}" if name.startswith("ceiling") else f"× {name}"
            for name in servers
            if name != "Sessile"
        ]
        if "p50" in figures[0].extra:
            heads.append("Sessile p50 / p99")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for case in dict.fromkeys(figure.case for figure in figures):
        row = {figure.server: figure for figure in figures if figure.case == case}
        cells = [case, *(_value(row.get(name)) for name in servers)]
        own = row.get("Sessile")
        if compared and own is not None:
            cells += [_ratio(own, row.get(name)) for name in servers if name != "Sessile"]
            if "p50" in figures[0].extra:
                cells.append(f"{own.extra['p50']:.1f} / {own.extra['p99']:.1f} ms")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _value(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    median = _number(figure.median)
    if figure.server != "Sessile" or len(figure.values) < 2:
        return median
    return f"**{median}** ({_number(min(figure.values))}–{_number(max(figure.values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(own: Figure, other: Figure | None) -> str:
    if other is None:
        return "–"
    ratio = own.median / other.median
    return f"{ratio:.0%}" if other.server.startswith("ceiling") else f"{ratio:.2f}"


# The chart --------------------------------------------------------------------------------------


def chart(figures: Sequence[Figure]) -> str:
    """Bars of the works in ``CHART``, next to the other servers that ran it, as an SVG."""
    known = {(f.work, f.case, f.server): f for f in figures}
    rows: list[str] = []
    y = 10
    for work, case in CHART:
        bars = [known[work, case, s] for s in COLOURS if (work, case, s) in known]
        if not bars:
            continue
        rows.append(f'<text x="10" y="{y + 12}" font-weight="bold">{work}, {case}</text>')
        y += 18
        longest = max(bar.median for bar in bars)
        for bar in bars:
            width = 440 * bar.median / longest
            label = f"{bar.server}  {_number(bar.median)} {bar.unit}"
            rows.append(
                f'<rect x="10" y="{y}" width="{width:.1f}" height="14" rx="2" '
                f'fill="{COLOURS[bar.server]}"/>'
                f'<text x="{width + 16:.1f}" y="{y + 11}">{label}</text>'
            )
            y += 17
        y += 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{y}" '
        f'viewBox="0 0 680 {y}" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="680" height="{y}" fill="#ffffff"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )
