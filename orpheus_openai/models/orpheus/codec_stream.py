"""One utterance on its way through the codec: its frames, its reader, what the listener has left to play."""

import asyncio
import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.models.orpheus.frames import CODEBOOK_SIZE, SECONDS_PER_FRAME, TOKENS_PER_FRAME
from orpheus_openai.models.orpheus.snac_network import START_FRAMES, Step
from orpheus_openai.models.orpheus.snac_runner import StreamMemory

LONGEST_HOP = 8
"""Frames of one stream in one step. On a CPU a frame costs 1.4 times as much alone as among eight, and hardly
less among more."""
SHORT_HOP = 2
"""Frames of a hop for a listener who has next to nothing in hand."""
HOP_FOR_IN_HAND = 4
"""Frames that a hop may have for each frame in the listener's hand: a CPU decodes faster than that."""
RESERVE = 0.4
"""Seconds of audio in the listener's hand below which no frame waits for others to make a longer hop."""
MOST_WAITING = 512
"""Frames of one stream that may wait to be decoded, 44 s of audio, before its source is not read on."""


def plan_step(waiting: int, *, started: bool, ended: bool, in_hand: float) -> tuple[Step, float] | None:
    """Decide a stream's next step, and after how many seconds; None when it needs more frames first.

    `waiting` frames are there, `ended` says that no more will come, and the listener has `in_hand` seconds of
    audio left to play. Hops are powers of two, so that streams find others of their shape, and none takes longer
    than the listener can wait.
    """
    if not started:
        if ended and 0 < waiting <= START_FRAMES:
            return Step(waiting, first=True, last=True), 0.0
        return (Step(START_FRAMES, first=True), 0.0) if waiting >= START_FRAMES else None
    if ended and waiting <= LONGEST_HOP:
        return Step(waiting, last=True), 0.0
    if waiting == 0:
        return None
    affordable = max(SHORT_HOP, int(in_hand / SECONDS_PER_FRAME * HOP_FOR_IN_HAND))
    hop = 1 << (min(waiting, affordable, LONGEST_HOP).bit_length() - 1)
    return Step(hop), 0.0 if waiting >= LONGEST_HOP else max(0.0, in_hand - RESERVE)


class CodecStream:
    """What the decoder knows of one utterance; all methods are called on the event loop."""

    def __init__(self, memory: StreamMemory) -> None:
        self.memory = memory
        self.dry_at = -math.inf
        """When, on the loop's clock, a listener runs out of audio who plays each piece as it comes."""
        self._waiting: deque[NDArray[np.int16]] = deque()
        self._taken = asyncio.Event()
        self._reader: asyncio.Future[PCM | None] | None = None
        self._error: BaseException | None = None
        self._started = False
        self._ended = False
        self._finished = False
        self.running = False
        """Whether a step of it is with the device."""

    def add(self, frames: NDArray[np.int16]) -> None:
        """Take frames from the source, shape (n, 7); raises ValueError if they are not frames."""
        if frames.shape[1:] != (TOKENS_PER_FRAME,):
            raise ValueError(f"frames have the shape (n, {TOKENS_PER_FRAME}), not {frames.shape}")
        # On a GPU an index outside the codebook would end the CUDA context, and with it every stream.
        if frames.size and (frames.min() < 0 or frames.max() >= CODEBOOK_SIZE):
            raise ValueError(f"codes are 0 to {CODEBOOK_SIZE - 1}, not {frames.min()} to {frames.max()}")
        self._waiting.extend(frames)

    async def room(self) -> None:
        """Wait until the source may be read on."""
        while len(self._waiting) > MOST_WAITING:
            self._taken.clear()
            await self._taken.wait()

    def end(self) -> None:
        """Note that the source has no more frames."""
        self._ended = True
        if not (self._started or self.running or self._waiting):
            self._finish()

    def fail(self, error: BaseException) -> None:
        """Give the reader `error`, now or when it next asks."""
        self._error = self._error or error
        if self._reader is not None and not self._reader.done():
            self._reader.set_exception(self._error)

    def ask(self) -> "asyncio.Future[PCM | None]":
        """Promise the reader the next piece of PCM, or None at the end."""
        self._reader = asyncio.get_running_loop().create_future()
        if self._error is not None:
            self._reader.set_exception(self._error)
        elif self._finished:
            self._reader.set_result(None)
        return self._reader

    def plan(self, now: float) -> tuple[Step, float] | None:
        """Decide as `plan_step`; None also while nobody asks, or a step is running."""
        if self.running or self._reader is None or self._reader.done():
            return None
        in_hand = max(0.0, self.dry_at - now)
        return plan_step(len(self._waiting), started=self._started, ended=self._ended, in_hand=in_hand)

    def take(self, step: Step) -> NDArray[np.int16]:
        """Hand over the frames for `step`, shape (step.frames, 7), which is now running."""
        self.running = True
        self._taken.set()
        frames = [self._waiting.popleft() for _ in range(step.frames)]
        return np.array(frames, np.int16).reshape(-1, TOKENS_PER_FRAME)

    def deliver(self, step: Step, pcm: PCM, now: float) -> None:
        """Hand the PCM of `step`, which is done, to the reader, if it is still there."""
        self.running = False
        self._started = True
        self._finished = step.last
        self.dry_at = max(self.dry_at, now) + len(pcm) / SAMPLE_RATE
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(pcm)

    def _finish(self) -> None:
        self._finished = True
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
