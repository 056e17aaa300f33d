"""The cores that may be used here."""

import os
from pathlib import Path


def physical_cores() -> int:
    """Cores that this process may use, those that two threads share counted once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for number in allowed:
        shared = Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        try:
            siblings.add(shared.read_text(encoding="ascii").strip())
        except OSError:
            siblings.add(str(number))
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    """How many cores a container may keep busy (cgroup v2), rounded down."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # no such thing, or "max"
        return os.cpu_count() or 1
