"""G.711, the telephone's eight bits a sample: μ-law and A-law of all 65 536 values, in tables."""

from functools import cache
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM

Law: TypeAlias = Literal["pcmu", "pcma"]
LAWS: tuple[str, ...] = get_args(Law)

_ALL = np.arange(-0x8000, 0x8000)
"""What 16 bits can hold; a table's entry for a sample stands at the sample + 0x8000."""


def compress(pcm: PCM, law: Law) -> bytes:
    """One byte for each sample of `pcm`, shape `(n,)`."""
    return table(law)[pcm.astype(np.int32) + 0x8000].tobytes()


@cache
def table(law: Law) -> NDArray[np.uint8]:
    """The bytes for -32 768 to 32 767, as the ITU's reference has them (G.191, `ulaw_compress`, `alaw_compress`)."""
    return _mu_law() if law == "pcmu" else _a_law()


def _mu_law() -> NDArray[np.uint8]:
    """Of 14 bits: 8 segments, each twice as wide as the one before, of 16 steps; all bits inverted but the sign."""
    magnitude = np.minimum((np.where(_ALL < 0, ~_ALL, _ALL) >> 2) + 33, 0x1FFF)
    segment = _bits(magnitude) - 6
    step = magnitude >> (segment + 1) & 0xF
    return np.asarray(np.where(_ALL < 0, 0, 0x80) | (7 - segment) << 4 | (0xF - step), np.uint8)


def _a_law() -> NDArray[np.uint8]:
    """Of 13 bits: as μ-law, but the first two segments have the same width; every other bit inverted."""
    magnitude = np.where(_ALL < 0, ~_ALL, _ALL) >> 4
    segment = np.maximum(_bits(magnitude) - 4, 0)
    step = magnitude >> np.maximum(segment - 1, 0) & 0xF
    return np.asarray((np.where(_ALL < 0, 0, 0x80) | segment << 4 | step) ^ 0x55, np.uint8)


def _bits(values: NDArray[np.int_]) -> NDArray[np.int_]:
    """How many bits each value takes."""
    bits: NDArray[np.int_] = np.frexp(values.astype(np.float64))[1].astype(np.int_)
    return bits
