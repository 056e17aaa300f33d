"""Which of some processes are llama.cpp as this server starts it."""

import contextlib
from collections.abc import Iterable

import psutil

from orpheus_openai.models.orpheus.llama_process import CHILD


def llama_children(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that live: one may end, and be a zombie for a moment, while it is asked."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if CHILD.name in " ".join(process.cmdline()):
                found.append(process)
    return found
