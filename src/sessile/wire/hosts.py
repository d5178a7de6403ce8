"""Names and addresses of hosts. Pure."""

from functools import lru_cache
from ipaddress import ip_address


def is_loopback(address: str) -> bool:
    """Whether a text is an address of loopback."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


@lru_cache(1024)
def names_loopback(host: str) -> bool:
    """Whether a host of a URL, as it is written there in lower case, is this machine itself."""
    return host == "localhost" or host.endswith(".localhost") or is_loopback(host.strip("[]"))


_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def without_default_port(host: str) -> str:
    """A ``Host``, whose scheme is not known, without a port that could be the default one."""
    return host.removesuffix(":80").removesuffix(":443")


def host_of(origin: str, host: str | None = None) -> str:
    """The host of an origin, or the ``Host`` of a request from it, without the default port of its
    scheme."""
    scheme, _, own = origin.partition("://")
    return (own if host is None else host).removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def plain_origin(origin: str) -> str:
    """An origin as browsers send it: in lower case, without its default port."""
    origin = origin.lower().rstrip("/")
    scheme, found, _ = origin.partition("://")
    return f"{scheme}://{host_of(origin)}" if found else origin
