"""A vLLM engine's life: what it starts with, how a start is broken off, an end that leaves nothing behind."""

import importlib
import logging
import os
import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import msgspec

from orpheus_openai.errors import RETRY_SECONDS, NotReadyError
from orpheus_openai.gpu.device import only_visible
from orpheus_openai.models.imports import lasting_import
from orpheus_openai.models.orpheus.checkpoint import Checkpoint
from orpheus_openai.models.orpheus.vllm_options import EngineOptions, engine_arguments
from orpheus_openai.models.orpheus.vllm_processes import (
    OWNER,
    Family,
    engine_processes,
    kill_with_workers,
)

logger = logging.getLogger(__name__)

EXIT_SECONDS = 10.0
"""How long an engine's processes may take to end by themselves before they are killed."""

ERROR_WORDS = 400
"""Characters of vLLM's own words that go into an error message; the log has all of them."""

ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # A fork of a server with threads can inherit a lock that nobody will ever release.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # It would compile itself with nvcc, g++ and ninja at the first start, which runtime images do not have.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
"""Set where the user has not; vLLM reads them here and in its own processes."""

_starting = threading.Lock()
"""Held while an engine starts, so that it measures memory and finds its processes without another's."""


class RunningEngine(msgspec.Struct):
    """A running engine and the processes it lives in."""

    llm: Any
    """vLLM's `AsyncLLM`; None when the engine has ended."""
    processes: Family
    can_sleep: bool
    checkpoint: Checkpoint
    audio_head: bool = False
    """Whether it knows only the ids that can be spoken, turned as `spoken_ids` tells."""

    def end(self) -> None:
        """End the processes; they are gone when this returns, within a few seconds. Blocking."""
        llm, self.llm = self.llm, None
        llm.shutdown()
        self.processes.see_off(EXIT_SECONDS)


class EngineStart:
    """One start of an engine: `run` blocks in a thread, `cancel` breaks it off from another."""

    def __init__(self, checkpoint: Checkpoint, options: EngineOptions) -> None:
        self._checkpoint = checkpoint
        self._options = options
        self._cancelled = threading.Event()
        self._others: set[BaseProcess] | None = None

    def run(self) -> RunningEngine:
        """Start the engine; raises NotReadyError when it cannot, or was cancelled."""
        while not _starting.acquire(timeout=0.2):
            self._check()
        try:
            self._others = engine_processes()
            for name, value in ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            os.environ[OWNER] = str(os.getpid())
            # Ctrl-C goes to all processes of a terminal. Those that this thread starts inherit that it is
            # blocked here, so that the server can let its streams end before it ends the engine. The tracker
            # comes first because starting it takes the block away.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            with only_visible(self._options.gpus):
                return self._start()
        finally:
            self._others = None
            _starting.release()

    def cancel(self) -> None:
        """Kill what has been started so far; to be called until `run` has returned."""
        self._cancelled.set()
        for process in self._processes():
            kill_with_workers(process)

    def _start(self) -> RunningEngine:
        try:
            with lasting_import("vllm"):
                from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415  # takes seconds
                from vllm.platforms import current_platform  # noqa: PLC0415
                from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

            whole_head = self._options.whole_head_because(self._checkpoint)
            if whole_head is None:
                importlib.import_module("orpheus_openai.models.orpheus.vllm_audio_head")
            else:
                logger.info(
                    "%s computes logits of all ids, not of audio alone: %s",
                    self._checkpoint.directory,
                    whole_head,
                )
            can_sleep = self._options.sleep_mode and bool(current_platform.is_sleep_mode_available())
            total = None if current_platform.is_cpu() else int(current_platform.get_device_total_memory())
            options = engine_arguments(self._checkpoint, self._options, total)
            if current_platform.is_cpu():
                # Compiling takes a third of the start, and what a step takes beside the weights is gone already.
                options["enforce_eager"] = True
            if current_platform.is_cpu() and self._options.tensor_parallel == 1:
                # By its class: vLLM would take the name "uni" for "mp" here, as it cannot pin the threads to
                # cores then. On a GPU it is the default. It starts and speaks sooner, as the engine has one
                # process less to start and to wait for at each token.
                from vllm.v1.executor.uniproc_executor import UniProcExecutor  # noqa: PLC0415

                options["distributed_executor_backend"] = UniProcExecutor
            arguments = AsyncEngineArgs(**options, enable_sleep_mode=can_sleep)
            self._check()
            # In no local variable: vLLM keeps errors that it has caught, and with them its callers' frames.
            return RunningEngine(
                llm=AsyncLLM.from_engine_args(arguments),
                processes=Family(self._processes()),
                can_sleep=can_sleep,
                checkpoint=self._checkpoint,
                audio_head=whole_head is None,
            )
        except NotReadyError:
            raise
        except Exception as error:
            self._check()
            raise NotReadyError(
                f"vLLM could not start with {self._checkpoint.directory}: {_in_short(error)} What it wrote "
                "to the log before this tells more.",
                code="model_load_failed",
                retry_after=RETRY_SECONDS,
            ) from error

    def _processes(self) -> set[BaseProcess]:
        others = self._others
        return set() if others is None else engine_processes() - others

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise NotReadyError(
                "The start of the speech engine was cancelled.",
                code="model_load_failed",
                retry_after=RETRY_SECONDS,
            )


def _in_short(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= ERROR_WORDS else words[:ERROR_WORDS] + "…"
