"""A recording somebody sends, as the sound a voice can be made of: decoded apart, trimmed and judged."""

import asyncio
import contextlib
import sys
import wave
from pathlib import Path

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.limits.queue import Queue
from orpheus_openai.voices.form import LONGEST_RECORDING, SHORTEST_RECORDING

DECODER = Path(__file__).with_name("decoder.py")
DECODE_SECONDS = 30
WAITING = 8
"""Recordings that may wait while one is decoded."""
WAITING_OF_ONE = 2
"""Of one caller, the one that is decoded included."""
WAIT_SECONDS = 60
"""How long one waits at the most."""

SHORTEST_CONSENT = 1.0
"""Seconds of a recording in which somebody consents."""
FULL_SCALE = 32_768
QUIET = 0.01
"""Of full scale: a recording whose loudest tenth of a second has less (-40 dB) is silence."""
CLIPPED = 0.995
MOST_CLIPPED = 0.005
"""Of the samples that may lie at the very edge."""
EDGE = 0.05
"""What is quieter than this part of the loudest tenth of a second (-26 dB) is silence at an end."""
MARGIN = SAMPLE_RATE // 10
TENTH = SAMPLE_RATE // 10


class Recorder:
    """Decodes one recording after the other."""

    def __init__(self) -> None:
        self._queue = Queue(
            at_once=1, length=WAITING, wait=WAIT_SECONDS, per_caller=WAITING_OF_ONE, typical=1.0
        )

    async def decode(self, data: bytes, field: str, account: str) -> PCM:
        """The sound in the file `data`, 31 seconds of it at most; `field` is what errors call it.

        Raises InvalidRequestError where there is none that can be read, OverloadedError for one too many, in all or of
        `account`.
        """
        async with self._queue.turn(lambda _position: None, account):
            return await _decoded(data, field)


async def _decoded(data: bytes, field: str) -> PCM:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(DECODER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(DECODE_SECONDS):
            sound, _ = await process.communicate(data)
    except TimeoutError:
        sound = b""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0 or not sound:
        raise InvalidRequestError(
            f"'{field}' is not a recording that can be read; send WAV, MP3, FLAC, Ogg, AAC, MP4 or WebM.",
            param=field,
            code="unreadable_audio",
        )
    return np.frombuffer(sound, "<i2").astype(np.int16, copy=False)


def trimmed(pcm: PCM) -> PCM:
    """Without the silence at both ends, but for a tenth of a second."""
    if not len(pcm):
        return pcm
    level = np.abs(pcm - np.mean(pcm, dtype=np.float32)) / FULL_SCALE
    loud = np.flatnonzero(level > EDGE * _loudest(pcm))
    if not len(loud):
        return pcm[:0]
    return pcm[max(0, loud[0] - MARGIN) : loud[-1] + MARGIN]


def judge(
    pcm: PCM, field: str, *, shortest: float = SHORTEST_RECORDING, longest: float = LONGEST_RECORDING
) -> None:
    """Raise InvalidRequestError unless this is a recording that can be used; lengths are in seconds."""
    seconds = len(pcm) / SAMPLE_RATE
    if _loudest(pcm) < QUIET:
        code, wrong = "silent_audio", "there is next to nothing to be heard in it"
    elif seconds < shortest:
        code = "audio_too_short"
        wrong = (
            f"it lasts {seconds:.1f} s without the silence at its ends; at least {shortest:g} s are needed"
        )
    elif seconds > longest:
        code, wrong = "audio_too_long", f"it is longer than {longest:g} s"
    elif np.mean(np.abs(pcm.astype(np.int32)) >= CLIPPED * FULL_SCALE) > MOST_CLIPPED:
        code, wrong = "clipped_audio", "it is clipped: it was recorded too loud"
    else:
        return
    raise InvalidRequestError(f"'{field}' cannot be used: {wrong}.", param=field, code=code)


def write_wav(path: Path, pcm: PCM) -> None:
    """Write a recording as this server keeps them."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm.astype("<i2", copy=False).tobytes())


def _loudest(pcm: PCM) -> float:
    """The level of the loudest tenth of a second, as a part of full scale; what does not change is not heard."""
    whole = len(pcm) // TENTH * TENTH
    if not whole:
        return 0.0
    tenths = pcm[:whole].astype(np.float32).reshape(-1, TENTH) / FULL_SCALE
    return float(np.max(np.std(tenths, axis=1)))
