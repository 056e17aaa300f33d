"""From eSpeak NG's sample rate to ours: one table that all speeches share."""

from functools import cache
from math import gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.models.preview.process import ESPEAK_SAMPLE_RATE

_COMMON = gcd(SAMPLE_RATE, ESPEAK_SAMPLE_RATE)
STEP_OUT, STEP_IN = SAMPLE_RATE // _COMMON, ESPEAK_SAMPLE_RATE // _COMMON
"""So many samples out for so many in: 160 for 147."""

TAPS = 136
"""Samples in for one out: the slope that they leave is down before 11 025 Hz, where the images begin."""
CUTOFF = 10_476.0
"""Hz, in the middle of that slope."""
BETA = 9.0
"""Of Kaiser's window: stops by 90 dB."""
_FINEST = 1 / (1 << 24)
"""Of the filter's values: sums of their products with samples are exact, in whatever order they are added up."""

_STEPS_AT_ONCE = 5
"""Fewer multiplications than OpenBLAS gives to several threads: it has a pool of them, by the number of cores."""


class Upsampling:
    """22 050 Hz to 24 000 Hz: what is fed in pieces comes out as if it had been one.

    The filter is flat within 0.1 dB up to 10 kHz and keeps the images, all above 11 025 Hz, 90 dB down. For the one
    ratio of all previews a table does it that all share: `audio.resample` holds 300 KiB for each stream, and takes half
    a millisecond to make.
    """

    def __init__(self) -> None:
        self._rest = np.zeros(TAPS // 2 - 1, np.int16)
        """What still counts of what was fed, from the first tap of the next sample on."""
        self._fed = self._made = 0

    def process(self, pcm: PCM) -> PCM:
        """Take `pcm`, int16 of shape `(n,)`, any n; return what is certain by now, which may be nothing yet."""
        self._fed += len(pcm)
        made = self._filtered(pcm)
        self._made += len(made)
        return made

    def flush(self) -> PCM:
        """End the stream and return the rest: of n samples all in all n * 160 / 147, rounded."""
        missing = round(self._fed * STEP_OUT / STEP_IN) - self._made
        self._made += missing
        return self._filtered(np.zeros(TAPS + STEP_IN, np.int16))[:missing]

    def _filtered(self, pcm: PCM) -> PCM:
        known = np.concatenate([self._rest, pcm])
        steps = max(0, (len(known) - TAPS) // STEP_IN)
        self._rest = known[steps * STEP_IN :].copy()
        if not steps:
            return np.empty(0, np.int16)
        windows = sliding_window_view(known, TAPS + STEP_IN)[: steps * STEP_IN : STEP_IN].astype(np.float64)
        table, limits = filter_table(), np.iinfo(np.int16)
        made = [windows[at : at + _STEPS_AT_ONCE] @ table for at in range(0, steps, _STEPS_AT_ONCE)]
        filtered: PCM = np.rint(np.concatenate(made)).clip(limits.min, limits.max).astype(np.int16).ravel()
        return filtered


@cache
def filter_table() -> NDArray[np.float64]:
    """What each of a window's samples adds to each of a step's, shape (TAPS + STEP_IN, STEP_OUT): a windowed sinc."""
    window = np.arange(TAPS + STEP_IN)[:, np.newaxis]
    places = np.arange(STEP_OUT) * STEP_IN / STEP_OUT + TAPS // 2 - 1
    away = places - window
    inside = np.maximum(0.0, 1 - (away / (TAPS / 2)) ** 2)
    weights = np.sinc(2 * CUTOFF / ESPEAK_SAMPLE_RATE * away) * np.i0(BETA * np.sqrt(inside)) * (inside > 0)
    table: NDArray[np.float64] = np.rint(weights / weights.sum(axis=0) / _FINEST) * _FINEST
    return table
