"""The sockets that `sessile serve` listens on: its own, or those of the process that started it."""

import os
import socket

from sessile.settings import Settings
from sessile.wire.errors import SettingsError
from sessile.wire.hosts import is_loopback

FIRST = 3  # the first file that systemd hands over (sd_listen_fds(3))
BACKLOG = 4096


def inherited_sockets() -> list[socket.socket]:
    """Sockets that the parent process holds open across restarts (`LISTEN_FDS`); mostly none.

    Raises :class:`~sessile.wire.errors.SettingsError` for what is not a listening TCP socket.
    """
    process, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count or (process and process != str(os.getpid())):
        return []
    if not (count.isascii() and count.isdecimal()):
        raise SettingsError(f"LISTEN_FDS must be a number, not {count!r}")
    return [_inherited(file) for file in range(FIRST, FIRST + int(count))]


def _inherited(file: int) -> socket.socket:
    try:
        found = socket.socket(fileno=file)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SettingsError(
            f"the file {file}, which LISTEN_FDS counts, is not a socket: {error.strerror}"
        ) from error
    if found.family not in (socket.AF_INET, socket.AF_INET6) or not listens:
        raise SettingsError(
            f"the file {file}, which LISTEN_FDS counts, is not a TCP socket that listens"
        )
    os.set_inheritable(file, False)
    found.setblocking(False)
    return found


def listening(settings: Settings) -> socket.socket:
    """A socket that listens at the address of the settings."""
    listener = bound(settings)
    listener.listen(BACKLOG)
    return listener


def refuse_remote(settings: Settings, host: str) -> None:
    """Refuse an address that other machines can reach, unless that is allowed."""
    if not settings.allow_remote and host != "localhost" and not is_loopback(host):
        raise SettingsError(
            f"with --host {host} everybody who can reach this machine can read and write all "
            "sessions, since there is no authentication; add --allow-remote to allow this"
        )


def bound(settings: Settings) -> socket.socket:
    """A socket at the address of the settings, which does not listen yet."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host,
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise SettingsError(f"cannot listen on {where}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener
