"""The common steps as CUDA graphs: one launch in place of some two hundred, for which small batches wait."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.snac_network import SnacNetwork, Step

HOPS = (1, 2, 4, 8)
BATCHES = (1, 2, 4, 8, 16, 32)
LARGEST = 64
"""Frames, over all streams, up to which a step is captured: above it kernels outlast launches."""


@dataclass(frozen=True)
class _Captured:
    graph: Any
    codes: Tensor
    state: Tensor
    noise: Tensor | None
    samples: Tensor
    following: Tensor


class GraphedNetwork:
    """A SnacNetwork on a GPU; steps in mid-utterance are replayed from a graph where there is one."""

    def __init__(self, network: SnacNetwork, stream: Any, *, noise: bool) -> None:
        """Capture all graphs, which takes a second or two; `noise` says whether `run` will be given any."""
        # Convolutions would round their inputs to ten bits otherwise; the matrix products do not by default.
        torch.backends.cudnn.allow_tf32 = False
        self._network = network
        self._captured: dict[tuple[int, int], _Captured] = {}
        pool = torch.cuda.graph_pool_handle()
        shapes = [(batch, hop) for batch in BATCHES for hop in HOPS if batch * hop <= LARGEST]
        with torch.inference_mode():
            # The largest comes first, so that the others find their memory in the pool.
            for batch, hop in sorted(shapes, key=lambda shape: -shape[0] * shape[1]):
                self._captured[batch, hop] = self._capture(batch, hop, stream, pool, noise=noise)

    def run(
        self, step: Step, codes: Tensor, state: Tensor | None, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """As `SnacNetwork.run`; what it returns is valid until the next call."""
        batch = codes.shape[0]
        captured = self._captured.get((1 << (batch - 1).bit_length(), step.frames))
        if captured is None or state is None or step.last:
            return self._network.run(step, codes, state, noise)
        captured.codes[:batch].copy_(codes)
        captured.state[:batch].copy_(state)
        if captured.noise is not None:
            captured.noise[:batch].copy_(noise)
        captured.graph.replay()
        return captured.samples[:batch], captured.following[:batch]

    def _capture(self, batch: int, hop: int, stream: Any, pool: Any, *, noise: bool) -> _Captured:
        step = Step(hop)
        network = self._network
        device = network.device
        codes = torch.zeros(batch, hop, TOKENS_PER_FRAME, dtype=torch.long, device=device)
        state = torch.zeros(batch, network.state_size, device=device)
        drawn = torch.zeros(batch, sum(network.noise_lengths(step)), device=device) if noise else None
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            network.run(
                step, codes, state, drawn
            )  # Lets the libraries choose their kernels before the capture.
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            samples, following = network.run(step, codes, state, drawn)
        return _Captured(graph, codes, state, drawn, samples, following)
