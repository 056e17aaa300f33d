"""Who asks: whose share a request counts against, and what they may see."""

import ipaddress

import msgspec

from orpheus_openai.errors import AdminOnlyError

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
    admin: bool = False
    """Whether they may see what is others', and do what concerns everybody: admins, and all where there are no keys."""

    @property
    def account(self) -> str:
        """Whose share it counts against: the key's, or where there are no keys the address'."""
        if self.key is not None:
            return key_account(self.key)
        return f"address:{network_of(self.address)}" if self.address else ANONYMOUS

    @property
    def owner(self) -> str | None:
        """Whose it is what is kept for them: the key's; nobody's where there are no keys."""
        return None if self.key is None else self.account

    def may_see(self, owner: str | None) -> bool:
        """Whether what belongs to this account is there for them; None: what belongs to nobody."""
        return self.admin or (owner is not None and owner == self.account)

    def may_interrupt(self, account: str) -> bool:
        """Whether they may cut into speech of this account: their own, and with an admin's key anybody's."""
        return account == self.account or (self.admin and self.key is not None)

    def require_admin(self, what: str) -> None:
        """Raise AdminOnlyError unless they may do what concerns everybody; `what` says it, with a capital."""
        if not self.admin:
            raise AdminOnlyError(
                f"{what} concerns everybody who uses this server, and needs the key of an admin: whoever runs it "
                "makes one of yours by name:key:admin in ORPHEUS_API_KEYS."
            )


def key_account(name: str) -> str:
    """The account of whoever has the key of that name."""
    return f"key:{name}"


def network_of(address: str) -> str:
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
