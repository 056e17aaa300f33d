"""The random numbers of SNAC's noise blocks, drawn so that a seed fixes them however an utterance is cut."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Noise: TypeAlias = Literal["on", "off"] | int
"""`on`: different for each utterance, as the published decoder has it; an int: this seed for each utterance;
`off`: none at all, for exact comparison, and audibly duller."""


class StreamNoise:
    """Standard normal numbers for the blocks of one utterance.

    Each block draws from a sequence of its own and uses every number once, in order: what a sample gets
    depends on its place in the utterance alone, not on where steps begin and end.
    """

    def __init__(self, blocks: int, seed: int | None = None) -> None:
        self._sequences = [
            np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(blocks)
        ]

    def draw(self, lengths: Sequence[int]) -> NDArray[np.float32]:
        """Draw the next `lengths[i]` numbers for each block i, one block after another."""
        parts = zip(self._sequences, lengths, strict=True)
        return np.concatenate([sequence.standard_normal(length, np.float32) for sequence, length in parts])
