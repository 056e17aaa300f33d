"""A vLLM engine's life: what it starts with, how a start is broken off, an end that leaves nothing behind."""

import os
import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import msgspec

from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.gpu.device import only_visible
from orpheus_openai.models.imports import lasting_import
from orpheus_openai.models.orpheus.checkpoint import ENGINE_OVERHEAD, Checkpoint
from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.vllm_processes import (
    OWNER,
    Family,
    engine_processes,
    kill_with_workers,
)

EXIT_SECONDS = 10.0
"""How long an engine's processes may take to end by themselves before they are killed."""

BATCHED_TOKENS = 2048
"""Prompt tokens in one step: several prompts of Orpheus fit, and activations stay small."""

ERROR_WORDS = 400
"""Characters of vLLM's own words that go into an error message; the log has all of them."""

_LOGITS_PROCESSOR = "orpheus_openai.models.orpheus.vllm_audio_only:AudioOnly"

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


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How vLLM holds a model. The defaults fit one GPU that is shared with other work."""

    max_streams: int = 8
    """Segments spoken at once; more wait inside the engine."""
    max_model_len: int = 8192
    """Tokens of prompt and speech together, or what the checkpoint was made for where that is less."""
    stream_tokens: int = 2048
    """Cache for each stream: 24 s. When all need more at once, some have to wait: slower, never wrong."""
    memory_fraction: float | None = None
    """Share of each GPU's memory; None: what the weights, all streams' cache and the engine itself take."""
    dtype: str = "auto"
    quantization: str | None = None
    """E.g. `fp8`; None: as the checkpoint says."""
    tensor_parallel: int = 1
    """GPUs over which the weights are split."""
    enforce_eager: bool = False
    """No compilation and no captured graphs: starts sooner, speaks slower."""
    sleep_mode: bool = True
    """Whether it can be put to sleep, where it knows how; its weights are in the host's memory then."""
    load_format: Literal["auto", "dummy"] = "auto"
    """`dummy` makes random weights up, to measure speed without a checkpoint's."""
    gpu: int | None = None
    """The card, by NVML's number; None: the first that CUDA shows, or as many as `tensor_parallel` says."""
    stall_seconds: float = 120.0
    """A stream that gets no token for so long ends in an error."""

    def context(self, checkpoint: Checkpoint) -> int:
        """Tokens of prompt and speech together that one segment can have."""
        return min(self.max_model_len, checkpoint.shape.max_position_embeddings)

    def cache_bytes(self, checkpoint: Checkpoint) -> int:
        """Memory on each GPU for keys and values: of all streams, at least of one segment of full length."""
        tokens = max(self.context(checkpoint), self.max_streams * self.stream_tokens)
        return checkpoint.shape.cache_bytes(tokens, self._number_bytes) // self.tensor_parallel

    def memory_bytes(self, checkpoint: Checkpoint) -> int:
        """Memory that the engine needs on each GPU."""
        weights = checkpoint.weight_bytes(self._number_bytes) // self.tensor_parallel
        return weights + self.cache_bytes(checkpoint) + ENGINE_OVERHEAD

    @property
    def _number_bytes(self) -> int:
        return 4 if self.dtype == "float32" else 2  # `auto` makes half of float32 checkpoints, too


class Engine(msgspec.Struct):
    """A running engine and the processes it lives in."""

    llm: Any
    """vLLM's `AsyncLLM`; None when the engine has ended."""
    processes: Family
    can_sleep: bool

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

    def run(self) -> Engine:
        """Start the engine; raises ModelUnavailableError when it cannot, or was cancelled."""
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
            with only_visible(self._options.gpu):
                return self._start()
        finally:
            self._others = None
            _starting.release()

    def cancel(self) -> None:
        """Kill what has been started so far; to be called until `run` has returned."""
        self._cancelled.set()
        for process in self._processes():
            kill_with_workers(process)

    def _start(self) -> Engine:
        try:
            with lasting_import("vllm"):
                from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415  # takes seconds
                from vllm.platforms import current_platform  # noqa: PLC0415
                from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

            can_sleep = self._options.sleep_mode and bool(current_platform.is_sleep_mode_available())
            total = None if current_platform.is_cpu() else int(current_platform.get_device_total_memory())
            options = engine_arguments(self._checkpoint, self._options, total)
            if current_platform.is_cpu() and self._options.tensor_parallel == 1:
                # By its class: vLLM would take the name "uni" for "mp" here, as it cannot pin the threads to
                # cores then. On a GPU it is the default. It starts and speaks sooner, as the engine has one
                # process less to start and to wait for at each token.
                from vllm.v1.executor.uniproc_executor import UniProcExecutor  # noqa: PLC0415

                options["distributed_executor_backend"] = UniProcExecutor
            arguments = AsyncEngineArgs(**options, enable_sleep_mode=can_sleep)
            self._check()
            # In no local variable: vLLM keeps errors that it has caught, and with them its callers' frames.
            return Engine(
                llm=AsyncLLM.from_engine_args(arguments),
                processes=Family(self._processes()),
                can_sleep=can_sleep,
            )
        except ModelUnavailableError:
            raise
        except Exception as error:
            self._check()
            raise ModelUnavailableError(
                f"vLLM could not start with {self._checkpoint.directory}: {_in_short(error)} What it wrote "
                "to the log before this tells more."
            ) from error

    def _processes(self) -> set[BaseProcess]:
        others = self._others
        return set() if others is None else engine_processes() - others

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise ModelUnavailableError("The start of the speech engine was cancelled.")


def engine_arguments(
    checkpoint: Checkpoint, options: EngineOptions, gpu_memory: int | None
) -> dict[str, Any]:
    """Put options in vLLM's terms; `gpu_memory` is the total of one GPU in bytes, None without a GPU.

    vLLM's own default takes nine tenths of the GPU; these take what the model needs to speak.
    """
    memory: dict[str, Any] = {}
    if options.memory_fraction is not None:
        memory["gpu_memory_utilization"] = options.memory_fraction
    else:
        memory["kv_cache_memory_bytes"] = options.cache_bytes(checkpoint)
        if gpu_memory is not None:
            memory["gpu_memory_utilization"] = min(0.95, options.memory_bytes(checkpoint) / gpu_memory)
    return {
        "model": str(checkpoint.directory),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "load_format": options.load_format,
        "use_tqdm_on_load": False,
        "dtype": options.dtype,
        "quantization": options.quantization,
        "tensor_parallel_size": options.tensor_parallel,
        "enforce_eager": options.enforce_eager,
        "max_model_len": options.context(checkpoint),
        "max_num_seqs": options.max_streams,
        "max_num_batched_tokens": max(BATCHED_TOKENS, options.max_streams),
        # Prompts share a voice's name and little else: hashing them for reuse costs more than it saves.
        "enable_prefix_caching": False,
        "stream_interval": TOKENS_PER_FRAME,
        "logits_processors": [_LOGITS_PROCESSOR],
        "disable_log_stats": True,
        **memory,
    }


def _in_short(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= ERROR_WORDS else words[:ERROR_WORDS] + "…"
