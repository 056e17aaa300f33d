"""The processes an engine lives in: found, killed, waited for, ended with the server that started them."""

import atexit
import contextlib
import gc
import multiprocessing
import os
import select
import signal
import threading
import time
from collections.abc import Iterable
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path

OWNER = "_ORPHEUS_ENGINE_OWNER"
"""Environment variable with the process id of the server; set only for engines that live in a server."""


def engine_processes() -> set[BaseProcess]:
    """Return the engines' processes that this one has started; each may have workers of its own."""
    return {process for process in multiprocessing.active_children() if process.name.startswith("EngineCore")}


def kill_with_workers(process: BaseProcess) -> None:
    """Kill an engine's process and all that descend from it, also those that are just being started."""
    if process.pid is not None:
        for pid in _stopped_family(process.pid):
            _send(pid, signal.SIGKILL)


class Family:
    """Engines' processes with their workers, as they are now, told from later ones of the same id."""

    def __init__(self, processes: Iterable[BaseProcess]) -> None:
        pids = [pid for process in processes if process.pid is not None for pid in _family(process.pid)]
        self._handles: list[int] = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._handles.append(os.pidfd_open(pid))

    def see_off(self, seconds: float) -> None:
        """Wait until all have ended, and kill those that have not after `seconds`. Blocking."""
        deadline = time.monotonic() + seconds
        for handle in self._handles:
            if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [])
            os.close(handle)
        self._handles.clear()
        multiprocessing.active_children()  # takes note of those that have ended


@cache
def end_with_owner() -> None:
    """Watch the server from now on, where there is one, and kill this process when it is gone.

    When this process ends by itself, it does so at once.
    """
    owner = os.environ.get(OWNER)
    if owner is not None:
        atexit.register(_end_at_once)
        threading.Thread(target=_watch, args=(int(owner),), name="owner", daemon=True).start()


def _end_at_once() -> None:
    """Spare Python's last look for garbage among all that vLLM has imported.

    It takes two seconds, in which the next model waits for the memory. Libraries in C++ then complain of
    objects that were left; nobody needs to read that.
    """
    gc.freeze()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _watch(owner: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # gone while this process was starting
        select.select([os.pidfd_open(owner)], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def _family(pid: int) -> list[int]:
    return [pid, *(descendant for child in _children(pid) for descendant in _family(child))]


def _stopped_family(pid: int) -> list[int]:
    # What is stopped starts no other process between the look and the kill.
    _send(pid, signal.SIGSTOP)
    return [pid, *(descendant for child in _children(pid) for descendant in _stopped_family(child))]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            # After the name in brackets, which may hold anything, come the state and the parent (proc(5)).
            _, parent, *_ = status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(parent) == pid:
                found.append(int(status.parent.name))
    return found


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
