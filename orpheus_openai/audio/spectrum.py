"""Sounds frame by frame, as the ear tells speech apart: how loud they are, their bands, and cepstra of those."""

from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM, SAMPLE_RATE

Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.intp]

FRAMES_A_SECOND = 100
HOP = SAMPLE_RATE // FRAMES_A_SECOND
"""Samples from one frame of the recording to the next; the reading's are as many, so that both speak equally fast."""
WINDOW = SAMPLE_RATE * 25 // 1_000
FFT = 1_024
BANDS = 26
LOWEST_HZ, HIGHEST_HZ = 80.0, 7_000.0
CEPSTRA = 12
"""The first of them, which is the level, left out."""

DELTA_WEIGHT = 0.8
LEVEL_WEIGHT = 2.7
LEAST_SPAN, MOST_SPAN = 2.8, 10.4
"""Between speech and silence, in powers of e: 12 and 45 dB."""
SILENT = 0.12

NOISE_FLOOR = -3.0
"""Powers of e below what is usual in speech: at the least so much of every band is taken for noise."""
AUDIBLE = 0.3
"""The loudness from which on a frame is no silence."""
ROWS = 256
"""Frames that are worked on in one go."""


class Spectrum(NamedTuple):
    """A sound, frame by frame."""

    bands: Floats
    """Energies as natural logarithms, shape `(frames, BANDS)`."""
    levels: Floats
    """The whole energy, shape `(frames, 1)`."""
    loudness: Floats
    """0 in silence to 1 in speech."""

    @classmethod
    def of(cls, pcm: PCM, hop: int) -> "Spectrum":
        """Of int16 PCM, shape `(n,)`, a frame every `hop` samples."""
        bands, levels = _analysed(pcm, hop)
        return cls(bands, levels[:, None], _loudness(levels))

    def at(self, frames: Indices) -> "Spectrum":
        """Those frames of it."""
        return Spectrum(self.bands[frames], self.levels[frames], self.loudness[frames])


def count_true(which: NDArray[np.bool_]) -> int:
    """How many."""
    return int(np.count_nonzero(which))


def comparable(heard: Spectrum, read: Spectrum, speech: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Of each: cepstra, how they change, and the level, with the mean 0 and the variance 1 where there is speech.

    The recording's noise is put under both.
    """
    parts = []
    for sound, like in ((heard, speech), (read, read.loudness > AUDIBLE)):
        among = like if count_true(like) > BANDS else np.ones(like.size, np.bool_)
        parts.append(
            (sound.bands - sound.bands[among].mean(0), sound.levels - sound.levels[among].mean(), among)
        )
    floor = np.maximum(np.percentile(parts[0][0], 5, axis=0), NOISE_FLOOR)
    lowest = max(float(np.percentile(parts[0][1], 5)), NOISE_FLOOR)
    cosines = _tables()[2]
    both = []
    for bands, levels, among in parts:
        cepstra = np.logaddexp(bands, floor) @ cosines
        ahead = np.pad(cepstra, ((2, 2), (0, 0)), mode="edge")
        change = (2 * (ahead[4:] - ahead[:-4]) + ahead[3:-1] - ahead[1:-3]) / 10
        weighed = ((cepstra, 1.0), (change, DELTA_WEIGHT), (np.logaddexp(levels, lowest), LEVEL_WEIGHT))
        scaled = [
            weight * (part - part[among].mean(0)) / (part[among].std(0) + 1e-3) for part, weight in weighed
        ]
        both.append(np.concatenate(scaled, axis=1).astype(np.float32))
    return both[0], both[1]


def _loudness(levels: Floats) -> Floats:
    """0 in silence to 1 in speech, by what is usual in this recording."""
    loud = float(np.percentile(levels, 75))
    silent = min(max(float(np.percentile(levels, 3)), loud - MOST_SPAN), loud - LEAST_SPAN)
    result: Floats = (levels - silent) / (loud - silent)
    return np.clip(result, 0.0, 1.5)


def _analysed(pcm: PCM, hop: int) -> tuple[Floats, Floats]:
    """Energies of the bands, shape `(frames, BANDS)`, and of the whole, as natural logarithms, every `hop` samples."""
    count = max(pcm.size // hop, 1)
    padded = np.pad(pcm.astype(np.float32), (WINDOW // 2, WINDOW + hop))
    every = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[hop // 2 :: hop]
    window, bands, _ = _tables()
    energies, levels = np.empty((count, BANDS), np.float32), np.empty(count, np.float32)
    for row in range(0, count, ROWS):
        frames = every[row : min(row + ROWS, count)]
        frames = (frames - frames.mean(1, keepdims=True)) * window
        power = np.abs(np.fft.rfft(frames, FFT)) ** 2
        energies[row : row + ROWS] = np.log(power.astype(np.float32) @ bands + 4.0 * FFT)
        levels[row : row + ROWS] = np.log((frames**2).mean(1) + 1.0)
    return energies, levels


@cache
def _tables() -> tuple[Floats, Floats, Floats]:
    """The window, the mel bands (O'Shaughnessy's scale), and the cosines that turn them into cepstra."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)[:, None]
    left, top, right = edges[:-2], edges[1:-1], edges[2:]
    bands = np.clip(np.minimum((bins - left) / (top - left), (right - bins) / (right - top)), 0, None)
    turns = np.arange(1, CEPSTRA + 1) * (np.arange(BANDS)[:, None] + 0.5) * np.pi / BANDS
    return (
        np.hamming(WINDOW).astype(np.float32),
        bands.astype(np.float32),
        np.cos(turns).astype(np.float32),
    )
