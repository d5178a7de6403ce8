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
