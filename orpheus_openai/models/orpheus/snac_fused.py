"""SNAC's decoder for a GPU: `SnacNetwork` with all that lies between two matrix products in one kernel.

As single operations, snakes, convolutions, copies and noise move some twenty times what the layers' inputs and outputs
hold; here it is six times, in a quarter of the launches. The products are left to cuBLAS, and add what goes around a
residual unit as they end.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from orpheus_openai.models.orpheus import snac_kernels
from orpheus_openai.models.orpheus.snac_network import KERNEL, Filter, SnacNetwork, Step

TILE = (32, 64)
"""Times and channels of one program."""


@dataclass(frozen=True)
class _Edges:
    """What a layer keeps between two steps: its columns of the state, None where there is no other step."""

    past: Tensor | None
    following: Tensor | None


class FusedNetwork:
    """A SnacNetwork that computes the same; its weights, activations and state are stored as `dtype`."""

    def __init__(
        self, network: SnacNetwork, dtype: torch.dtype = torch.float32, tile: tuple[int, int] | None = None
    ) -> None:
        self._network = network
        self._dtype = dtype
        self._tile = tile or TILE
        self._codebooks, self._project, self._widen = (
            network.codebooks.to(dtype),
            tuple(part.to(dtype) for part in network.project),
            tuple(part.to(dtype) for part in network.widen),
        )
        self._products = [
            (block.weight.to(dtype), block.bias.to(dtype), block.noise_weight.to(dtype))
            for block in network.blocks
        ]
        self._around = [[unit.weight.to(dtype).t() for unit in block.residuals] for block in network.blocks]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._network.device

    @property
    def state_size(self) -> int:
        """Numbers that are kept of one stream between two steps."""
        return self._network.state_size

    @property
    def state_type(self) -> torch.dtype:
        """How they are stored."""
        return self._dtype

    @property
    def noise_blocks(self) -> int:
        """How many sequences of random numbers a stream needs."""
        return len(self._network.blocks)

    def noise_lengths(self, step: Step) -> list[int]:
        """Count the random numbers that each block wants in that step."""
        return self._network.noise_lengths(step)

    def draw(self, step: Step, seeds: Tensor, positions: Tensor) -> Tensor:
        """Draw a step's noise, float32, (batch, sum of noise_lengths), as `StreamNoise` does.

        `seeds` int64 (batch,); `positions` int64 (batch, blocks), what each block has had.
        """
        lengths = self.noise_lengths(step)
        noise = torch.empty(len(seeds), sum(lengths), device=seeds.device)
        times = 8 * self._tile[0]
        for block, part in enumerate(noise.split(lengths, 1)):
            if length := part.shape[1]:
                snac_kernels.drawn[len(seeds), -(-length // times)](
                    *(seeds, seeds.stride(0), positions[:, block], positions.stride(0), part, part.stride(0)),
                    *(block, length, times),
                )
        return noise

    def run(
        self, step: Step, codes: Tensor, state: Tensor | None, noise: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Decode one step of a batch of streams: as `SnacNetwork.run`, the state being of `state_type`."""
        network = self._network
        following = None
        if not step.last:
            following = self._codebooks.new_empty(codes.shape[0], self.state_size)
        edges = _Columns(state, following)
        x = functional.embedding(codes[:, :, network.slots].flatten(1, 2) + network.levels, self._codebooks)
        x = functional.linear(x.flatten(2), *self._project)
        x, _ = self._filter(x, network.filter, step, edges)
        x = functional.linear(x, *self._widen)
        noises = [None] * len(self._products) if noise is None else noise.split(self.noise_lengths(step), 1)
        for block, products, around, part in zip(
            network.blocks, self._products, self._around, noises, strict=True
        ):
            weight, bias, noise_weight = products
            x = functional.linear(self._pair(x, step, edges), weight, bias)
            x = x.view(x.shape[0], -1, noise_weight.shape[0])
            edge = block.stride // 2
            x = x[:, edge * step.first : x.shape[1] - edge * step.last]
            added = None if part is None else (functional.linear(x, noise_weight), part)
            for unit, mixing in zip(block.residuals, around, strict=True):
                inner, x = self._filter(
                    x, unit.filter, step, edges, around=(unit.rescale, unit.bias), added=added
                )
                x.flatten(0, 1).addmm_(inner.flatten(0, 1), mixing)
                added = None
        return self._end(x, step, edges), following

    def _filter(
        self,
        x: Tensor,
        layer: Filter,
        step: Step,
        edges: "_Columns",
        *,
        around: tuple[Tensor, Tensor] | None = None,
        added: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Convolve; with `around`, between two snakes, and beside it what goes around the unit."""
        batch, length, channels = x.shape
        outputs, kept = step.filtered(length, layer.reach), 2 * layer.reach
        edge = edges.take(kept * channels)
        out = x.new_empty(batch, outputs, channels)
        passing = torch.empty_like(out) if around is not None else out
        weights, noise = added or (x, x)
        rescale, shift = around or (layer.bias, layer.bias)
        self._launch(
            *(
                snac_kernels.filtered,
                batch,
                max(outputs, kept if edge.following is not None else 0),
                channels,
            ),
            *(x, x.stride(0), weights, noise, noise.stride(0), *_strided(edge.past, x)),
            *(*_strided(edge.following, x), layer.kernel, layer.bias, rescale, shift, out, passing),
            *(layer.reach if step.first else kept, length, kept, outputs, layer.dilation, channels),
            PAST=edge.past is not None,
            FOLLOWING=edge.following is not None,
            NOISE=added is not None,
            RESIDUAL=around is not None,
        )
        return out, passing

    def _pair(self, x: Tensor, step: Step, edges: "_Columns") -> Tensor:
        batch, length, channels = x.shape
        rows = 1 + length + step.last
        edge = edges.take(channels)
        out = x.new_empty(batch, rows - 1, 2 * channels)
        self._launch(
            *(snac_kernels.paired, batch, rows, channels),
            *(x, x.stride(0), *_strided(edge.past, x), *_strided(edge.following, x), out),
            *(length, rows, channels),
            PAST=edge.past is not None,
            FOLLOWING=edge.following is not None,
        )
        return out

    def _end(self, x: Tensor, step: Step, edges: "_Columns") -> Tensor:
        batch, length, channels = x.shape
        reach, kept = KERNEL // 2, KERNEL - 1
        outputs = step.filtered(length, reach)
        edge = edges.take(kept * channels)
        out = torch.empty(batch, outputs, device=x.device)
        times = min(2 * self._tile[0], _power(outputs))
        snac_kernels.ended[batch, -(-max(outputs, kept) // times)](
            *(x, x.stride(0), *_strided(edge.past, x), *_strided(edge.following, x)),
            *(self._network.taps, self._network.bias, out),
            *(reach if step.first else kept, length, kept, outputs, 1, channels),
            PAST=edge.past is not None,
            FOLLOWING=edge.following is not None,
            TIMES=times,
            CHANNELS=_power(channels),
        )
        return out

    def _launch(self, kernel: Any, batch: int, times: int, channels: int, *given: Any, **flags: bool) -> None:
        tall, wide = self._tile
        tall, wide = min(tall, _power(times)), min(wide, _power(channels))
        grid = (batch, -(-times // tall), -(-channels // wide))
        if times > 0:
            kernel[grid](*given, **flags, TIMES=tall, CHANNELS=wide)


class _Columns:
    """The state's columns, layer by layer, in the order that `SnacNetwork` has them in."""

    def __init__(self, past: Tensor | None, following: Tensor | None) -> None:
        self._past = past
        self._following = following
        self._offset = 0

    def take(self, size: int) -> _Edges:
        columns = slice(self._offset, self._offset + size)
        self._offset = columns.stop
        return _Edges(*(None if all_ is None else all_[:, columns] for all_ in (self._past, self._following)))


def _power(size: int) -> int:
    """The power of two that is at least `size`."""
    return 1 << max(0, size - 1).bit_length()


def _strided(tensor: Tensor | None, stand_in: Tensor) -> tuple[Tensor, int]:
    """A tensor and how far its rows are apart; something to point at where there is none."""
    return (stand_in, 0) if tensor is None else (tensor, tensor.stride(0))
