"""Who asks: whose share a request counts against."""

import ipaddress

import msgspec

ANONYMOUS = "anonymous"
"""The account of whoever asks without saying who they are; it has a share like every other."""

PROGRAM = "program"
"""The account of a program that speaks in its own process, as the command line does; it has no limit."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that one customer is given at least (RFC 6177); the rest is theirs to vary."""


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request."""

    address: str = ""
    """The IP address it came from; empty: unknown."""
    key: str | None = None
    """Name of the key that came with it; None where none is needed, or none was accepted."""

    @property
    def account(self) -> str:
        """Whose share it counts against: the key's, or where there are no keys the address'."""
        if self.key is not None:
            return f"key:{self.key}"
        return f"address:{network(self.address)}" if self.address else ANONYMOUS


def network(address: str) -> str:
    """Whom an address stands for: itself, or of IPv6 the network that one customer has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
