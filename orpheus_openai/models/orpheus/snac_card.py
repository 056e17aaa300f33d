"""SNAC's steps on a GPU: every stream's state a row of one table, and the common steps replayed from CUDA graphs.

What a step needs comes up in one copy, and each kernel works for the whole batch: a step of one stream costs the host
as much as one of 128.
"""

import importlib.util
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orpheus_openai.audio import PCM
from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.snac_network import SnacNetwork, Step
from orpheus_openai.models.orpheus.snac_runner import StreamMemory, to_pcm

logger = logging.getLogger(__name__)

Precision: TypeAlias = Literal["fp32", "tf32", "fp16"]
"""`fp32`: exact. `tf32`: products of numbers rounded to eleven bits. `fp16`: weights, activations, states in half."""

HOPS = (1, 2, 4, 8)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
LARGEST = 128
"""Frames, over all streams, up to which a step is captured: above it kernels outlast launches."""
ROWS = 256
"""Streams that the table has room for at first; it grows, and the graphs are captured again."""
SPARE = 0
"""The row of nobody, for what a graph computes beside the streams of its step."""


@dataclass(frozen=True)
class _Captured:
    graph: Any
    inputs: Tensor
    pcm: Tensor


class CardRunner:
    """A network on a GPU with the states of its streams. One thread may call `run` at a time."""

    def __init__(
        self, network: SnacNetwork, *, noise: bool, precision: Precision = "fp32", rows: int = ROWS
    ) -> None:
        """Compile and capture all steps, which takes a few seconds; `noise` says whether streams will have any.

        Raises ModelUnavailableError where that precision cannot be had.
        """
        self._device = network.device
        self._noise = noise
        self.noise_blocks = len(network.blocks)
        self._network: Any = _fused(network, precision)
        self._round(precision)
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._captured: dict[tuple[int, int], _Captured] = {}
        self._table = self._rows(rows)
        self._free = list(range(1, rows + 1))
        self._capture_all()

    def run(
        self, step: Step, frames: Sequence[NDArray[np.int16]], streams: Sequence[StreamMemory]
    ) -> list[PCM]:
        """Decode `frames[i]`, shape (step.frames, 7), as what comes next in `streams[i]`; the PCM of each."""
        with torch.inference_mode(), self._on_stream():
            inputs = self._inputs(step, frames, streams)
            captured = None
            if not (step.first or step.last):
                captured = self._captured.get((1 << (len(streams) - 1).bit_length(), step.frames))
            if captured is None:
                pcm = self._decode(step, self._upload(inputs))
            else:
                padded = np.zeros(captured.inputs.shape, np.int64)  # row SPARE
                padded[: len(inputs)] = inputs
                captured.inputs.copy_(self._upload(padded), non_blocking=True)
                captured.graph.replay()
                pcm = captured.pcm[: len(streams)]
            heard = self._download(pcm)
        for stream in streams:
            if stream.noise is not None:
                stream.noise.skip(self._network.noise_lengths(step))
            if step.last:
                self.forget(stream)
        return [row.copy() for row in heard]

    def forget(self, stream: StreamMemory) -> None:
        """Give a stream's row to whoever comes next; a step that it is still in comes before theirs."""
        row, stream.row = stream.row, None
        if row is not None:
            self._free.append(row)

    def release(self) -> None:
        """Give the device's memory back; nothing can be decoded afterwards."""
        self._captured.clear()
        del self._network, self._table
        if self._stream is not None:
            torch.cuda.empty_cache()

    def _inputs(
        self, step: Step, frames: Sequence[NDArray[np.int16]], streams: Sequence[StreamMemory]
    ) -> NDArray[np.int64]:
        """All that a step needs, a line for each stream: its row, seed, numbers drawn, codes."""
        inputs = np.zeros((len(streams), self._width(step)), np.int64)
        head = 2 + self.noise_blocks
        for line, stream in zip(inputs, streams, strict=True):
            if stream.row is None:
                stream.row = self._row()
            line[0] = stream.row
            if stream.noise is not None:
                line[1], line[2:head] = stream.noise.seed, stream.noise.positions
        inputs[:, head:] = np.stack(frames).reshape(len(streams), -1)
        return inputs

    def _width(self, step: Step) -> int:
        return 2 + self.noise_blocks + TOKENS_PER_FRAME * step.frames

    def _decode(self, step: Step, inputs: Tensor) -> Tensor:
        """Everything that a step is on the device: int16, (batch, n)."""
        head = 2 + self.noise_blocks
        rows, seeds, positions = inputs[:, 0], inputs[:, 1], inputs[:, 2:head]
        codes = inputs[:, head:].unflatten(1, (step.frames, TOKENS_PER_FRAME))
        state = None if step.first else self._table.index_select(0, rows)
        noise = self._network.draw(step, seeds, positions) if self._noise else None
        samples, following = self._network.run(step, codes, state, noise)
        if following is not None:
            self._table.index_copy_(0, rows, following)
        return to_pcm(samples)

    def _row(self) -> int:
        if not self._free:
            self._grow()
        return self._free.pop()

    def _grow(self) -> None:
        old = self._table
        self._captured.clear()
        self._table = self._rows(2 * (len(old) - 1))
        self._table[: len(old)] = old
        self._free += range(len(old), len(self._table))
        logger.info("SNAC has room for %d streams now", len(self._table) - 1)
        self._capture_all()

    def _rows(self, count: int) -> Tensor:
        size, kind = self._network.state_size, self._network.state_type
        return torch.zeros(count + 1, size, dtype=kind, device=self._device)

    def _capture_all(self) -> None:
        if self._stream is None:
            return
        pool = torch.cuda.graph_pool_handle()
        shapes = [(batch, hop) for batch in BATCHES for hop in HOPS if batch * hop <= LARGEST]
        with torch.inference_mode():
            # The largest comes first, so that the others find their memory in the pool.
            for batch, hop in sorted(shapes, key=lambda shape: -shape[0] * shape[1]):
                self._captured[batch, hop] = self._capture(batch, Step(hop), pool)

    def _capture(self, batch: int, step: Step, pool: Any) -> _Captured:
        inputs = torch.zeros(batch, self._width(step), dtype=torch.long, device=self._device)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # type: ignore[union-attr]
        with torch.cuda.stream(self._stream):
            self._decode(step, inputs)  # Lets kernels be compiled and chosen before the capture.
        self._stream.synchronize()  # type: ignore[union-attr]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
            pcm = self._decode(step, inputs)
        return _Captured(graph, inputs, pcm)

    def _on_stream(self) -> Any:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _round(self, precision: Precision) -> None:
        # Convolutions round their inputs by default, matrix products do not.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        # Sums in half lose what a residual unit adds.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False

    def _upload(self, array: NDArray[np.int64]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self._stream is None:
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _download(self, tensor: Tensor) -> NDArray[np.int16]:
        if self._stream is not None:
            pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            tensor = pinned.copy_(tensor, non_blocking=True)
            self._stream.synchronize()
        array: NDArray[np.int16] = tensor.numpy()
        return array


def _fused(network: SnacNetwork, precision: Precision) -> Any:
    if importlib.util.find_spec("triton") is None:
        raise ModelUnavailableError(
            "SNAC's kernels for GPUs are written in Triton, which is not installed: `pip install triton`, which comes "
            "with PyTorch's builds for CUDA on Linux."
        )
    from orpheus_openai.models.orpheus.snac_fused import FusedNetwork  # noqa: PLC0415

    return FusedNetwork(network, torch.float16 if precision == "fp16" else torch.float32)
