"""SNAC's decoder as a network that remembers: frames go in as they come, each sample comes out once, exact.

The published decoder is a stack of convolutions over a whole utterance. Here each convolution keeps the few
inputs at its left edge that the next frames will need. So nothing is decoded twice, whether frames come one
by one or all at once, and the samples are those of the whole utterance: no context is cut off, no seam can
arise. What the right edge needs is waited for: 2.32 frames. Activations are laid out (batch, time, channels),
in which pointwise and transposed convolutions are plain matrix products.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LATENTS_PER_FRAME = 4
"""Steps of SNAC's latent sequence in a frame: the rate of its finest level."""
START_FRAMES = 3
"""Frames the first step takes: the fewest that let any sample out before the utterance ends."""
KERNEL = 7
"""Taps of the depthwise convolutions and of the last layer."""

SLOTS_OF_LATENTS = ((0, 1, 2), (0, 1, 3), (0, 4, 5), (0, 4, 6))
"""Which of a frame's seven codes make each of its four latent steps: coarse, middle, fine (Orpheus-TTS)."""


@dataclass(frozen=True)
class Step:
    """Which part of an utterance is decoded, and from how many frames; equal steps can share a batch."""

    frames: int
    first: bool = False
    """Nothing came before: START_FRAMES frames, or fewer if it is the last step as well."""
    last: bool = False
    """Nothing comes after: what is still inside the network comes out, even with no frame going in."""

    def __post_init__(self) -> None:
        if self.first and not self.last and self.frames < START_FRAMES:
            raise ValueError(f"a first step takes {START_FRAMES} frames, not {self.frames}")
        if self.first and self.frames < 1:
            raise ValueError("an utterance has one frame at least")

    def filtered(self, length: int, reach: int) -> int:
        """Count the outputs of a filter that sees `reach` inputs to each side, for `length` new inputs."""
        return length + reach * (self.last - self.first)

    def upsampled(self, length: int, stride: int) -> int:
        """Count the outputs of a transposed convolution of 2 * `stride` taps, for `length` new inputs."""
        return stride * length + stride // 2 * (self.last - self.first)


@dataclass(frozen=True)
class Filter:
    """A depthwise convolution: one filter of KERNEL taps for each channel."""

    kernel: Tensor
    """Shape (channels, 1, 1, KERNEL)."""
    bias: Tensor
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Inputs to each side of the centre that an output depends on."""
        return KERNEL // 2 * self.dilation

    def __call__(self, x: Tensor) -> Tensor:
        """(batch, time + 2 * reach, channels) to (batch, time, channels)."""
        image = x.transpose(1, 2).unsqueeze(2)
        y = functional.conv2d(image, self.kernel, self.bias, dilation=(1, self.dilation), groups=x.shape[2])
        return y.squeeze(2).transpose(1, 2)


@dataclass(frozen=True)
class Residual:
    """x + pointwise(snake(filter(snake(x)))), on scaled channels."""

    filter: Filter
    weight: Tensor
    bias: Tensor
    rescale: Tensor
    """From the scale of the input's channels to that of the output's, shape (channels,)."""

    def __call__(self, x: Tensor, memory: "_Memory") -> Tensor:
        """(batch, time, channels) to the same, later by the filter's reach."""
        reach = self.filter.reach
        x = memory.extend(x, reach, 2 * reach)
        y = functional.linear(_snake(self.filter(_snake(x))), self.weight, self.bias)
        return y.addcmul_(x[:, reach : x.shape[1] - reach], self.rescale)


@dataclass(frozen=True)
class Block:
    """A transposed convolution of 2 * `stride` taps, noise, and residual units."""

    stride: int
    weight: Tensor
    """Shape (stride * channels out, 2 * channels in): two neighbouring inputs make `stride` outputs."""
    bias: Tensor
    noise_weight: Tensor
    residuals: tuple[Residual, ...]

    def __call__(self, x: Tensor, step: Step, noise: Tensor | None, memory: "_Memory") -> Tensor:
        """(batch, time, channels in) to (batch, stride * time, channels out); `noise`: (batch, its time)."""
        x = _snake(memory.extend(x, 1, 1))
        pairs = torch.cat((x[:, :-1], x[:, 1:]), 2)
        y = functional.linear(pairs, self.weight, self.bias).view(x.shape[0], -1, self.noise_weight.shape[0])
        edge = self.stride // 2
        y = y[:, edge * step.first : y.shape[1] - edge * step.last]
        if noise is not None:
            y.addcmul_(functional.linear(y, self.noise_weight), noise.unsqueeze(2))
        for residual in self.residuals:
            y = residual(y, memory)
        return y


@dataclass(frozen=True)
class SnacNetwork:
    """The decoder's weights: weight norm is folded in, and the scales of each snake into its neighbours.

    snake(x) = x + sin²(αx)/α. With z = αx it is (z + sin² z)/α. So every layer gives its channels in the
    scale that the snake after it wants, and takes the division by α into its own weights.
    """

    codebooks: Tensor
    """The three levels' codebooks one after another, shape (3 * 4096, codebook dimension)."""
    project: tuple[Tensor, Tensor]
    """Weight and bias from the three codes of a latent step to the latent."""
    filter: Filter
    widen: tuple[Tensor, Tensor]
    blocks: tuple[Block, ...]
    taps: Tensor
    """The last layer, shape (KERNEL, channels)."""
    bias: Tensor
    slots: Tensor
    """SLOTS_OF_LATENTS."""
    levels: Tensor
    """Where each level's codebook begins in `codebooks`, shape (3,)."""

    @property
    def device(self) -> torch.device:
        """Where the weights are, and everything that `run` is given must be."""
        return self.codebooks.device

    @property
    def state_size(self) -> int:
        """Numbers that the network keeps of one stream between two steps."""
        size: int = 2 * self.filter.reach * self.filter.bias.shape[0] + (KERNEL - 1) * self.taps.shape[1]
        for block in self.blocks:
            size += block.weight.shape[1] // 2
            size += sum(2 * unit.filter.reach * unit.bias.shape[0] for unit in block.residuals)
        return size

    def noise_lengths(self, step: Step) -> list[int]:
        """Count the random numbers that each block wants in that step."""
        lengths = []
        length = step.filtered(LATENTS_PER_FRAME * step.frames, self.filter.reach)
        for block in self.blocks:
            length = step.upsampled(length, block.stride)
            lengths.append(length)
            for unit in block.residuals:
                length = step.filtered(length, unit.filter.reach)
        return lengths

    def run(
        self, step: Step, codes: Tensor, state: Tensor | None, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Decode one step of a batch of streams.

        `codes`: int64, shape (batch, step.frames, 7). `state`: float32, (batch, state_size), as the step
        before returned it; None in a first step. `noise`: float32, (batch, sum of noise_lengths), standard
        normal; None for no noise. Returns the samples, float32, (batch, n), -1 to 1, and the next state, None
        after the last step.
        """
        following = None if step.last else self.codebooks.new_empty(codes.shape[0], self.state_size)
        memory = _Memory(state, following)
        x = functional.embedding(codes[:, :, self.slots].flatten(1, 2) + self.levels, self.codebooks).flatten(
            2
        )
        x = functional.linear(x, *self.project)
        x = functional.linear(
            self.filter(memory.extend(x, self.filter.reach, 2 * self.filter.reach)), *self.widen
        )
        noises = [None] * len(self.blocks) if noise is None else noise.split(self.noise_lengths(step), 1)
        for block, block_noise in zip(self.blocks, noises, strict=True):
            x = block(x, step, block_noise, memory)
        x = _snake(memory.extend(x, KERNEL // 2, KERNEL - 1))
        tapped = functional.linear(x, self.taps)
        length = x.shape[1] - KERNEL + 1
        samples = tapped[:, :length, 0] + self.bias
        for tap in range(1, KERNEL):
            samples += tapped[:, tap : tap + length, tap]
        return samples.tanh_(), following


class _Memory:
    """What each layer keeps of its newest inputs for the next step: a row a stream, in layer order."""

    def __init__(self, past: Tensor | None, following: Tensor | None) -> None:
        self._past = past
        self._following = following
        self._offset = 0

    def extend(self, x: Tensor, reach: int, kept: int) -> Tensor:
        """Join `x` (batch, time, channels) to the `kept` inputs before it; zeros stand beyond either end."""
        batch, _, channels = x.shape
        columns = slice(self._offset, self._offset + kept * channels)
        self._offset = columns.stop
        if self._past is None:
            before = x.new_zeros(batch, reach, channels)
        else:
            before = self._past[:, columns].unflatten(1, (kept, channels))
        if self._following is None:
            return torch.cat((before, x, x.new_zeros(batch, reach, channels)), 1)
        x = torch.cat((before, x), 1)
        self._following[:, columns].unflatten(1, (kept, channels)).copy_(x[:, x.shape[1] - kept :])
        return x


def _snake(z: Tensor) -> Tensor:
    """Return z + sin² z."""
    # NumPy's sine takes half the time of PyTorch's, and was a fifth of all the work.
    sine = torch.from_numpy(np.sin(z.numpy())) if z.device.type == "cpu" else torch.sin(z)
    return torch.addcmul(z, sine, sine, out=sine)
