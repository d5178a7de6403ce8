"""``sessile sessions``, ``export`` and ``import``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from sessile.cli.plain import clean, when
from sessile.cli.remote import Remote, session_path
from sessile.cli.screen import Screen
from sessile.cli.streams import complain, write_json
from sessile.wire.errors import RemoteError


def ls(server: str, json: bool, query: str | None, archived: bool, limit: int) -> int:
    """Print a line for each session; with tabs between the fields if not to a terminal."""
    found = Remote(server).call(
        "GET", "/sessions", limit=limit, q=query, archived=str(archived).lower()
    )
    if json:
        return _print_json(found)
    console = Console(highlight=False)
    rows = [
        (s["id"], s["status"], str(s["messageCount"]), when(s["updatedAt"]), clean(s["title"]))
        for s in found
    ]
    if not console.is_terminal:
        for row in rows:
            print("\t".join(row))
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("session", "status", "messages", "changed", "title"):
        table.add_column(name, overflow="ellipsis", no_wrap=name != "title")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    return 0


def show(server: str, json: bool, session: str, limit: int) -> int:
    """Show a session and its newest messages."""
    remote = Remote(server)
    value = remote.call("GET", session_path(session))
    messages = remote.call("GET", f"/chat/{session}/messages", limit=limit)
    if json:
        return _print_json({"session": value, "messages": messages})
    screen = Screen()
    changed = when(value["updatedAt"])
    screen.note(f"{value['title']} · {value['status']} · {value['messageCount']} · {changed}")
    for message in messages:
        screen.message(message)
    return 0


def rm(server: str, json: bool, session: list[str]) -> int:
    """Delete each session; report those that do not exist, and delete the others anyway."""
    remote = Remote(server)
    return _each(session, json, lambda id: remote.call("DELETE", session_path(id)))


def archive(server: str, json: bool, session: list[str], undo: bool) -> int:
    """Archive each session, or take it out of the archive."""
    remote = Remote(server)
    body = {"archived": not undo}
    return _each(session, json, lambda id: remote.call("PATCH", session_path(id), body))


def export(server: str, json: bool, session: str, format: str, output: str | None) -> int:
    """Write a session to a file, or to standard output."""
    if output is None and format == "sqlite" and sys.stdout.isatty():
        raise RemoteError("cannot write a SQLite file to a terminal; use --output FILE")
    remote = Remote(server)
    path = session_path(session, f"/export?format={format}")
    with _written(output) as out, _progress(None) as report:
        remote.download(path, out, report)
    if json and output is not None:
        _print_json({"session": session, "file": output})
    return 0


def import_(server: str, json: bool, file: str, id: str | None) -> int:
    """Create a session of an exported file, or one of each conversation of another chat's export;
    print their ids."""
    remote = Remote(server)
    if file == "-":
        found = remote.upload("/sessions/import", sys.stdin.buffer, lambda size: None, id=id)
    else:
        found = _uploaded(remote, file, id)
    if json:
        return _print_json(found)
    if "imported" not in found:
        print(found["id"])
        return 0
    for session in found["imported"]:
        print(session["id"])
    for skipped in found["skipped"]:
        complain(f"skipped {clean(skipped['title']) or skipped['id']}: {skipped['error']}")
    return 0


def _uploaded(remote: Remote, file: str, id: str | None) -> Any:
    try:
        with open(file, "rb") as read, _progress(os.fstat(read.fileno()).st_size or None) as report:
            return remote.upload("/sessions/import", read, report, id=id)
    except FileNotFoundError as error:
        raise RemoteError(f"the file {file} does not exist") from error
    except OSError as error:
        raise RemoteError(f"cannot read {file}: {error.strerror}") from error


def _each(sessions: list[str], json: bool, act: Any) -> int:
    failed = 0
    for id in sessions:
        try:
            act(id)
        except RemoteError as error:
            complain(f"{id}: {error}")
            failed = 1
        else:
            if json:
                _print_json({"id": id})
            else:
                print(id)
    return failed


@contextmanager
def _written(output: str | None) -> Iterator[IO[bytes]]:
    """A file that appears only when it is whole; standard output if there is no name."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if os.path.exists(output) and not os.path.isfile(output):  # such as a device or a pipe
            with open(output, "wb") as out:
                yield out
            return
        with _part(os.path.realpath(output)) as out:
            yield out
    except OSError as error:
        raise RemoteError(f"cannot write {output}: {error.strerror}") from error


@contextmanager
def _part(output: str) -> Iterator[IO[bytes]]:
    """A file with another name, which gets this one when it is whole and on the disk."""
    part = Path(f"{output}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress(total: int | None) -> Iterator[Any]:
    """A progress bar if there is a terminal; yields a function to call with each piece's size."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.percentage:>3.0f} %"), BarColumn()) if total else ()
    with Progress(
        *columns,
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda size: progress.advance(task, size)


def _print_json(value: Any) -> int:
    write_json(value)
    return 0
