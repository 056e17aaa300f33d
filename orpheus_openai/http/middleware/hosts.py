"""Which names a server without keys answers to: none that somebody else could own (DNS rebinding).

A page may point a name of its own at this machine once the browser has loaded it, and is then of the same origin as
the server. The name it was asked for by, in `Host`, gives it away.
"""

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc")
"""Names that nobody can register: RFC 6761, 6762, 8375, ICANN's `.internal` (which `host.docker.internal` is one
of), what home routers use, and Kubernetes' services (`name.namespace.svc`, and with `.cluster.local` behind it)."""

RESOLVER = Path("/etc/resolv.conf")
IN_A_POD = "KUBERNETES_SERVICE_HOST"
"""What Kubernetes sets in every container of a pod."""

_SEARCHED = re.compile(
    r"search\s+[^\s.]+\.(?P<services>svc\.(?P<domain>[^\s.]+\.\S+?))\.?\s+(?P=services)\.?\s+(?P=domain)\.?(?:\s|$)"
)
"""`search NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN`, and what the machine has searched behind it."""
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[^\s:/@\[\]\\?#]*)(?::\d*)?")


class HostRule:
    """The names that pass: addresses, private names, this machine's own, and those in ORPHEUS_ALLOWED_HOSTS."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """`allowed` are names, `*.example.com` for all below one, or `*` for all there are."""
        self._allowed = frozenset(allowed)
        self._services = service_suffixes()
        self._machine: asyncio.Task[frozenset[str]] | None = None

    async def passes(self, header: str) -> bool:
        """Whether the value of a Host header is a name this server answers to."""
        name = host_name(header)
        if name is None:
            return False
        return (
            is_private(name)
            or name.endswith(self._services)
            or not self._allowed.isdisjoint(_patterns(name))
            or name in await self._machine_names(name)
        )

    async def _machine_names(self, name: str) -> frozenset[str]:
        """What this machine is called; its full name may take the resolver seconds, so it is asked once, if at all."""
        own = socket.gethostname().lower()
        if name.partition(".")[0] != own.partition(".")[0]:
            return frozenset()
        if self._machine is None:
            self._machine = asyncio.create_task(asyncio.to_thread(_full_names, own))
        return await asyncio.shield(self._machine)


def host_name(header: str) -> str | None:
    """The name in a Host header, in lower case, without port and final dot; None where there can be none."""
    found = _HOST.fullmatch(header.strip().lower())
    return None if found is None else found["name"].strip("[]").removesuffix(".")


def is_private(name: str) -> bool:
    """Whether nobody can own `name` on the internet: an address, a name without a dot, or below a private suffix."""
    return "." not in name or name.endswith(PRIVATE_SUFFIXES) or _is_address(name)


def service_suffixes() -> tuple[str, ...]:
    """What the names of services end with in the cluster whose pod this is; nothing outside of a pod.

    A cluster's domain is chosen where it is set up (`cluster.local` mostly), and stands in each pod's /etc/resolv.conf
    as Kubernetes writes it (its documentation, "DNS for Services and Pods"). Elsewhere that file is written by the
    network, which may be a stranger's. Below a domain of one label, such as `dev`, somebody may own `svc.dev`.
    """
    if IN_A_POD not in os.environ:
        return ()
    try:
        lines = RESOLVER.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    except OSError:
        return ()
    searched = [line for line in lines if line.startswith("search")]
    found = _SEARCHED.match(searched[-1]) if searched else None
    return () if found is None else (f".{found['services']}",)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _patterns(name: str) -> set[str]:
    labels = name.split(".")
    return {"*", name, *(f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels)))}


def _full_names(own: str) -> frozenset[str]:
    return frozenset({own, socket.getfqdn().lower()})
