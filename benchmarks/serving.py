"""A server of our own in a process of its own, for as long as it is measured or tested."""

import contextlib
import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

START_SECONDS = 60
STOP_SECONDS = 15
"""Longer than the server's own grace for streams that go on."""

_ANNOUNCED = re.compile(r'(?:API\s+|"api":")http://\S+?:(\d+)/v1')
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    url: str
    """Where it listens, without `/v1`."""
    pid: int
    start_seconds: float
    """From the start of the process until `/health` was answered."""
    log: Path

    def resident_mib(self) -> tuple[float, float]:
        """Memory of the process in MiB, now and at its peak; (nan, nan) where the system has no /proc."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except FileNotFoundError:
            return float("nan"), float("nan")
        kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE))
        return int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time that all threads of the process have used so far; nan where the system cannot tell."""
        if sys.platform != "linux":
            return float("nan")
        # The clock of another process, by its number (CPUCLOCK_SCHED): /proc counts in steps of 10 ms.
        return time.clock_gettime((~self.pid << 3) | 2)


class Waits:
    """How long the server's main thread and our own have stood ready and had no core to run on, on Linux."""

    def __init__(self, pid: int) -> None:
        self._files = [Path(f"/proc/{each}/task/{each}/schedstat") for each in (pid, os.getpid())]

    def seconds(self) -> float:
        """Both together so far; 0 where the system does not count it."""
        return sum(int(file.read_text().split()[1]) / 1e9 for file in self._files if file.exists())


class Process(Protocol):
    """As much of `subprocess.Popen` as is needed here."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; raises subprocess.TimeoutExpired when it has not ended in time."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


def spawned(command: list[str], folder: Path, environ: Mapping[str, str], output: IO[bytes]) -> Process:
    """A fresh Python that runs a module; `command` is its name and arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


@contextlib.contextmanager
def serving(
    folder: Path,
    environ: Mapping[str, str],
    module: str = "orpheus_openai",
    start: Callable[[list[str], Path, Mapping[str, str], IO[bytes]], Process] = spawned,
) -> Iterator[Server]:
    """Run `orpheus-openai serve`, or another `module`, in `folder`, on a free port of 127.0.0.1.

    It has no other environment. Raises RuntimeError with the server's log when it does not come up.
    """
    log = folder / "server.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        process = start(
            [module, "serve"], folder, {**environ, "ORPHEUS_HOST": "127.0.0.1", "PORT": "0"}, output
        )
    try:
        port = _wait_until_up(process, log, began + START_SECONDS)
        yield Server(f"http://127.0.0.1:{port}", process.pid, time.perf_counter() - began, log)
    finally:
        _stop(process)


def _wait_until_up(process: Process, log: Path, deadline: float) -> int:
    while time.perf_counter() < deadline:
        if announced := _ANNOUNCED.search(log.read_text(errors="replace")):
            port = int(announced.group(1))
            if _healthy(port):
                return port
        if process.poll() is not None:
            break
        time.sleep(_POLL_SECONDS)
    state = "did not come up" if process.returncode is None else f"ended with exit code {process.returncode}"
    raise RuntimeError(f"the server {state}; its log:\n{log.read_text(errors='replace')[-4000:]}")


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _stop(process: Process) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
