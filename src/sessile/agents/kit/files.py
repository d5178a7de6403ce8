"""Which addresses of files go on to a model.

A model's server requests the addresses that it receives, from its own place in the network, and some
agents read them on this machine. So only a file's content goes on, and the addresses of hosts that
the settings allow.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import inet_aton

import msgspec
from msgspec import UNSET

from sessile.wire.errors import SettingsError
from sessile.wire.messages import Message
from sessile.wire.parts import FilePart, Part, TextPart, text_of

ALL = "*"

# Stricter than any parser, so that all parsers agree where an address leads.
_ADDRESS = re.compile(
    r"https?://(?P<host>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?P<port>:\d{1,5})?(?:[/?#][\x21-\x5b\x5d-\x7e]*)?",
    re.IGNORECASE,
)
_LOCAL = re.compile(r"(^|\.)(localhost|local|internal|intranet|lan|home|corp|home\.arpa)$")
_NUMBER = re.compile(r"(0x[0-9a-f]*|\d+)$")  # the last label of an IPv4 address in any notation
_TRANSLATED = [IPv6Network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")]  # fmt: skip


class FileHosts:
    """The hosts whose addresses of files go on; ``*`` is every public host.

    A host that is loopback, link-local or private must be named. Raises
    :class:`~sessile.wire.errors.SettingsError` for what is not a host.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = {host.lower() for host in hosts}
        for host in self._hosts - {ALL}:
            found = _ADDRESS.fullmatch(f"http://{host}")
            if found is None or found["host"] + (found["port"] or "") != host:
                raise SettingsError(
                    f"--allow-file-host {host} is not valid; use the name of a host, with its port "
                    "if only this port is allowed, or * for all public hosts"
                )

    def allows(self, url: str) -> bool:
        """Whether a file's address goes on to the model."""
        if url.startswith("data:"):
            return True
        found = _ADDRESS.fullmatch(url)
        if found is None:
            return False
        host = found["host"].lower()
        if host in self._hosts or f"{host}{found['port'] or ''}" in self._hosts:
            return True
        return ALL in self._hosts and _is_public(host)

    def shown(self, message: Message) -> Message:
        """A message as the model may see it: a note stands for a file that does not go on."""
        if all(not isinstance(part, FilePart) or self.allows(part.url) for part in message.parts):
            return message
        parts = [self._shown(part) for part in message.parts]
        return msgspec.structs.replace(message, parts=parts, content=text_of(parts))

    def _shown(self, part: Part) -> Part:
        if not isinstance(part, FilePart) or self.allows(part.url):
            return part
        name = part.media_type if part.filename is UNSET else part.filename
        return TextPart(f"\n[file {name}: its address is not passed on]\n")


def _is_public(host: str) -> bool:
    """Whether a host's name does not say that it is on this machine or in this network."""
    address = _address_of(host)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None or any(address in net for net in _TRANSLATED):
            return False
    elif address is None:
        return (
            "." in host and not _LOCAL.search(host) and not _NUMBER.match(host.rpartition(".")[2])
        )
    return address.is_global and not address.is_multicast


def _address_of(host: str) -> IPv4Address | IPv6Address | None:
    """An address in any notation that a client may understand, such as 0x7f.1."""
    try:
        if host.startswith("["):
            return ip_address(host.strip("[]"))
        return IPv4Address(inet_aton(host))
    except (ValueError, OSError):
        return None
