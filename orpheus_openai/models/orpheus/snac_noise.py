"""The random numbers of SNAC's noise blocks: a seed and a place in the utterance fix each, wherever it is drawn.

A hash of both, rather than a generator with a state: however an utterance is cut, on a CPU or on a GPU (`snac_kernels`
has the same formulas), alone or in a batch, a sample gets the same number.
"""

import secrets
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.models.orpheus.splitmix import mixed

Noise: TypeAlias = Literal["on", "off"] | int
"""`on`: different for each utterance, as the published decoder has it; an int: this seed for each utterance;
`off`: none at all, for exact comparison, and audibly duller."""

SEED_BITS = 63
_BLOCK_SHIFT = np.uint64(48)
"""A pair's number within its block takes the bits below: 372 years of audio."""
_FEW_BITS = np.uint64(40)
_MASK = np.uint64(0xFFFFFF)


class StreamNoise:
    """Standard normal numbers for the blocks of one utterance, each used once, in order."""

    def __init__(self, blocks: int, seed: int | None = None) -> None:
        self.seed = (secrets.randbits(SEED_BITS) if seed is None else seed) & ((1 << SEED_BITS) - 1)
        self.positions = [0] * blocks
        """How many numbers each block has had."""

    def draw(self, lengths: Sequence[int]) -> NDArray[np.float32]:
        """Draw the next `lengths[i]` numbers for each block i, one block after another."""
        starts = list(self.positions)
        self.skip(lengths)
        pairs = [
            np.arange(start // 2, (start + length + 1) // 2, dtype=np.uint64)
            | (np.uint64(block) << _BLOCK_SHIFT)
            for block, (start, length) in enumerate(zip(starts, lengths, strict=True))
        ]
        drawn = _normal(self.seed, np.concatenate(pairs))
        parts, offset = [], 0
        for start, length, of_block in zip(starts, lengths, pairs, strict=True):
            begin = 2 * offset + start % 2
            parts.append(drawn[begin : begin + length])
            offset += len(of_block)
        return np.concatenate(parts)

    def skip(self, lengths: Sequence[int]) -> None:
        """Count the next `lengths[i]` numbers of each block i as drawn, elsewhere."""
        for block, length in enumerate(lengths):
            self.positions[block] += length


def _normal(seed: int, pairs: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Make two numbers of each pair's: Box and Muller's transformation of 24 bits and 24 bits of a hash."""
    words = mixed(mixed(np.array([seed], np.uint64)) ^ pairs)
    first = ((words >> _FEW_BITS).astype(np.float32) + np.float32(1)) * np.float32(2**-24)
    angle = (words & _MASK).astype(np.float32) * np.float32(2**-24 * 2 * np.pi)
    radius = np.sqrt(np.float32(-2) * np.log(first))
    normal = np.empty((len(pairs), 2), np.float32)
    np.multiply(radius, np.cos(angle), out=normal[:, 0])
    np.multiply(radius, np.sin(angle), out=normal[:, 1])
    return normal.reshape(-1)
