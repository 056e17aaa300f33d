"""Ports for servers that have to be told one before they listen."""

import itertools
import os
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 20_000
HIGHEST = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
"""From here on the system gives ports away by itself, to connections too: one that is free now may not be so soon."""

_numbers = itertools.count(os.getpid() * 97)
"""Processes that test at the same time begin at different places."""


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, and which nobody is given by chance."""
    for number in _numbers:
        port = LOWEST + number % (HIGHEST - LOWEST)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError
