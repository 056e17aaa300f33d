"""Read back what was kept lossless."""

import io
from collections.abc import Generator

import av
import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.ffmpeg import take_no_threads
from orpheus_openai.errors import InvalidRequestError

take_no_threads()

BLOCK = SAMPLE_RATE
"""Samples that are yielded at a time, at least."""


def recording(name: str) -> PCM:
    """The sound of an audio file of any kind, mixed down to what PCM is here.

    Raises InvalidRequestError where there is none in it, OSError where it cannot be read.
    """
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    pieces: list[PCM] = [np.zeros(0, np.int16)]
    try:
        with av.open(name, "r") as container:
            if not container.streams.audio:
                raise InvalidRequestError(f"{name} contains no sound")
            for frame in container.decode(audio=0):
                pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
            pieces += [out.to_ndarray()[0] for out in resampler.resample(None)]
    except av.InvalidDataError as error:
        raise InvalidRequestError(f"{name} is not an audio file that can be read") from error
    return np.concatenate(pieces)


def decoded(flac: bytes) -> Generator[PCM]:
    """The PCM of a FLAC stream that `audio.encode` has made, in blocks of about a second."""
    with av.open(io.BytesIO(flac), "r", format="flac") as container:
        block: list[PCM] = []
        for frame in container.decode(audio=0):
            block.append(frame.to_ndarray().reshape(-1).astype(np.int16, copy=False))
            if sum(map(len, block)) >= BLOCK:
                yield np.concatenate(block)
                block = []
        if block:
            yield np.concatenate(block)
