"""What a server and all processes that it started hold: memory, threads, open files. Linux alone."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holding:
    """All processes of a server together, at one moment."""

    processes: int
    memory_mib: float
    """What they take from the machine: pages that several share count once (PSS)."""
    threads: int
    descriptors: int


def family(pid: int) -> list[int]:
    """The process and its descendants, as they are now."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for each in found:
        found.extend(child for child, parent in parents.items() if parent == each)
    return found


def holding(pid: int) -> Holding:
    """What the process and its descendants hold; memory of another user's processes can only be read by root."""
    memory = threads = descriptors = 0
    processes = family(pid)
    for each in processes:
        folder = Path(f"/proc/{each}")
        try:
            pss = re.search(r"^Pss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE)
            memory += int(pss[1]) if pss else 0
            threads += len(list((folder / "task").iterdir()))
            descriptors += len(list((folder / "fd").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return Holding(len(processes), memory / 1024, threads, descriptors)
