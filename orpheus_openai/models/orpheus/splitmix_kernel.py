"""What `splitmix` does, for the kernels that calculate on a GPU."""

import triton
import triton.language as tl

STEP = tl.constexpr(0x9E3779B97F4A7C15)
FIRST_FACTOR, SECOND_FACTOR = tl.constexpr(0xBF58476D1CE4E5B9), tl.constexpr(0x94D049BB133111EB)


@triton.jit
def mixed(word):
    """The hash of a 64-bit word, or of many."""
    word = word + STEP
    word = (word ^ (word >> 30)) * FIRST_FACTOR
    word = (word ^ (word >> 27)) * SECOND_FACTOR
    return word ^ (word >> 31)
