"""One step of a batch of streams on a device: frames and memories go in, PCM comes out. Blocking."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orpheus_openai.audio import PCM
from orpheus_openai.models.orpheus.snac_cuda import GraphedNetwork
from orpheus_openai.models.orpheus.snac_network import SnacNetwork, Step
from orpheus_openai.models.orpheus.snac_noise import StreamNoise

FULL_SCALE = 32_767
"""What a sample of 1.0 becomes in int16; -1.0 becomes -32 767, so that silence stays in the middle. The
network's tanh leaves nothing to clip, and samples are rounded to the nearest step."""


class StreamMemory:
    """What is kept of one stream between two steps: the network's state, and where its noise has got to."""

    def __init__(self, noise: StreamNoise | None) -> None:
        self.noise = noise
        self.state: Tensor | None = None


class SnacRunner:
    """A network on its device. Several threads may call `run` at once on a CPU, one at a time on a GPU."""

    def __init__(self, network: SnacNetwork, *, noise: bool) -> None:
        self._network = network
        self._device = network.device
        self.noise_blocks = len(network.blocks)
        """How many sequences of random numbers a stream needs."""
        self._cuda_stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._run: Any = network.run
        if self._cuda_stream is not None:
            self._run = GraphedNetwork(network, self._cuda_stream, noise=noise).run

    def run(
        self, step: Step, frames: Sequence[NDArray[np.int16]], streams: Sequence[StreamMemory]
    ) -> list[PCM]:
        """Decode `frames[i]`, shape (step.frames, 7), as what comes next in `streams[i]`; the PCM of each."""
        lengths = self._network.noise_lengths(step)
        noises = [stream.noise.draw(lengths) for stream in streams if stream.noise is not None]
        states = [stream.state for stream in streams if stream.state is not None]
        with torch.inference_mode(), torch.cuda.stream(self._cuda_stream):
            samples, following = self._run(
                step,
                self._upload(np.stack(frames)).long(),
                torch.stack(states) if states else None,
                self._upload(np.stack(noises)) if noises else None,
            )
            # A copy for each stream: a view would keep the whole batch in memory as long as the slowest.
            rows = [None] * len(streams) if following is None else [row.clone() for row in following]
            for stream, row in zip(streams, rows, strict=True):
                stream.state = row
            pcm = self._download((samples * FULL_SCALE).round_().to(torch.int16))
        return [row.copy() for row in pcm]

    def release(self) -> None:
        """Give the device's memory back; nothing can be decoded afterwards."""
        del self._run, self._network
        if self._cuda_stream is not None:
            torch.cuda.empty_cache()

    def _upload(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self._cuda_stream is None:
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _download(self, tensor: Tensor) -> NDArray[np.int16]:
        if self._cuda_stream is not None:
            pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            tensor = pinned.copy_(tensor, non_blocking=True)
            self._cuda_stream.synchronize()
        array: NDArray[np.int16] = tensor.numpy()
        return array
