"""A process that has imported what the commands import, and forks one for each that is run, in half a second less.

`python -m tests.support.command_template FD` takes one command after the other from that socket: a line of JSON with
its arguments, environment and folder, whether it is to ignore SIGHUP and whether it stays, and three descriptors, its
standard input and outputs. It answers with the exit code; for what stays, a server, with its number and a pipe in
which the exit code will be. What is forked ends as Python does, but for taking all that it has imported apart, which
would cost more than the imports that it was spared.
"""

import atexit
import gc
import json
import os
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn

import orpheus_openai.api
import orpheus_openai.cli.player
import orpheus_openai.cli.speakers
import orpheus_openai.doctor
import orpheus_openai.server  # noqa: F401

LONGEST = 1 << 20


_staying: dict[int, int] = {}
"""Processes that were left to themselves, and the pipes in which their exit codes are awaited."""


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, tell_who_ended)
    gc.freeze()
    while True:
        told, descriptors, _, _ = socket.recv_fds(channel, LONGEST, 3)
        if not told:
            return
        asked = json.loads(told)
        stays = asked.pop("stays")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # none ends before it is known
        if (child := os.fork()) == 0:
            channel.close()
            end(become(**asked, descriptors=descriptors))
        for each in descriptors:
            os.close(each)
        if stays:
            awaited, _staying[child] = os.pipe()
            socket.send_fds(channel, [str(child).encode()], [awaited])
            os.close(awaited)
        else:
            _, status = os.waitpid(child, 0)
            channel.send(str(os.waitstatus_to_exitcode(status)).encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def tell_who_ended(*_: Any) -> None:
    for child, pipe in list(_staying.items()):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            os.write(pipe, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(pipe)
            del _staying[child]


def become(
    arguments: list[str], environ: dict[str, str], folder: str, nohup: bool, descriptors: list[int]
) -> int:
    """Be the command that was asked for; its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for pipe in _staying.values():
        os.close(pipe)
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
