"""Processes that are forked from one which has imported vLLM, where otherwise each would import it for itself.

That takes ten seconds of processor time, and the tests start a dozen. The template is a fresh process with one thread;
environment, signal mask and folder are those of whoever starts a process, as if it were spawned.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import context
from pathlib import Path
from typing import Any

TEMPLATE = "tests.support.vllm_template"

_contexts: dict[str, Any] = vars(context)["_concrete_contexts"]


class Forked(context.ForkServerProcess):
    """A process from the template that is told what a spawned one inherits."""

    def start(self) -> None:
        self._inherited = dict(os.environ), signal.pthread_sigmask(signal.SIG_BLOCK, ()), str(Path.cwd())
        super().start()

    def run(self) -> None:
        environ, mask, folder = self._inherited
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        super().run()


class FromTemplate(context.ForkServerContext):
    """What the context "spawn" is to this process and its children."""

    Process = Forked  # type: ignore[assignment]


def spawn_from_template() -> None:
    """Let this process fork from the template what it spawns from now on."""
    _contexts["spawn"] = FromTemplate()


@contextlib.contextmanager
def from_template() -> Iterator[None]:
    """Let this process do so for a while; the first start makes the template."""
    spawn = _contexts["spawn"]
    multiprocessing.set_forkserver_preload([TEMPLATE])
    spawn_from_template()
    try:
        yield
    finally:
        _contexts["spawn"] = spawn
