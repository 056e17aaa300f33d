"""SplitMix64: the hash that the draws of tokens and of noise come from (Steele, Lea, Flood, OOPSLA 2014)."""

import numpy as np
from numpy.typing import NDArray

_STEP, _FIRST_FACTOR, _SECOND_FACTOR = map(
    np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hash of each word; `splitmix_kernel` calculates the same on a GPU."""
    words = words + _STEP
    words = (words ^ (words >> np.uint64(30))) * _FIRST_FACTOR
    words = (words ^ (words >> np.uint64(27))) * _SECOND_FACTOR
    return words ^ (words >> np.uint64(31))
