"""One step of a batch of streams on a device: frames and memories go in, PCM comes out. Blocking."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orpheus_openai.audio import PCM
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
        """On a CPU."""
        self.row: int | None = None
        """On a GPU: where the state stands among those of all streams."""


class Runner(Protocol):
    """What decodes the steps of all streams of a device."""

    noise_blocks: int

    def run(
        self, step: Step, frames: Sequence[NDArray[np.int16]], streams: Sequence[StreamMemory]
    ) -> list[PCM]:
        """Decode `frames[i]`, shape (step.frames, 7), as what comes next in `streams[i]`; the PCM of each."""
        ...

    def forget(self, stream: StreamMemory) -> None:
        """Drop what is kept of a stream."""
        ...

    def release(self) -> None:
        """Give the memory back."""
        ...


class SnacRunner:
    """A network on the CPU. Several threads may call `run` at once."""

    def __init__(self, network: SnacNetwork) -> None:
        self._network = network
        self.noise_blocks = len(network.blocks)
        """How many sequences of random numbers a stream needs."""

    def run(
        self, step: Step, frames: Sequence[NDArray[np.int16]], streams: Sequence[StreamMemory]
    ) -> list[PCM]:
        """Decode `frames[i]`, shape (step.frames, 7), as what comes next in `streams[i]`; the PCM of each."""
        lengths = self._network.noise_lengths(step)
        noises = [stream.noise.draw(lengths) for stream in streams if stream.noise is not None]
        states = [stream.state for stream in streams if stream.state is not None]
        with torch.inference_mode():
            samples, following = self._network.run(
                step,
                torch.from_numpy(np.stack(frames)).long(),
                torch.stack(states) if states else None,
                torch.from_numpy(np.stack(noises)) if noises else None,
            )
            # A copy for each stream: a view would keep the whole batch in memory as long as the slowest.
            rows = [None] * len(streams) if following is None else [row.clone() for row in following]
            for stream, row in zip(streams, rows, strict=True):
                stream.state = row
            pcm = to_pcm(samples).numpy()
        return [row.copy() for row in pcm]

    def forget(self, stream: StreamMemory) -> None:
        """Drop what is kept of a stream."""
        stream.state = None

    def release(self) -> None:
        """Give the memory back; nothing can be decoded afterwards."""
        del self._network


def to_pcm(samples: Tensor) -> Tensor:
    """Round samples from -1 to 1 to int16."""
    return (samples * FULL_SCALE).round_().to(torch.int16)
