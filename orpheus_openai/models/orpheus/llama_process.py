"""llama.cpp's process: started with parameters, its address awaited, ended or killed, and why it died."""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import msgspec

from orpheus_openai.errors import RETRY_SECONDS, NotReadyError
from orpheus_openai.models.threads import in_thread

CHILD = Path(__file__).with_name("llama_child.py")

START_SECONDS = 900.0
"""For a start that is not over by then: gigabytes from a slow disk take minutes."""

EXIT_SECONDS = 5.0
"""How long the process may take to end by itself before it is killed."""

KEPT_LINES = 60
"""Of what it wrote to standard error last."""

ERROR_WORDS = 400
"""Characters of llama.cpp's own words that go into an error message; the log has all of them."""

_LOG_PREFIX = re.compile(r"^[\d.]+ ([EWI]) (?:\S+ +)?\S+: ")
"""E.g. `0.00.279.263 E llama_model_load: `."""

logger = logging.getLogger(__name__)


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What llama.cpp starts with."""

    model: str
    """Path of the GGUF file."""
    context: int
    """Tokens of prompt and speech of one stream."""
    slots: int
    """Streams at once."""
    threads: int
    gpu_layers: int | None = None
    """Layers of the model on the graphics card; None lets llama.cpp choose."""
    adapters: tuple[str, ...] = ()
    """Paths of GGUF adapters, which requests name by their place here."""
    program: str = ""
    """A `llama-server` of the user's own; empty: the package xllamacpp."""
    api_key: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(24))


class LlamaProcess:
    """A running process; made by `start`, which belongs to the event loop that awaits it."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.address = ""
        self.devices: list[str] | None = None
        """Graphics cards that llama.cpp knows; None where it does not tell."""
        self._written: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = subprocess.Popen(  # noqa: S603  our own script
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Threads that spin while they wait take the codec's core away, and each other's where cores are few.
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
            start_new_session=True,  # Ctrl-C is the server's, which ends it when its streams have ended
        )
        self._errors = threading.Thread(target=self._keep_errors, name="llama.cpp", daemon=True)
        self._errors.start()

    @classmethod
    async def start(cls, parameters: Parameters) -> "LlamaProcess":
        """Start llama.cpp and wait until the model is loaded; when cancelled, it is gone before this returns.

        Raises NotReadyError with llama.cpp's own reason when it cannot.
        """
        process = cls(parameters)  # in this thread: Linux ends it with the thread that started it
        try:
            async with asyncio.timeout(START_SECONDS):
                process.address = await in_thread(process._hand_over)
        except BaseException as error:
            process.kill()
            await asyncio.shield(in_thread(process._see_off))
            if isinstance(error, TimeoutError):
                raise NotReadyError(
                    f"llama.cpp is not ready after {START_SECONDS:g} s.",
                    code="model_load_failed",
                    retry_after=RETRY_SECONDS,
                ) from error
            raise
        if not process.address:
            await in_thread(process._see_off)
            raise NotReadyError(
                f"llama.cpp could not start with {parameters.model}: {process.reason()}",
                code="model_load_failed",
                retry_after=RETRY_SECONDS,
            )
        return process

    @property
    def pid(self) -> int:
        """Of the process that holds the model, or that holds the user's own program below it."""
        return self._process.pid

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def reason(self) -> str:
        """Why it died, in its own words where it left any."""
        lines = list(self._written)
        errors = [line for line in lines if (found := _LOG_PREFIX.match(line)) and found[1] == "E"]
        loading = [line for line in errors if "error loading model: " in line]
        code = self._process.returncode
        killed = code is not None and code < 0  # then what it wrote before has little to do with it
        chosen = loading[-1:] or errors[-1:] or ([] if killed else lines[-1:])
        words = _LOG_PREFIX.sub("", chosen[0]).removeprefix("error loading model: ") if chosen else ""
        if code is not None and code < 0:
            words = f"it was ended by {signal.Signals(-code).name}. {words}"
        words = words.strip() or f"it ended with status {code}"
        words = words if len(words) <= ERROR_WORDS else words[:ERROR_WORDS] + "…"
        return words if words.endswith((".", "…")) else f"{words}."

    def kill(self) -> None:
        """End it, and what it has started, at once."""
        if not self.dead:
            _kill_session(self._process.pid)

    async def end(self) -> None:
        """End it; nothing is left of it when this returns."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        await in_thread(self._see_off)

    def _hand_over(self) -> str:
        """Tell the parameters, and wait for the address; empty where the process ends first. Blocking."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101  both are pipes
        assert stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            stdin.write(msgspec.json.encode(self.parameters) + b"\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            return ""
        started = msgspec.json.decode(line)
        self.devices = started["devices"]
        return str(started["address"])

    def _see_off(self) -> None:
        """Wait for the end, and bring it about where it does not come. Blocking."""
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            _kill_session(self._process.pid)
            self._process.wait()
        self._errors.join(EXIT_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _keep_errors(self) -> None:
        pipe = self._process.stderr
        assert pipe is not None  # noqa: S101  it is a pipe
        with pipe:
            for raw in pipe:
                line = raw.decode("utf-8", "replace").rstrip()
                if line:
                    self._written.append(line)
                    logger.debug("llama.cpp: %s", line)


def _kill_session(pid: int) -> None:
    """Kill a process that leads a session, and all in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
