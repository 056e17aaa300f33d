"""GPUs as NVML tells of them: what it does not tell is None, and why there are none is said in words."""
# ruff: noqa: N802  the functions are named by NVML

import asyncio
import os
import threading
from types import SimpleNamespace

import pynvml
import pytest

from orpheus_openai.gpu import device, monitor
from orpheus_openai.gpu.device import (
    GPUProcess,
    GPUSample,
    cuda_device,
    driver_version,
    list_gpus,
    number_as_listed,
    only_visible,
    sample_gpus,
)
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.gpu.policy import GIB


class FakeNVML:
    """NVML's functions over `cards` of them; those named in `refused` are not supported."""

    def __init__(self, cards=2, *, refused=(), lost=(), slices=None):
        self.cards, self.refused, self.lost = cards, refused, lost
        self.slices = slices or {}
        """Memory in GiB of each MIG slice, by card."""

    def install(self, monkeypatch):
        for name in (
            *(
                "nvmlInit",
                "nvmlShutdown",
                "nvmlDeviceGetCount",
                "nvmlDeviceGetHandleByIndex",
                "nvmlDeviceGetName",
            ),
            *("nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates"),
            *("nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetComputeRunningProcesses"),
            *("nvmlSystemGetProcessName", "nvmlSystemGetDriverVersion", "nvmlDeviceGetMigMode"),
            *("nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex"),
        ):
            monkeypatch.setattr(pynvml, name, self._refuse if name in self.refused else getattr(self, name))

    def _refuse(self, *_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlInit(self): ...
    def nvmlShutdown(self): ...
    def nvmlDeviceGetCount(self):
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index):
        if index in self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    def nvmlDeviceGetMigMode(self, index):
        if index not in self.slices:
            self._refuse()
        return [pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE]

    def nvmlDeviceGetMaxMigDeviceCount(self, index):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, index, number):
        if number >= len(self.slices[index]):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return index, number

    def nvmlDeviceGetName(self, index):
        return f"Card {index}"

    def nvmlDeviceGetUUID(self, index):
        return f"MIG-{index[0]}-{index[1]}" if isinstance(index, tuple) else f"GPU-{index}aaa-bbb".encode()

    def nvmlDeviceGetMemoryInfo(self, index):
        if isinstance(index, tuple):
            return SimpleNamespace(total=self.slices[index[0]][index[1]] * GIB, used=GIB)
        return SimpleNamespace(total=24 * GIB, used=9 * GIB)

    def nvmlDeviceGetUtilizationRates(self, _):
        return SimpleNamespace(gpu=87)

    def nvmlDeviceGetTemperature(self, _, sensor):
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetPowerUsage(self, _):
        return 285_340

    def nvmlDeviceGetComputeRunningProcesses(self, _):
        return [SimpleNamespace(pid=7, usedGpuMemory=8 * GIB), SimpleNamespace(pid=8, usedGpuMemory=None)]

    def nvmlSystemGetProcessName(self, pid):
        if pid == 8:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "/usr/bin/python3"

    def nvmlSystemGetDriverVersion(self):
        return "580.95"


@pytest.fixture(autouse=True)
def no_restriction(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_a_card_is_told_of_in_plain_units(monkeypatch):
    FakeNVML(1).install(monkeypatch)
    sample = sample_gpus()
    assert sample.error is None
    (gpu,) = sample.gpus
    assert (gpu.index, gpu.name, gpu.uuid) == (0, "Card 0", "GPU-0aaa-bbb")
    assert (gpu.memory_total, gpu.memory_used) == (24 * GIB, 9 * GIB)
    assert (gpu.utilization, gpu.temperature_c, gpu.power_watts) == (87, 61, 285.3)
    assert gpu.processes == (GPUProcess(7, "/usr/bin/python3", 8 * GIB), GPUProcess(8, None, None))
    assert driver_version() == "580.95"


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("nvmlDeviceGetName", "name"),
        ("nvmlDeviceGetUUID", "uuid"),
        ("nvmlDeviceGetMemoryInfo", "memory_total"),
        ("nvmlDeviceGetUtilizationRates", "utilization"),
        ("nvmlDeviceGetTemperature", "temperature_c"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetComputeRunningProcesses", "processes"),
    ],
)
def test_a_question_a_card_does_not_answer_is_none_and_harms_no_other(monkeypatch, question, field):
    FakeNVML(1, refused=[question]).install(monkeypatch)
    (gpu,) = list_gpus()
    silent = {"memory_total", "memory_used"} if field == "memory_total" else {field}
    assert {name for name in gpu.__struct_fields__ if getattr(gpu, name) is None} == {*silent, "slice_of"}


def test_a_card_that_is_lost_keeps_its_place(monkeypatch):
    FakeNVML(2, lost=[0]).install(monkeypatch)
    lost, sound = list_gpus()
    assert (lost.index, lost.name, lost.memory_total) == (0, None, None)
    assert (sound.index, sound.name) == (1, "Card 1")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no NVIDIA driver"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "driver does not work"),
    ],
)
def test_a_driver_that_is_missing_or_broken_is_said_in_words(monkeypatch, code, words):
    def fail():
        raise pynvml.NVMLError(code)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    sample = sample_gpus()
    assert sample.gpus == ()
    assert words in sample.error
    assert driver_version() is None


def test_a_driver_without_a_card_is_said_in_words(monkeypatch):
    FakeNVML(0).install(monkeypatch)
    assert sample_gpus() == GPUSample((), "The NVIDIA driver works but shows no GPU.")


@pytest.mark.parametrize(
    ("variable", "value", "indexes"),
    [
        ("CUDA_VISIBLE_DEVICES", "2", [2]),
        ("CUDA_VISIBLE_DEVICES", "2,0", [2, 0]),
        ("CUDA_VISIBLE_DEVICES", "GPU-1aaa-bbb", [1]),
        ("CUDA_VISIBLE_DEVICES", "GPU-1a", [1]),
        ("CUDA_VISIBLE_DEVICES", "GPU-", []),  # it could be any of them
        ("CUDA_VISIBLE_DEVICES", "0,-1,2", [0]),
        ("CUDA_VISIBLE_DEVICES", "", []),
        ("CUDA_VISIBLE_DEVICES", "MIG-0aaa", []),
        ("NVIDIA_VISIBLE_DEVICES", "1", [1]),
        ("NVIDIA_VISIBLE_DEVICES", "GPU-2aaa-bbb, 0", [0, 2]),
        ("NVIDIA_VISIBLE_DEVICES", "all", [0, 1, 2]),
        ("NVIDIA_VISIBLE_DEVICES", "", [0, 1, 2]),
        ("NVIDIA_VISIBLE_DEVICES", "none", []),
        ("NVIDIA_VISIBLE_DEVICES", "9", []),
        ("NVIDIA_VISIBLE_DEVICES", "4,5,6", [0, 1, 2]),  # a container that was given three, numbered anew
    ],
)
def test_only_the_cards_that_may_be_used_are_listed(monkeypatch, variable, value, indexes):
    FakeNVML(3).install(monkeypatch)
    monkeypatch.setenv(variable, value)
    sample = sample_gpus()
    assert [gpu.index for gpu in sample.gpus] == indexes
    assert (sample.error is None) == bool(indexes)


def test_what_cuda_obeys_wins(monkeypatch):
    FakeNVML(3).install(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "2")
    assert [gpu.index for gpu in list_gpus()] == [1]


def test_the_real_library_answers_on_any_machine():
    sample = sample_gpus()
    assert bool(sample.gpus) != bool(sample.error)
    assert device.gpu_count() == len(sample.gpus)


async def test_all_who_ask_at_once_share_one_sample(monkeypatch):
    calls = []
    monkeypatch.setattr(monitor, "sample_gpus", lambda: calls.append(1) or GPUSample(error="none"))
    watch = GPUMonitor()
    assert len(set(await asyncio.gather(*(watch.sample() for _ in range(20))))) == 1
    assert len(calls) == 1
    await watch.sample()
    assert len(calls) == 2


async def test_askers_who_come_one_after_the_other_all_get_an_answer(monkeypatch):
    monkeypatch.setattr(monitor, "sample_gpus", lambda: GPUSample(error="none"))
    watch = GPUMonitor()

    async def ask(delay):
        for _ in range(20):
            await asyncio.sleep(delay)
            assert (await watch.sample()).error == "none"

    await asyncio.gather(*(ask(number * 0.0003) for number in range(20)))


async def test_a_driver_that_hangs_takes_one_thread_and_nobodys_time(monkeypatch):
    calls, release = [], threading.Event()

    def hang():
        calls.append(1)
        release.wait(10)
        return GPUSample(error="late")

    monkeypatch.setattr(monitor, "sample_gpus", hang)
    monkeypatch.setattr(monitor, "ANSWER_SECONDS", 0.05)
    watch = GPUMonitor()
    try:
        for _ in range(3):
            assert "has not answered" in (await watch.sample()).error
        assert len(calls) == 1
    finally:
        release.set()


def test_an_engine_is_shown_one_card_while_the_server_sees_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    FakeNVML(3).install(monkeypatch)
    seen = list_gpus()
    assert [gpu.index for gpu in seen] == [0, 1]
    with only_visible([1]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        assert list_gpus() == seen
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "CUDA_DEVICE_ORDER" not in os.environ


def test_a_card_that_is_cut_is_told_of_as_its_slices_each_with_its_own_memory(monkeypatch):
    FakeNVML(2, slices={0: [10, 40]}).install(monkeypatch)
    found = [(gpu.index, gpu.slice_of, gpu.uuid, gpu.memory_total // GIB) for gpu in list_gpus()]
    assert found == [(1, None, "GPU-1aaa-bbb", 24), (2, 0, "MIG-0-0", 10), (3, 0, "MIG-0-1", 40)]


@pytest.mark.parametrize(
    ("chosen", "uuids"),
    [("MIG-0-1", ["MIG-0-1"]), ("0", ["MIG-0-0"]), ("1", ["GPU-1aaa-bbb"]), ("MIG-9", [])],
)
def test_a_slice_is_chosen_as_cuda_chooses_it(monkeypatch, chosen, uuids):
    FakeNVML(2, slices={0: [10, 40]}).install(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [gpu.uuid for gpu in list_gpus()] == uuids


def test_an_engine_is_shown_a_slice_by_its_name_and_two_cards_by_their_numbers(monkeypatch):
    FakeNVML(3, slices={0: [10, 40]}).install(monkeypatch)
    with only_visible([4]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-0-1"
    with only_visible([2, 1]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,1"
    with only_visible([]):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, {0: "cuda:0", 2: "cuda:2", None: "cuda", 9: "cuda"}),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, {2: "cuda:0", 0: "cuda:1", 1: "cuda"}),
        ({"NVIDIA_VISIBLE_DEVICES": "1"}, {1: "cuda:0"}),
    ],
)
def test_the_server_itself_calls_a_card_as_cuda_numbers_it(monkeypatch, environ, names):
    FakeNVML(3).install(monkeypatch)
    monkeypatch.setattr(os, "environ", dict(environ))
    seen = list_gpus()
    number_as_listed()
    assert {index: cuda_device(index) for index in names} == names
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(str(gpu.index) for gpu in seen)
    assert list_gpus() == seen


def test_slices_are_left_to_cuda_which_sees_the_first(monkeypatch):
    FakeNVML(1, slices={0: [10, 40]}).install(monkeypatch)
    monkeypatch.setattr(os, "environ", {})
    number_as_listed()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert cuda_device(2) == "cuda"
