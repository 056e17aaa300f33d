"""A process that has imported what the commands import, and forks one for each that is run, in half a second less.

`python -m tests.support.command_template FD` takes one command after the other from that socket: a line of JSON with
its arguments, environment and folder, and three descriptors, its standard input and outputs. It answers with the exit
code. What is forked ends as Python does, but for taking all that it has imported apart, which would cost more than the
imports that it was spared.
"""

import atexit
import gc
import json
import os
import socket
import sys
import threading
import traceback
from typing import NoReturn

import orpheus_openai.api
import orpheus_openai.cli.player
import orpheus_openai.cli.speakers
import orpheus_openai.doctor  # noqa: F401

LONGEST = 1 << 20


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    gc.freeze()
    while True:
        told, descriptors, _, _ = socket.recv_fds(channel, LONGEST, 3)
        if not told:
            return
        if (child := os.fork()) == 0:
            channel.close()
            end(become(**json.loads(told), descriptors=descriptors))
        for each in descriptors:
            os.close(each)
        _, status = os.waitpid(child, 0)
        channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(arguments: list[str], environ: dict[str, str], folder: str, descriptors: list[int]) -> int:
    """Be the command that was asked for; its exit code."""
    for stream, descriptor in enumerate(descriptors):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    from orpheus_openai.cli import main as command  # noqa: PLC0415  imported above

    sys.argv = ["orpheus-openai", *arguments]
    try:
        command(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:  # noqa: BLE001  as Python would end it
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> NoReturn:
    """Wait for threads, do what is to be done at exit, and say all that was said."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
