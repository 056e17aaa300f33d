"""What is wrong with a segment's speech, by its length and its silences, without hearing what it says."""

import unicodedata
from typing import Literal

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE

Fault = Literal["words", "lost_frames", "silence", "no_end", "loop", "length"]
"""From what spoils a segment least to what spoils it most: of several attempts the one is kept that comes first."""

WINDOW = SAMPLE_RATE // 50
SILENT_DBFS = -50.0
"""A window whose RMS is lower is silent in any voice."""
SILENT_BELOW_LOUDEST = 45.0
"""Decibels below the loudest window so far, from which on one is silent, too."""
LONGEST_SILENCE = 2.5
"""Seconds of a pause within a segment at the most; pauses that are asked for stand between segments."""

SECONDS_PER_LETTER, SECONDS_PER_WIDE_LETTER, SECONDS_PER_DIGIT = 1 / 6, 1 / 2.5, 0.7
"""Of the slowest reading; letters of Chinese and Korean are wide, a syllable or two each."""
SLOWEST, FASTEST = 2.1, 0.4
"""How many times as long as the embedded reading speech may be, and at the least is."""
LONGEST_PAUSES = 2.5
"""Seconds that are allowed beyond that, however short the text is."""
SLACK = 0.3
"""Seconds that a reading may be longer by what a listener does not hear of it."""
LONGEST_SOUND = 4.0
"""Seconds of a laugh or a sigh."""

FADE = SAMPLE_RATE // 50
"""Samples in which what is cut off falls silent."""


def longest_seconds(text: str, *, tags: int = 0, reading: float | None = None) -> float:
    """How long speech of `text` may last at the most, in seconds.

    `tags` are the emotion tags in it. `reading` is how long the embedded reading speaks it; without one its letters
    must do, which leaves more room.
    """
    allowed = LONGEST_PAUSES + LONGEST_SOUND * tags
    if reading is not None:
        return allowed + SLOWEST * reading
    return allowed + sum(map(_seconds_of, text))


def _seconds_of(char: str) -> float:
    if char.isdigit():
        return SECONDS_PER_DIGIT
    return SECONDS_PER_WIDE_LETTER if unicodedata.east_asian_width(char) in "WF" else SECONDS_PER_LETTER


def shortest_seconds(reading: float) -> float:
    """How long speech lasts at the least, if the embedded reading takes so many seconds."""
    return max(FASTEST * reading - SLACK, 0.0)


class Silence:
    """Listens to one utterance as it comes, for silence that goes on."""

    def __init__(self) -> None:
        self.longest = 0
        """Samples of the longest silence between two sounds, or after the last."""
        self.sounded = 0
        """Samples up to the end of the last sound."""
        self._heard = 0
        self._loudest = 0.0
        self._window: PCM = np.zeros(0, np.int16)

    @property
    def goes_on(self) -> bool:
        """Whether there was one that no pause explains."""
        return self.longest > LONGEST_SILENCE * SAMPLE_RATE

    def push(self, pcm: PCM) -> None:
        """Take more PCM, int16 of shape `(n,)` at 24 kHz."""
        pending = np.concatenate([self._window, pcm])
        whole = pending.size - pending.size % WINDOW
        self._window = pending[whole:]
        if not whole:
            return
        windows = pending[:whole].reshape(-1, WINDOW).astype(np.float32)
        levels = np.sqrt(np.mean(windows * windows, axis=1))
        self._loudest = max(self._loudest, float(levels.max()))
        least = max(32768 * 10 ** (SILENT_DBFS / 20), self._loudest * 10 ** (-SILENT_BELOW_LOUDEST / 20))
        begins = self._heard + WINDOW * np.flatnonzero(levels > least)
        gaps = np.append(begins, self._heard + whole) - np.append(self.sounded, begins + WINDOW)
        self.longest = max(self.longest, int(gaps.max()))
        if begins.size:
            self.sounded = int(begins[-1]) + WINDOW
        self._heard += whole


def faded(pcm: PCM) -> PCM:
    """`pcm` with its last `FADE` samples falling to silence along a half-cosine."""
    if not pcm.size:
        return pcm
    count = min(FADE, pcm.size)
    ramp = (1 + np.cos(np.pi * (np.arange(count) + 1) / count)) / 2
    return np.concatenate([pcm[:-count], np.rint(pcm[-count:] * ramp).astype(np.int16)])
