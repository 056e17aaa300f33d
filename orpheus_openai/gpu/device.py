"""What NVML tells of this machine's GPUs; where there is no driver there are none."""

import contextlib
from collections.abc import Generator
from functools import cache
from typing import Any

import msgspec
import pynvml


class GPU(msgspec.Struct, frozen=True):
    """One card; memory in bytes."""

    index: int
    name: str
    uuid: str
    memory_total: int
    memory_used: int


@cache
def gpu_count() -> int:
    """How many NVIDIA GPUs this machine has; asked once."""
    with _nvml() as nvml:
        return 0 if nvml is None else int(nvml.nvmlDeviceGetCount())


def list_gpus() -> list[GPU]:
    """The cards and their memory at this moment; empty without a working driver."""
    with _nvml() as nvml:
        if nvml is None:
            return []
        return [_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]


def driver_version() -> str | None:
    """The NVIDIA driver's version, None without one."""
    with _nvml() as nvml:
        return None if nvml is None else _text(nvml.nvmlSystemGetDriverVersion())


def _gpu(nvml: Any, index: int) -> GPU:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GPU(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        memory_total=int(memory.total),
        memory_used=int(memory.used),
    )


@contextlib.contextmanager
def _nvml() -> Generator[Any]:
    """The initialised library, or None where it does not work."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
