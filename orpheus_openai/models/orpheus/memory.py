"""What Orpheus takes of a card: weights, cache, sampler, engine and codec, added up before anything is loaded.

Weights and cache are exact, as vLLM reports them itself ("Model loading took …", "GPU KV cache size"). The rest is read
off the sources of vLLM and torch and rounded up: it has not been measured on a card.
"""

import msgspec

from orpheus_openai.gpu.policy import GIB

CONTEXT = int(0.95 * GIB)
"""An engine's process before it has anything of a model, on each card.

CUDA's context with the kernels of torch and vLLM (0.5 to 0.6 GiB), workspaces of cuBLAS and FlashAttention and the
table of rotary positions (0.1), and what the allocator cannot hand out (0.25).
"""

ACTIVATIONS = 80 << 10
"""Of each token of a step, at its widest place: gate and up (2 x 8 192 numbers), their product (8 192), queries, keys
and values (5 120), and the residual stream a few times (3 072 each), in 16 bits."""

GRAPH = int(10.5 * (1 << 20))
"""A captured graph: 28 layers of kernels with their parameters.

vLLM's log tells 0.21 GiB for 35 graphs of Llama 3.2 1B, which has 16 layers
(https://github.com/vllm-project/vllm/pull/11349).
"""

CODEC = int(0.9 * GIB)
"""SNAC on the card, in the server's own process: a second CUDA context (0.5 GiB), 80 MB of weights, 84 MB for
the states of 256 streams, cuBLAS' workspaces and the graphs of its 26 captured steps. All models share it, and with
ORPHEUS_SNAC_DEVICE=cpu it is not there."""

SAMPLER_BYTES = 46
"""Of each stream for each logit of a step, at the peak of the trial step with which vLLM starts.

That step samples over all logits as vLLM would by itself; those that follow draw within the slot, and take less. Counts
of what was said (4), the engine's logits (2), the same as float32 (4) and a copy that is worked on (4), sorted
values (4) and ids (8) with the sort's own scratch (12), probabilities (4) and their running sum (4).
"""

MARGIN = 0.03
"""Share of a card that is left free for what others on it will still take."""
LEAST_MARGIN = int(0.3 * GIB)

ONLINE_BYTES = {
    "fp8_per_tensor": 1.0,
    "fp8_per_channel": 1.0,
    "fp8_per_block": 1.0 + 4 / 128**2,
    "mxfp8": 1.0 + 1 / 32,
    "mxfp4": 0.5 + 1 / 32,
}
"""Bytes of one number in a linear layer that vLLM quantises as it loads it, with its scales.

Source: `_ONLINE_SHORTHANDS` in vllm/config/quantization.py; embedding and head stay as they are.
"""


class Footprint(msgspec.Struct, frozen=True):
    """Bytes on each card."""

    weights: int
    cache: int
    sampler: int
    engine: int
    codec: int = CODEC

    @property
    def of_engine(self) -> int:
        """All but the codec, which is there already when an engine starts."""
        return self.weights + self.cache + self.sampler + self.engine

    @property
    def total(self) -> int:
        """All of it."""
        return self.of_engine + self.codec


def sampler_bytes(columns: int, streams: int) -> int:
    """What a step's logits take on their way to a token, so many for each stream; each card has all of them."""
    return SAMPLER_BYTES * columns * streams


def engine_bytes(batched_tokens: int, graphs: int) -> int:
    """What an engine's process takes on each card beside weights, cache and sampler."""
    return CONTEXT + ACTIVATIONS * batched_tokens + GRAPH * graphs


def margin(card_total: int) -> int:
    """What is not to be taken of a card of so many bytes."""
    return max(LEAST_MARGIN, round(MARGIN * card_total))
