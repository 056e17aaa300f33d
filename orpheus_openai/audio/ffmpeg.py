"""FFmpeg in this process: it takes no thread of its own, since many streams share the cores."""

import contextlib
import ctypes

import av


def take_no_threads() -> None:
    """Have FFmpeg believe in one processor; else each filter graph starts a thread for every core, sixteen at most.

    PyAV lets the threads of its own graphs be set, but an encoder resamples through a graph that nobody gets hold of.
    av_cpu_force_count is FFmpeg's documented way (libavutil/cpu.h); it is found through PyAV's module, which is linked
    with the library. Where the system does not look there (Windows), FFmpeg counts for itself.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(av._core.__file__).av_cpu_force_count(1)  # noqa: SLF001  any module of PyAV's that is linked would do
