"""PCM on its way from a model to a listener: join segments, change the tempo, encode."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 24_000
"""Samples a second of all PCM inside this project; mono, int16 (what SNAC's 24 kHz model speaks)."""

MIN_SPEED, MAX_SPEED = 0.25, 4.0
"""The range of `speed` in OpenAI's API, and of all tempos here."""

PCM: TypeAlias = NDArray[np.int16]
"""Shape `(n,)`, mono, at `SAMPLE_RATE`."""
