"""Read back what was kept lossless."""

import io
from collections.abc import Generator

import av
import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.ffmpeg import take_no_threads

take_no_threads()

BLOCK = SAMPLE_RATE
"""Samples that are yielded at a time, at least."""


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
