"""Run by its path in a process of its own: a recording comes in on standard input, its sound goes out as PCM.

The decoders are native code, and the file is a stranger's: this process has little memory and time, and can open
neither files nor sockets once it has begun to read. It imports nothing of this project.
"""

import io
import itertools
import resource
import sys
import wave
from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

RATE = 24_000
LONGEST = 31
"""Seconds of sound after which it stops."""
LOWEST_RATE = 8_000
"""Samples a second, as telephones have them."""
MEMORY = 1024 * 1024 * 1024
CPU_SECONDS = 20
FORMATS = "wav,w64,mp3,ogg,aac,flac,matroska,webm,mov,mp4,m4a,3gp,aiff,caf"
"""No playlists: they name other files."""
NO_SOUND = 3
"""The exit code for what holds no sound that can be read."""


def main() -> int:
    """Decode; the exit code."""
    data = io.BytesIO(sys.stdin.buffer.read())
    _rehearse()
    _confine()
    try:
        for samples in _decoded(data):
            sys.stdout.buffer.write(samples.astype("<i2", copy=False).tobytes())
        sys.stdout.buffer.flush()
    except (av.FFmpegError, ValueError):
        return NO_SOUND
    return 0


def _decoded(data: io.BytesIO) -> Iterator[NDArray[np.int16]]:
    """The sound of a file, LONGEST seconds of it at most; nothing where it holds none."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    left = LONGEST * RATE
    with av.open(data, "r", options={"format_whitelist": FORMATS, "protocol_whitelist": "none"}) as container:
        if not container.streams.audio:
            raise ValueError("there is no sound")
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        if stream.rate < LOWEST_RATE:
            raise ValueError("this is not how a voice is recorded")
        for frame in itertools.chain(container.decode(stream), [None]):
            for out in resampler.resample(frame):
                samples = out.to_ndarray()[0][:left]
                left -= len(samples)
                yield samples
            if left <= 0:
                return


def _rehearse() -> None:
    """Do it once with a file of our own: PyAV imports some of itself at first use, and later no file can be opened."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(bytes(2 * RATE))
    file.seek(0)
    for _ in _decoded(file):
        pass


def _confine() -> None:
    for limit, value in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_AS, MEMORY),
    ):
        resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    sys.exit(main())
