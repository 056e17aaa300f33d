"""What NVML tells of this machine's GPUs: None where it tells nothing, and in words why there are none."""

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from functools import cache, partial
from typing import Annotated, Any

import msgspec
import pynvml
from msgspec import Meta

UNANSWERED = (pynvml.NVMLError, UnicodeDecodeError)
"""What a single question to NVML may raise: a card or a container need not answer all of them."""


_users_environ: dict[str, str] | None = None
"""What the environment was before `only_visible` changed it."""


class GPUProcess(msgspec.Struct, frozen=True):
    """A process that computes on a card; `memory` in bytes."""

    pid: int
    name: str | None = None
    memory: int | None = None


class GPU(msgspec.Struct, frozen=True, kw_only=True):
    """One card at one moment; memory in bytes, None where NVML does not tell."""

    index: Annotated[
        int,
        Meta(
            description="NVML's number of it, in the order of the PCI bus; MIG slices are numbered after all cards.",
            examples=[0],
        ),
    ]
    name: Annotated[str | None, Meta(examples=["NVIDIA GeForce RTX 4090"])] = None
    uuid: str | None = None
    memory_total: Annotated[int | None, Meta(description="Bytes.", examples=[25_757_220_864])] = None
    memory_used: Annotated[int | None, Meta(description="Bytes.", examples=[9_126_805_504])] = None
    utilization: Annotated[
        int | None,
        Meta(description="Per cent of the last sampling period in which a kernel ran.", examples=[87]),
    ] = None
    temperature_c: Annotated[int | None, Meta(examples=[61])] = None
    power_watts: Annotated[float | None, Meta(examples=[285.3])] = None
    processes: tuple[GPUProcess, ...] | None = None
    slice_of: Annotated[
        int | None, Meta(description="The card that this MIG slice is cut from; null for a whole card.")
    ] = None


class GPUSample(msgspec.Struct, frozen=True):
    """The cards that may be used, or why there are none."""

    gpus: tuple[GPU, ...] = ()
    error: str | None = None


@cache
def gpu_count() -> int:
    """How many NVIDIA GPUs may be used; asked once."""
    return len(list_gpus())


def list_gpus() -> tuple[GPU, ...]:
    """List the cards at this moment; empty without a working driver."""
    return sample_gpus().gpus


def sample_gpus() -> GPUSample:
    """Ask NVML for everything; takes milliseconds, in bad moments seconds: not for the event loop.

    A card that is cut into MIG slices is told of as its slices, each with its own memory. CUDA_VISIBLE_DEVICES, else
    NVIDIA_VISIBLE_DEVICES, restricts the cards, as it does for the engine.
    """
    try:
        with _nvml() as nvml:
            gpus = _all(nvml)
    except pynvml.NVMLError_LibraryNotFound:
        return GPUSample(error="This machine has no NVIDIA driver.")
    except pynvml.NVMLError as error:
        return GPUSample(error=f"The NVIDIA driver does not work: {error}.")
    if not gpus:
        return GPUSample(error="The NVIDIA driver works but shows no GPU.")
    environ = os.environ if _users_environ is None else _users_environ
    for variable, choose in _RESTRICTIONS:
        if (text := environ.get(variable)) is not None and (chosen := choose(text, gpus)) is not None:
            why_none = f"{variable}={text} leaves none of the {len(gpus)} GPUs of this machine."
            return GPUSample(tuple(chosen), None if chosen else why_none)
    return GPUSample(tuple(gpus))


@contextlib.contextmanager
def only_visible(indexes: Sequence[int]) -> Generator[None]:
    """Show these cards to CUDA in the processes that are started inside the block; none: as the user has it.

    This process' own view of the cards stays. Not for two threads at once.
    """
    global _users_environ  # noqa: PLW0603
    if not indexes:
        yield
        return
    slices = {gpu.index: gpu.uuid for gpu in list_gpus() if gpu.slice_of is not None}
    names = [slices.get(index) or str(index) for index in indexes]  # CUDA has no numbers for slices
    _users_environ = dict(os.environ)
    os.environ.update(CUDA_VISIBLE_DEVICES=",".join(names), CUDA_DEVICE_ORDER="PCI_BUS_ID")
    try:
        yield
    finally:
        for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
            os.environ.pop(name)
            if name in _users_environ:
                os.environ[name] = _users_environ[name]
        _users_environ = None


def number_as_listed() -> None:
    """Let CUDA in this process, which must not have been asked before, number the cards in the order of `list_gpus`.

    It does so by itself where the user has chosen for it; where there are slices it sees the first only.
    """
    gpus = list_gpus()
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if gpus and all(gpu.slice_of is None for gpu in gpus):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", ",".join(str(gpu.index) for gpu in gpus))


def cuda_device(index: int | None) -> str:
    """What CUDA in this process calls the card of that number, once `number_as_listed` has been called."""
    places = {gpu.index: place for place, gpu in enumerate(list_gpus()) if gpu.slice_of is None}
    return f"cuda:{places[index]}" if index in places else "cuda"


def driver_version() -> str | None:
    """Return the NVIDIA driver's version, None without one."""
    try:
        with _nvml() as nvml:
            return _text(nvml.nvmlSystemGetDriverVersion())
    except UNANSWERED:
        return None


def _all(nvml: Any) -> list[GPU]:
    """Whole cards, then the slices of those that are cut."""
    count = nvml.nvmlDeviceGetCount()
    cards: list[GPU] = []
    slices: list[GPU] = []
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError:  # it has fallen off the bus, or belongs to somebody else
            cards.append(GPU(index=index))
            continue
        if _is_cut(nvml, handle):
            for part in _slices(nvml, handle):
                slices.append(_gpu(nvml, part, count + len(slices), slice_of=index))
        else:
            cards.append(_gpu(nvml, handle, index))
    return cards + slices


def _is_cut(nvml: Any, handle: Any) -> bool:
    mode = _told(lambda: nvml.nvmlDeviceGetMigMode(handle))  # (now, after the next reset)
    return mode is not None and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE


def _slices(nvml: Any, handle: Any) -> list[Any]:
    most = _told(lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle)) or 0
    found = [_told(partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, n)) for n in range(most)]
    return [part for part in found if part is not None]


def _gpu(nvml: Any, handle: Any, index: int, *, slice_of: int | None = None) -> GPU:
    memory = _told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    return GPU(
        index=index,
        slice_of=slice_of,
        name=_told(lambda: _text(nvml.nvmlDeviceGetName(handle))),
        uuid=_told(lambda: _text(nvml.nvmlDeviceGetUUID(handle))),
        memory_total=None if memory is None else int(memory.total),
        memory_used=None if memory is None else int(memory.used),
        utilization=_told(lambda: int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
        temperature_c=_told(lambda: int(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
        power_watts=_told(lambda: round(nvml.nvmlDeviceGetPowerUsage(handle) / 1000, 1)),  # NVML counts in mW
        processes=_told(
            lambda: tuple(_process(nvml, p) for p in nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        ),
    )


def _process(nvml: Any, process: Any) -> GPUProcess:
    name = _told(lambda: _text(nvml.nvmlSystemGetProcessName(process.pid)))
    memory = process.usedGpuMemory
    return GPUProcess(int(process.pid), name, None if memory is None else int(memory))


def _told(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except UNANSWERED:
        return None


def _chosen_by_cuda(text: str, gpus: Sequence[GPU]) -> list[GPU] | None:
    """Follow CUDA's own rule: in the order written, up to the first entry that names no card."""
    chosen: list[GPU] = []
    for entry in text.split(","):
        gpu = _find(entry.strip(), gpus)
        if gpu is None or gpu in chosen:
            break
        chosen.append(gpu)
    return chosen


def _chosen_for_container(text: str, gpus: Sequence[GPU]) -> list[GPU] | None:
    """Follow the container toolkit's rule; None where it does not restrict."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if entries in (["none"], ["void"]):
        return []
    if not entries or entries == ["all"] or any(":" in entry for entry in entries):
        return None
    if len(entries) == len(gpus):
        return None  # inside a container that got just these, and numbers them anew
    return [gpu for gpu in gpus if gpu in [_find(entry, gpus) for entry in entries]]


_RESTRICTIONS = (
    ("CUDA_VISIBLE_DEVICES", _chosen_by_cuda),
    ("NVIDIA_VISIBLE_DEVICES", _chosen_for_container),
)


def _find(entry: str, gpus: Sequence[GPU]) -> GPU | None:
    """Find the card of that index, or of that UUID, which may be cut short where it stays clear."""
    if entry.isdecimal():  # of a card that is cut, CUDA takes the first slice
        return next((gpu for gpu in gpus if int(entry) in (gpu.index, gpu.slice_of)), None)
    found = [gpu for gpu in gpus if entry and gpu.uuid is not None and gpu.uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None


@contextlib.contextmanager
def _nvml() -> Generator[Any]:
    """Lend the initialised library; raises NVMLError where it does not work."""
    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
