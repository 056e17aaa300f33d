"""What vLLM needs of a machine with a GPU: each gap is found, and told with its cure by server and doctor."""

import ctypes
import sysconfig
from types import SimpleNamespace

import pytest

from orpheus_openai import doctor
from orpheus_openai.catalog import load_catalog
from orpheus_openai.gpu.device import GPU
from orpheus_openai.models import engine
from orpheus_openai.models.factory import ModelFactory
from orpheus_openai.models.orpheus import engine as orpheus_engine
from orpheus_openai.models.orpheus import machine
from orpheus_openai.models.orpheus.machine import machine_gaps
from orpheus_openai.settings import Settings


@pytest.fixture(autouse=True)
def a_complete_machine(monkeypatch, tmp_path):
    """One GPU and all that vLLM needs; a test takes something away."""
    compilers = tmp_path / "bin"
    compilers.mkdir()
    (compilers / "gcc").write_text("")
    (compilers / "gcc").chmod(0o755)
    (tmp_path / "Python.h").write_text("")
    monkeypatch.setenv("PATH", str(compilers))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    monkeypatch.setattr(machine, "driver_version", lambda: "580.95.05")
    monkeypatch.setattr(ctypes, "CDLL", _no_library)
    monkeypatch.setattr(orpheus_engine, "gpu_count", lambda: 1)
    monkeypatch.setattr(engine, "installed", lambda _: True)
    monkeypatch.setattr(doctor, "list_gpus", lambda: (GPU(index=0, name="a card"),))
    machine_gaps.cache_clear()
    yield
    machine_gaps.cache_clear()


def _no_library(_):
    raise OSError


def cuda(version):
    def answer(pointer):
        pointer._obj.value = version
        return 0

    return lambda _: SimpleNamespace(cuDriverGetVersion=answer)


def availability(**settings):
    catalog = load_catalog()
    return ModelFactory(Settings(**settings), catalog).availability(catalog.models["medium-3b"])


def test_a_complete_machine_has_no_gap():
    assert machine_gaps() == ()
    assert availability().status == "available"


@pytest.mark.parametrize(
    ("gap", "what", "cure"),
    [
        ("driver", "The NVIDIA driver 570.124.06 is too old", "Install driver 580 or newer."),
        ("compiler", "There is no C compiler", "sudo apt install gcc libc6-dev"),
        ("headers", "Python.h is missing", "sudo apt install python3-dev"),
    ],
)
def test_each_gap_is_told_with_its_cure_by_the_server_and_by_the_doctor(
    monkeypatch, tmp_path, gap, what, cure
):
    monkeypatch.chdir(tmp_path)
    if gap == "driver":
        monkeypatch.setattr(machine, "driver_version", lambda: "570.124.06")
    elif gap == "compiler":
        (tmp_path / "bin" / "gcc").unlink()
    else:
        (tmp_path / "Python.h").unlink()
    found = availability()
    assert found.status == "unavailable"
    assert what in found.reason
    assert cure in found.reason
    (finding,) = [each for each in doctor.examine() if each.what == machine_gaps()[0].what]
    assert (finding.ok, finding.needed) == (False, True)
    assert cure in finding.advice
    assert availability(device="cpu").status == "available"
    assert availability(remote_url=("http://gpu-box:8000/v1",)).status == "available"


def test_an_older_driver_will_do_where_a_newer_cuda_stands_in_for_it(monkeypatch):
    monkeypatch.setattr(machine, "driver_version", lambda: "570.124.06")
    monkeypatch.setattr(ctypes, "CDLL", cuda(13_000))
    assert machine_gaps() == ()
    monkeypatch.setattr(ctypes, "CDLL", cuda(12_080))
    machine_gaps.cache_clear()
    assert len(machine_gaps()) == 1


@pytest.mark.parametrize("version", [None, "unknown"])
def test_a_driver_that_does_not_tell_its_version_is_given_the_chance(monkeypatch, version):
    monkeypatch.setattr(machine, "driver_version", lambda: version)
    assert machine_gaps() == ()


def test_a_named_compiler_will_do(monkeypatch, tmp_path):
    (tmp_path / "bin" / "gcc").unlink()
    monkeypatch.setenv("CC", "/opt/cc")
    assert machine_gaps() == ()
