"""`orpheus-openai`, run as a person runs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.support.environment import environ

ENVIRON = environ(PORT="0", PYTHONUTF8="1")
"""With no port on which a server would be looked for."""

SECONDS = 110


def run(
    *arguments: str | bytes, folder: Path, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """One command, with the preview model and without a server; `environ` is added to the environment.

    It is a process of its own, forked from one that has imported it already, unless Python itself is told something.
    """
    if any(name.startswith(("PYTHON", "LC_", "LANG")) for name in environ):
        return subprocess.run(
            [sys.executable, "-m", "orpheus_openai", *arguments],
            cwd=folder,
            env={**ENVIRON, **environ},
            input=stdin,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    asked = {
        "arguments": [os.fsdecode(argument) for argument in arguments],
        "environ": {**ENVIRON, **environ},
        "folder": str(folder),
        "nohup": ignores_hangups(),
        "stays": False,
    }
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as complained,
    ):
        given.write(stdin)
        given.seek(0)
        streams = [stream.fileno() for stream in (given, said, complained)]
        channel = template()
        socket.send_fds(channel, [json.dumps(asked).encode()], streams)
        code = int(channel.recv(16))
        for stream in (said, complained):
            stream.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, said.read(), complained.read())


def ignores_hangups() -> bool:
    """Whether this process does; what it starts inherits that."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@cache
def template() -> socket.socket:
    """The process that commands are forked from; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.command_template", str(theirs.fileno())],
            cwd=Path(__file__).parents[2],
            env=ENVIRON,
            pass_fds=[theirs.fileno()],
        )
    ours.settimeout(SECONDS)
    return ours
