"""Which user of this machine a loopback connection comes from: on Linux, the kernel knows.

Loopback is not private: every user of the machine can connect. The kernel is asked for the other
end of the connection (sock_diag(7)), which is on this machine too, and says who made it.
"""

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from sessile.wire.hosts import is_loopback

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, REQUEST = 4, 20, 1
ALL_STATES = 0xFFFFFFFF
NO_COOKIE = b"\xff" * 8

# The header of a message: its length, type, flags, number, and the asking process. The question:
# family, protocol, no extensions, states, and the two ends with their interface and cookie.
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH")
_USER = struct.Struct("=I")
_USER_AT = _HEADER.size + 64  # where the user's number stands in the answer

Address: TypeAlias = tuple[str, int]


class Peers:
    """Asks for the users of loopback connections."""

    def __init__(self) -> None:
        self._kernel: socket.socket | None = None
        family = getattr(socket, "AF_NETLINK", None)
        if family is not None:
            with suppress(OSError):
                self._kernel = socket.socket(family, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
                self._kernel.settimeout(0)

    def user_of(self, client: Address, server: Address) -> int | None:
        """The number of the user who connected; None where the system does not say."""
        if self._kernel is None:
            return None
        try:
            self._kernel.send(_question(client, server))
            answer = self._kernel.recv(4096)
        except OSError:
            return None
        kind = _HEADER.unpack_from(answer)[1]
        if kind != SOCK_DIAG_BY_FAMILY or len(answer) < _USER_AT + _USER.size:
            return None
        user: int = _USER.unpack_from(answer, _USER_AT)[0]
        return user


def is_local(address: str) -> bool:
    """Whether a client's address is one of loopback, in whichever way a listener gives it."""
    try:
        return is_loopback(str(_plain(address)))
    except ValueError:
        return False


def _question(client: Address, server: Address) -> bytes:
    ends = [_plain(client[0]), _plain(server[0])]
    family = socket.AF_INET if ends[0].version == 4 else socket.AF_INET6
    question = (
        _QUESTION.pack(family, socket.IPPROTO_TCP, 0, ALL_STATES)
        + _PORTS.pack(client[1], server[1])
        + b"".join(end.packed.ljust(16, b"\0") for end in ends)
        + bytes(4)
        + NO_COOKIE
    )
    size = _HEADER.size + len(question)
    return _HEADER.pack(size, SOCK_DIAG_BY_FAMILY, REQUEST, 0, 0) + question


def _plain(address: str) -> IPv4Address | IPv6Address:
    """An address; one of IPv4 also where a listener for both gives it as one of IPv6."""
    found = ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return found if mapped is None else mapped
