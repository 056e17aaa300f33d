"""Servers of our own, as `benchmarks.serving` runs them, but forked from a process that has imported them already."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from benchmarks.serving import Server, spawned
from benchmarks.serving import serving as serving_anew
from tests.support.command_line import ignores_hangups, template


class Forked:
    """A process that is not this one's child, with as much of `subprocess.Popen` as `serving` needs."""

    def __init__(
        self, command: list[str], folder: Path, environ: Mapping[str, str], output: IO[bytes]
    ) -> None:
        asked = {
            "arguments": command[1:],
            "environ": dict(environ),
            "folder": str(folder),
            "nohup": ignores_hangups(),
            "stays": True,
        }
        channel = template()
        with Path(os.devnull).open("rb") as nothing:
            streams = [nothing.fileno(), output.fileno(), output.fileno()]
            socket.send_fds(channel, [json.dumps(asked).encode()], streams)
        told, (self._ended,), _, _ = socket.recv_fds(channel, 16, 1)
        self.pid = int(told)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.returncode = int(os.read(self._ended, 16))
            os.close(self._ended)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._ended], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def serving(folder: Path, environ: Mapping[str, str], module: str = "orpheus_openai") -> Iterator[Server]:
    """`benchmarks.serving.serving`, in a fifth of the processor time.

    Another `module`, and one whose Python itself is told something, is started anew.
    """
    ours = ("PYTHON", "LC_", "LANG")
    anew = module != "orpheus_openai" or any(
        environ.get(name) != os.environ.get(name) for name in {*environ, *os.environ} if name.startswith(ours)
    )
    with serving_anew(folder, environ, module, spawned if anew else Forked) as server:
        yield server
