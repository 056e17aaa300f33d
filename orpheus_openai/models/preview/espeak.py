"""eSpeak NG through ctypes: the binding, and the one thread that all models of the process share."""

import ctypes
import itertools
import logging
import math
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from orpheus_openai.catalog import EspeakVoice
from orpheus_openai.errors import EngineError, ModelUnavailableError, ShuttingDownError

ESPEAK_SAMPLE_RATE = 22_050
"""Samples a second of what eSpeak NG's formant voices speak; mono, int16."""

BUFFER_MS = 200
"""How much audio eSpeak NG gathers before it hands it over. The first sound, and a stop, wait until that much
is computed: 0.24 ms on a core of its own, against 0.09 ms for 60 ms. Each handover waits for the interpreter's
lock, which costs more than that under load; and 60 ms give a listener next to nothing: MP3 no frame at all,
Opus 14 ms."""

VOLUME = 70
"""Of eSpeak NG's 100, at which its tone languages clip."""

Heard: TypeAlias = Callable[[bytes], bool]
"""Takes int16 samples at ESPEAK_SAMPLE_RATE; returns whether anybody still listens."""

# Names and values as in eSpeak NG's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_INITIALIZE_DONT_EXIT: Final = 0x8000
_CHARS_UTF8: Final = 1
_END_PAUSE: Final = 0x1000
_POS_CHARACTER: Final = 1
_RATE: Final = 1
_VOLUME: Final = 2
_PITCH: Final = 3

_logger = logging.getLogger(__name__)
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library, initialised. There is one in a process, and one thread at a time may use it."""

    def __init__(self) -> None:
        self._library, data = _load()
        rate = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, os.fsencode(data), _INITIALIZE_DONT_EXIT
        )
        if rate != ESPEAK_SAMPLE_RATE:
            raise ModelUnavailableError(
                f"The preview cannot speak: eSpeak NG did not accept its data in {data}. Install it afresh, "
                'in a folder with a path of less than 160 characters: pip install "orpheus-openai[preview]".'
            )
        self._variants = data / "voices" / "!v"
        self._voice: EspeakVoice | None = None
        self._heard: Heard | None = None
        self._error: BaseException | None = None
        self._callback = _Callback(self._on_samples)  # must outlive every call into the library
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: EspeakVoice, heard: Heard, *, end_pause: bool = True) -> None:
        """Speak `text` as plain text (no SSML, no phoneme names) into `heard`, until it returns False.

        `end_pause` adds the silence that belongs after the last clause. Raises ModelUnavailableError when
        eSpeak NG does not have the voice, EngineError when it fails, and what `heard` raises.
        """
        self._select(voice)
        data = text.replace("\0", " ").encode("utf-8", "replace")
        self._heard, self._error = heard, None
        try:
            status = self._library.espeak_Synth(
                data,
                len(data) + 1,
                0,
                _POS_CHARACTER,
                0,
                _CHARS_UTF8 | (_END_PAUSE if end_pause else 0),
                None,
                None,
            )
        finally:
            self._heard = None
        if self._error is not None:
            raise self._error
        if status:
            raise EngineError(f"The preview's eSpeak NG failed at this text (status {status}).")

    def close(self) -> None:
        """Give the library's memory back; nothing may be called afterwards."""
        self._library.espeak_Terminate()

    def _select(self, voice: EspeakVoice) -> None:
        if voice == self._voice:
            return
        self._voice = None
        known = not voice.variant or (self._variants / voice.variant).is_file()
        name = f"{voice.language}+{voice.variant}" if voice.variant else voice.language
        if not known or self._library.espeak_SetVoiceByName(name.encode()):
            raise ModelUnavailableError(
                f"eSpeak NG has no voice '{name}'. Give the voice's espeak entry in the catalog a language "
                f"like 'en-us' and a variant like 'f2'."
            )
        self._library.espeak_SetParameter(_RATE, voice.rate, 0)
        self._library.espeak_SetParameter(_VOLUME, VOLUME, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        self._voice = voice

    def _on_samples(self, samples: int | None, count: int, _events: int | None) -> int:
        """Pass on what the library has spoken; returning 1 makes it stop."""
        if not samples or count <= 0 or self._heard is None:
            return 0
        try:
            return 0 if self._heard(ctypes.string_at(samples, 2 * count)) else 1
        except BaseException as error:  # noqa: BLE001 - nothing may pass through the C frames; speak() raises it
            self._error = error
            return 1


Job: TypeAlias = Callable[[Espeak], None]


class EspeakThread:
    """Runs jobs on eSpeak NG one after the other, the earliest deadline first, in a thread of its own.

    Deadlines are times of `time.monotonic`; jobs with the same one run in the order they came. As long as
    nobody submits a job with a deadline in the past, none starves: those that come after its deadline wait.
    """

    _lock = threading.Lock()
    _shared: "EspeakThread | None" = None

    def __init__(self) -> None:
        self._users = 0
        self._jobs: queue.PriorityQueue[tuple[float, int, Job | None]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._espeak = Espeak()
        self._thread = threading.Thread(target=self._run, name="espeak", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(cls) -> "EspeakThread":
        """Return the thread of this process, started for its first user, which takes a few ms.

        Raises ModelUnavailableError when eSpeak NG is not installed or does not start.
        """
        with cls._lock:
            thread = cls._shared = cls._shared or cls()
            thread._users += 1  # noqa: SLF001 - its own class
            return thread

    def release(self) -> None:
        """Say that one user needs it no more; the last one waits for the thread to end."""
        cls = type(self)
        with cls._lock:
            self._users -= 1
            if self._users:
                return
            cls._shared = None
            self._put(math.inf, None)
            # Under the lock: a new library must not be initialised before this one is gone.
            self._thread.join()

    def submit(self, job: Job, deadline: float) -> None:
        """Run `job` when none waits that is due before `deadline`. It should be short and handle its own errors.

        Raises ShuttingDownError when all users have gone.
        """
        with self._lock:
            if not self._users:
                raise ShuttingDownError("The preview has been closed.")
            self._put(deadline, job)

    def _put(self, deadline: float, job: Job | None) -> None:
        self._jobs.put((deadline, next(self._order), job))

    def _run(self) -> None:
        while (job := self._jobs.get()[-1]) is not None:
            try:
                job(self._espeak)
            except Exception:
                _logger.exception("a job of the preview's thread failed")
        self._espeak.close()


def _load() -> tuple[ctypes.CDLL, Path]:
    """Load the shared library; returns it and the folder of its data."""
    try:
        import espeakng_loader  # noqa: PLC0415 - an extra, needed by the preview alone

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = Path(espeakng_loader.get_data_path())
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelUnavailableError(
            "The preview voice needs eSpeak NG. Install the preview extra: "
            f'pip install "orpheus-openai[preview]" ({error}).'
        ) from error
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    return library, data
