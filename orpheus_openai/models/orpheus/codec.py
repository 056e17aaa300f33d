"""Frames to PCM for all streams of a device: who is decoded next, and together with whom."""

import asyncio
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.errors import EngineError, ShuttingDownError
from orpheus_openai.models.orpheus.codec_stream import CodecStream
from orpheus_openai.models.orpheus.frames import TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.snac_card import CardRunner, Precision
from orpheus_openai.models.orpheus.snac_network import START_FRAMES, Step
from orpheus_openai.models.orpheus.snac_noise import Noise, StreamNoise
from orpheus_openai.models.orpheus.snac_runner import Runner, SnacRunner, StreamMemory
from orpheus_openai.models.orpheus.snac_weights import load_snac, to_device

BATCH_FRAMES_CPU = 8
"""Frames in one step over all streams: a CPU gains nothing from more, and new streams would wait for them."""
BATCH_FRAMES_CUDA = 128
"""On a GPU that also speaks, a longer step would hold up the engine's, and save next to nothing."""
MOST_CPU_WORKERS = 8

_Due: TypeAlias = list[tuple[CodecStream, Step]]


class SnacDecoder:
    """One SNAC on one device, shared by all streams; used from one event loop, works in its own threads.

    A stream is decoded when its reader asks for more, not ahead of it. Those whose listeners would fall
    silent first come first, and take others along that need the same step. On a CPU each worker decodes with
    one thread: steps side by side cost less than one step spread over cores that others want too.
    """

    def __init__(self, runner: Runner, noise: Noise, *, workers: int, batch_frames: int) -> None:
        self._runner = runner
        self._noise = noise
        self._batch_frames = batch_frames
        self._idle_workers = workers
        self._executor = ThreadPoolExecutor(workers, "snac", initializer=torch.set_num_threads, initargs=(1,))
        self._streams: dict[CodecStream, None] = {}
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    def load(
        cls, source: str, device: str = "cpu", noise: Noise = "on", precision: Precision = "fp32"
    ) -> Self:
        """Load a checkpoint directory or repo id onto `device` and try it once. Blocking.

        `device`: `cpu`, `cuda` or `cuda:N`; a CPU computes in float32 whatever the precision.
        Raises ModelUnavailableError when the checkpoint cannot be used.
        """
        network = to_device(load_snac(source), torch.device(device))
        if network.device.type == "cpu":
            workers = min(len(os.sched_getaffinity(0)), MOST_CPU_WORKERS)
            decoder = cls(SnacRunner(network), noise, workers=workers, batch_frames=BATCH_FRAMES_CPU)
        else:
            runner = CardRunner(network, noise=noise != "off", precision=precision)
            decoder = cls(runner, noise, workers=1, batch_frames=BATCH_FRAMES_CUDA)
        decoder._executor.submit(decoder._try_once).result()
        return decoder

    async def decode(
        self, frames: AsyncIterator[NDArray[np.int16]], *, seed: int | None = None
    ) -> AsyncGenerator[PCM]:
        """Yield the PCM of one utterance, exactly 2 048 samples for each frame, in pieces as they get ready.

        `frames` yields arrays of shape (n, 7), codes 0 to 4095; it is read in a task of its own, a bounded
        way ahead, and its errors are raised here. Its caller closes it, after this generator. `seed` fixes
        the noise where the setting is `on`. Closing the generator drops the work that is still waiting.
        Raises EngineError when the device fails, ShuttingDownError after `close`.
        """
        stream = CodecStream(StreamMemory(self._stream_noise(seed)))
        self._streams[stream] = None
        collector = asyncio.create_task(self._collect(stream, frames))
        try:
            while (pcm := await self._next(stream)) is not None:
                yield pcm
        finally:
            del self._streams[stream]
            if not stream.running:
                self._runner.forget(stream.memory)
            collector.cancel()
            await asyncio.wait([collector])

    async def close(self) -> None:
        """End all streams with ShuttingDownError, wait for the workers, give the device's memory back."""
        self._closed = True
        for stream in self._streams:
            stream.fail(_shutting_down())
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(self._executor.shutdown)
        self._runner.release()

    def _stream_noise(self, seed: int | None) -> StreamNoise | None:
        if self._noise == "off":
            return None
        return StreamNoise(self._runner.noise_blocks, seed if self._noise == "on" else self._noise)

    def _try_once(self) -> None:
        """Take the first steps, which are the slowest, for nobody."""
        memory = StreamMemory(self._stream_noise(0))
        for step in (Step(START_FRAMES, first=True), Step(1), Step(0, last=True)):
            self._runner.run(step, [np.zeros((step.frames, TOKENS_PER_FRAME), np.int16)], [memory])

    async def _collect(self, stream: CodecStream, frames: AsyncIterator[NDArray[np.int16]]) -> None:
        try:
            async for chunk in frames:
                stream.add(chunk)
                self._wake()
                await stream.room()
            stream.end()
        except Exception as error:  # noqa: BLE001  (whatever it is, the reader gets it)
            stream.fail(error)
        self._wake()

    async def _next(self, stream: CodecStream) -> PCM | None:
        if self._closed:
            raise _shutting_down()
        reader = stream.ask()
        self._wake()
        return await reader

    def _wake(self) -> None:
        """Something has changed: schedule, once all that happens in this turn of the loop has happened."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._schedule)

    def _schedule(self) -> None:
        """Give idle workers what is due, and come back when more will be."""
        self._woken = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._idle_workers == 0 or self._closed:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        due: _Due = []
        soonest = math.inf
        for stream in self._streams:
            if (planned := stream.plan(now)) is not None:
                step, delay = planned
                if delay > 0.0:
                    soonest = min(soonest, delay)
                else:
                    due.append((stream, step))
        due.sort(key=lambda pair: pair[0].dry_at)
        while due and self._idle_workers:
            due = self._start(due)
        if soonest < math.inf:
            self._timer = loop.call_later(soonest, self._wake)

    def _start(self, due: _Due) -> _Due:
        """Start the first of `due` with all that fit into its batch; returns the others."""
        step = due[0][1]
        fitting = [stream for stream, other in due if other == step or _contains(other, step)]
        # Each idle worker gets its share: no batch saves so much that a core should stand still.
        share = math.ceil(len(fitting) / self._idle_workers)
        room = self._batch_frames // max(step.frames, START_FRAMES)
        members = fitting[: max(1, min(share, room))]
        frames = [stream.take(step) for stream in members]
        memories = [stream.memory for stream in members]
        self._idle_workers -= 1
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, self._runner.run, step, frames, memories)
        work.add_done_callback(partial(self._deliver, step, members))
        started = set(members)
        return [pair for pair in due if pair[0] not in started]

    def _deliver(self, step: Step, members: Sequence[CodecStream], work: "asyncio.Future[list[PCM]]") -> None:
        self._idle_workers += 1
        failure = work.exception()
        if failure is None:
            now = asyncio.get_running_loop().time()
            for stream, pcm in zip(members, work.result(), strict=True):
                stream.deliver(step, pcm, now)
        else:
            for stream in members:
                stream.running = False
                error = EngineError(f"The codec failed on this utterance ({failure}); the next one may work.")
                error.__cause__ = failure
                stream.fail(error)
        for stream in members:
            if stream not in self._streams:  # Its reader left while the step ran.
                self._runner.forget(stream.memory)
        self._wake()


def _contains(step: Step, other: Step) -> bool:
    """Whether a stream that could take `step` may take the shorter `other` first: both in mid-utterance."""
    return step.frames > other.frames and not (step.first or step.last or other.first or other.last)


def _shutting_down() -> ShuttingDownError:
    return ShuttingDownError("The server is stopping; it takes nothing new.")
