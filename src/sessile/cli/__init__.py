"""The command line: one module for each command, loaded when needed."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from sessile.cli import streams
from sessile.settings import TABLE, Setting
from sessile.wire.errors import BackupFailed, RemoteError, SettingsError, StoreUnavailable

SERVER = "http://127.0.0.1:8787"
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
INTERRUPTED = 130  # the usual exit status of a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> None:
    """``sessile``: exits with 0 on success, 1 if it failed, 2 if it cannot start."""
    streams.prepare()
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except SettingsError as error:
        streams.complain(error)
        status = 2
    except (RemoteError, BackupFailed, StoreUnavailable) as error:
        streams.complain(error)
        status = 1
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:  # its reader has enough
        streams.silence()
        status = 0
    except OSError as error:
        streams.silence()
        streams.complain(_reason(error))
        status = 1
    sys.exit(status)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        given = vars(_parser().parse_args(arguments))
    except SystemExit as end:  # after --help, --version or an error
        return int(end.code or 0)
    run: Callable[[dict[str, Any]], int] = given.pop("run")
    for name in ("command", "kind"):  # `run` contains them
        given.pop(name, None)
    return run(given)


def _reason(error: OSError) -> str:
    """What failed, in a line. Only standard output is written without a name."""
    if error.errno in _UNWRITABLE and error.filename is None:
        return f"cannot write to standard output: {error.strerror}"
    return str(error)


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, and does not hide that its output cannot be written."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)


def _serve(given: dict[str, Any]) -> int:
    from sessile.cli.serve import serve

    return serve(given)


def _chat(given: dict[str, Any]) -> int:
    from sessile.cli.chat import chat

    return chat(**given)


def _sessions(given: dict[str, Any]) -> int:
    from sessile.cli import sessions

    action: Callable[..., int] = getattr(sessions, given.pop("action"))
    return action(**given)


def _operate(given: dict[str, Any]) -> int:
    from sessile.cli import operate

    action: Callable[..., int] = getattr(operate, given.pop("action"))
    return action(given)


def _doctor(given: dict[str, Any]) -> int:
    from sessile.cli.doctor import doctor

    return doctor(given)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sessile", description="A durable server for AI chat sessions.")
    parser.add_argument("--version", action="version", version=f"sessile {version('sessile')}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    serve = commands.add_parser("serve", help="run the server", description=_ABOUT_SERVE)
    _add_settings(serve, _serve)
    chat = _add_client(commands, "chat", "chat in the terminal", _chat)
    chat.add_argument("session", nargs="?", help="the session to continue; a new one by default")
    chat.add_argument(
        "--history",
        type=int,
        default=10,
        metavar="COUNT",
        help="number of earlier messages to show",
    )
    kinds = commands.add_parser("sessions", help="list, show, delete and archive sessions")
    _add_sessions(kinds.add_subparsers(dest="kind", required=True, parser_class=_Parser))
    export = _add_client(commands, "export", "write a session to a file", _sessions)
    export.add_argument("session")
    export.add_argument("--format", choices=("json", "markdown", "sqlite"), default="json")
    export.add_argument(
        "--output", metavar="FILE", help="the file to write; standard output by default"
    )
    export.set_defaults(action="export")
    import_ = _add_client(commands, "import", "create a session from an exported file", _sessions)
    import_.add_argument("file", help="a JSON or SQLite file; - for standard input")
    import_.add_argument(
        "--id", help="an id for the new session; by default the exported session's id"
    )
    import_.set_defaults(action="import_")
    _add_operating(commands)
    return parser


def _add_operating(commands: Any) -> None:
    """Add the commands for those who run a server; they work beside it, on its files."""
    backup = commands.add_parser("backup", help="copy the store while a server may be using it")
    backup.add_argument("to", metavar="TO", help="the file to write, which must not exist")
    check = commands.add_parser("check", help="look for faults in the store, and change nothing")
    for parser, action in ((backup, "backup"), (check, "check")):
        for setting in TABLE:
            if setting.name == "store":
                _add_flag(parser, setting)
        parser.set_defaults(run=_operate, action=action)
    doctor = commands.add_parser(
        "doctor", help="say what would go wrong with a server", description=_ABOUT_DOCTOR
    )
    _add_settings(doctor, _doctor)


def _add_sessions(kinds: Any) -> None:
    ls = _add_client(kinds, "ls", "list sessions, the most recently active first", _sessions)
    ls.add_argument(
        "--query", metavar="TEXT", help="list sessions with this text in their title or id"
    )
    ls.add_argument("--archived", action="store_true", help="list archived sessions")
    ls.add_argument("--limit", type=int, default=25, metavar="COUNT")
    ls.set_defaults(action="ls")
    show = _add_client(kinds, "show", "show a session and its newest messages", _sessions)
    show.add_argument("session")
    show.add_argument("--limit", type=int, default=25, metavar="COUNT")
    show.set_defaults(action="show")
    rm = _add_client(kinds, "rm", "delete sessions and all of their messages", _sessions)
    rm.add_argument("session", nargs="+")
    rm.set_defaults(action="rm")
    archive = _add_client(kinds, "archive", "archive sessions", _sessions)
    archive.add_argument("session", nargs="+")
    archive.add_argument("--undo", action="store_true", help="take the sessions out of the archive")
    archive.set_defaults(action="archive")


def _add_client(
    commands: Any, name: str, help: str, run: Callable[[dict[str, Any]], int]
) -> argparse.ArgumentParser:
    """Add a command that talks to a running server."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help)
    parser.add_argument(
        "--server",
        metavar="URL",
        default=os.environ.get("SESSILE_SERVER", SERVER),
        help=f"the server to talk to; also SESSILE_SERVER (default: {SERVER})",
    )
    parser.add_argument("--json", action="store_true", help="print the server's JSON, for programs")
    parser.set_defaults(run=run)
    return parser


_ABOUT_SERVE = "Run the server. Every flag is also an environment variable: --store is SESSILE_STORE, and so on."

_ABOUT_DOCTOR = "Say what would go wrong with `sessile serve` and the same flags and environment; nothing is changed."


def _add_settings(parser: argparse.ArgumentParser, run: Callable[[dict[str, Any]], int]) -> None:
    parser.add_argument(
        "app",
        nargs="?",
        default=argparse.SUPPRESS,
        metavar="module:object",
        help="a Python agent; the same as --agent",
    )
    for setting in TABLE:
        _add_flag(parser, setting)
    parser.set_defaults(run=run)


def _add_flag(parser: argparse.ArgumentParser, setting: Setting) -> None:
    default = setting.default
    shown = "" if default in ("", False, ()) else f" (default: {default})"
    options: dict[str, Any] = {
        "help": setting.help.replace("%", "%%") + shown,
        "default": argparse.SUPPRESS,
    }
    if isinstance(default, bool):
        parser.add_argument(setting.flag, action="store_true", **options)
        return
    action = "append" if isinstance(default, tuple) else "store"
    parser.add_argument(setting.flag, action=action, metavar=setting.metavar, **options)
