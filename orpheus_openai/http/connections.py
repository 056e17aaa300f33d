"""How many connections there may be, in all and for one address, and what the log says of those turned away."""

import contextlib
import ipaddress
import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from orpheus_openai.limits.caller import network_of

LOOPBACK = ("127.0.0.0/8", "::1", "::ffff:127.0.0.0/104")

SPARE_FILES = 1024
"""Open files that are kept for everything but connections: speeches, models, logs, and a burst to be turned away."""

BACKLOG = 512
"""Connections that the kernel may hold ready; all of them are accepted at once, some only to be turned away."""

QUIET_SECONDS = 60.0

logger = logging.getLogger(__name__)


class Connections:
    """The connections that are open, by the address they come from (IPv6: its /64 network)."""

    def __init__(
        self,
        *,
        in_all: int,
        per_address: int,
        exempt: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`exempt` are addresses and networks that only `in_all` holds for; `*` is every address."""
        self._in_all = in_all
        self._per_address = per_address
        self._everybody = "*" in exempt
        self._exempt = [found for entry in exempt if (found := _network(entry)) is not None]
        self._open: Counter[str] = Counter()
        self._total = 0
        self._clock = clock
        self._told: dict[str, _Told] = {}

    def enter(self, host: str) -> str | None:
        """Count a connection from `host`; returns why it is one too many, and then does not count it."""
        if self._total >= self._in_all:
            return "there are too many connections"
        address = network_of(host)
        if self._open[address] >= self._per_address and not self._is_exempt(host):
            return "there are too many connections from one address"
        self._total += 1
        self._open[address] += 1
        return None

    def leave(self, host: str) -> None:
        """Take back an `enter` that counted."""
        self._total -= 1
        address = network_of(host)
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def tell(self, why: str, host: str) -> None:
        """Log that a connection was closed; of each reason at once, then once a minute with their number."""
        told = self._told.setdefault(why, _Told())
        told.untold += 1
        now = self._clock()
        if now - told.at >= QUIET_SECONDS:
            times = f" ({told.untold} times since the last such line)" if told.untold > 1 else ""
            logger.warning("a connection from %s was closed: %s%s", host, why, times)
            told.at, told.untold = now, 0

    def _is_exempt(self, host: str) -> bool:
        if self._everybody:
            return True
        found = _network(host.partition("%")[0])
        if found is None:
            return False
        mapped = getattr(found.network_address, "ipv4_mapped", None)
        address = mapped or found.network_address
        return any(address in one for one in self._exempt)


class _Told:
    """What the log knows of one reason."""

    def __init__(self) -> None:
        self.at = -math.inf
        self.untold = 0


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def make_room_for(connections: int) -> int:
    """Raise this process's limit of open files as far as it needs and may; returns how many connections fit."""
    if sys.platform == "win32":
        return connections
    import resource  # noqa: PLC0415  not on Windows

    wanted = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # some systems have a lower limit than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    fit = max(soft - SPARE_FILES, soft // 2)
    logger.warning(
        "only %d of ORPHEUS_MAX_CONNECTIONS=%d connections fit: this process may open %d files (ulimit -n)",
        fit,
        connections,
        soft,
    )
    return fit
