"""What is known of a request while it is served: who asks, and what is spoken for them."""

import contextlib
import ipaddress
from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orpheus_openai.speech.speech import Speech

IPV6_PREFIX = 64
"""Bits of an IPv6 address that one customer is given at least (RFC 6177); the rest is theirs to vary."""


class Visit:
    """One request under way; whoever learns something about it writes it here."""

    def __init__(self, request_id: str, address: str) -> None:
        self.id = request_id
        self.address = address
        self.key: str | None = None
        """Name of the key that came with it; None where none is needed, or none was accepted."""
        self.speech: Speech | None = None
        self.headers: dict[str, str] = {}
        """For its answer: what is left of the caller's share."""

    @property
    def account(self) -> str:
        """Whose share it counts against: the key's, or where there are no keys the address'."""
        return f"address:{_network(self.address)}" if self.key is None else f"key:{self.key}"


class Visits:
    """All requests under way, by their id, which is known wherever work is done for them."""

    def __init__(self) -> None:
        self._open: dict[str, Visit] = {}

    @contextlib.contextmanager
    def open(self, visit: Visit) -> Generator[None]:
        """It can be found inside the block."""
        self._open[visit.id] = visit
        try:
            yield
        finally:
            del self._open[visit.id]

    def get(self, request_id: str) -> Visit | None:
        """Find it; None for work that no request asked for, such as that of a Python program."""
        return self._open.get(request_id)


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
