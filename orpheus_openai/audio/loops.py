"""Whether frames of a codec's codes repeat themselves: a model that is caught in a loop, found while it speaks."""

import numpy as np
from numpy.typing import NDArray

LONGEST_PERIOD = 48
"""Frames of the longest group whose repetitions are looked for: 4 s."""
LEAST_ALIKE = 0.3
"""The share of codes that must be the same as one period before. Of speech it is a few per cent, of a loop whose
copies differ in a quarter of their codes more than half."""
LEAST_REPEATED = 26
"""Frames that must have been repeated, 2.2 s: silence repeats itself, too, and a pause of speech is shorter."""
LEAST_PERIODS = 2
"""How often a group must have come again after its first time."""


class Loops:
    """Looks at the frames of one utterance, each as it comes; a few microseconds for each."""

    def __init__(self) -> None:
        self.start: int | None = None
        """The frame with which the repetitions begin, once there is a loop; what is before it was said once."""
        self._count = 0
        self._past = np.full((LONGEST_PERIOD, 1), -1, np.int16)
        periods = np.arange(1, LONGEST_PERIOD + 1)
        # For each period how much more was alike than must be, since it last was not (Page's cumulative sum).
        self._sums = np.zeros(LONGEST_PERIOD)
        self._since = np.zeros(LONGEST_PERIOD, np.int64)
        self._enough = (1 - LEAST_ALIKE) * np.maximum(LEAST_REPEATED, LEAST_PERIODS * periods)

    def push(self, frames: NDArray[np.int16]) -> bool:
        """Take more frames, shape `(n, codes)`; return whether there is a loop."""
        for frame in frames:
            if self.start is None:
                self._take(frame)
        return self.start is not None

    def _take(self, frame: NDArray[np.int16]) -> None:
        if self._past.shape[1] != len(frame):
            self._past = np.full((LONGEST_PERIOD, len(frame)), -1, np.int16)
        alike = (self._past == frame).mean(1)  # row 0: one frame before
        idle = self._sums == 0
        self._since[idle] = self._count
        self._sums = np.maximum(self._sums + alike - LEAST_ALIKE, 0)
        self._past = np.concatenate([frame[None], self._past[:-1]])
        self._count += 1
        over = np.flatnonzero(self._sums >= self._enough)
        if over.size:
            self.start = int(self._since[over].min())
