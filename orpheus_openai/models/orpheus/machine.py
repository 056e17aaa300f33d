"""What vLLM needs of a machine with a GPU beside its own packages, and the cure for each gap."""

import ctypes
import os
import shutil
import sysconfig
from functools import cache
from pathlib import Path

import msgspec

from orpheus_openai.gpu.device import driver_version

LEAST_DRIVER = 580
"""The first driver series for CUDA 13, for which vLLM's wheels are built (start.sh says the same)."""

LEAST_CUDA = 13_000
"""The same, as `cuDriverGetVersion` counts: 1000 for each major version."""


class Gap(msgspec.Struct, frozen=True):
    """Something that is missing, and what to do."""

    what: str
    cure: str


@cache
def machine_gaps() -> tuple[Gap, ...]:
    """Look once at the driver, the C compiler and Python's headers. Meant for machines with a GPU."""
    return tuple(gap for gap in (driver_gap(), compiler_gap(), headers_gap()) if gap is not None)


def driver_gap() -> Gap | None:
    """A driver older than vLLM's CUDA, unless NVIDIA's compatibility package stands in for a newer one."""
    driver = driver_version()
    major = (driver or "").partition(".")[0]
    if not major.isdecimal() or int(major) >= LEAST_DRIVER or (_cuda_version() or 0) >= LEAST_CUDA:
        return None
    return Gap(
        f"the NVIDIA driver {driver} is too old for vLLM, which is built for CUDA 13",
        f"Install driver {LEAST_DRIVER} or newer.",
    )


def compiler_gap() -> Gap | None:
    """No C compiler: Triton builds its launchers with $CC, gcc or clang when a model loads."""
    if os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"):
        return None
    return Gap("there is no C compiler, and Triton needs one", "sudo apt install gcc libc6-dev, or set CC.")


def headers_gap() -> Gap | None:
    """No Python.h, which Triton's launchers include."""
    # As Triton asks: Debian's own scheme would name a folder under /usr/local.
    scheme = "posix_prefix" if os.name == "posix" else sysconfig.get_default_scheme()
    header = Path(sysconfig.get_path("include", scheme), "Python.h")
    if header.exists():
        return None
    return Gap(f"{header} is missing, and Triton needs Python's headers", "sudo apt install python3-dev.")


def _cuda_version() -> int | None:
    """What libcuda itself says; it may be newer than the driver, as in NVIDIA's own images."""
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return None
    return None if failed else version.value
