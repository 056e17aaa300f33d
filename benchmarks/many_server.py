"""Our server with an engine and a codec that cost nothing: what is left is the server's own.

    python -m benchmarks.many_server serve        # as `orpheus-openai serve`, with ORPHEUS_DEVICE=cpu

Tokens come as a GPU's engine gives them: every step of 12.2 ms some streams get the seven ids of a frame, each at the
pace of playing. All that follows is the server's: frames, the codec's queue, joining, encoding, HTTP.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.cli import main
from orpheus_openai.models.orpheus import model
from orpheus_openai.models.orpheus.codec import BATCH_FRAMES_CUDA, SnacDecoder
from orpheus_openai.models.orpheus.frames import (
    CODEBOOK_SIZE,
    END_OF_SPEECH,
    FIRST_AUDIO_TOKEN,
    SAMPLES_PER_FRAME,
    SECONDS_PER_FRAME,
    TOKENS_PER_FRAME,
)
from orpheus_openai.models.orpheus.snac_network import START_FRAMES, Step
from orpheus_openai.models.orpheus.snac_runner import StreamMemory
from orpheus_openai.models.orpheus.tokens_vllm import VLLMTokenSource
from orpheus_openai.synthesis import Sampling

FRAME = [FIRST_AUDIO_TOKEN + 11 * slot + CODEBOOK_SIZE * slot for slot in range(TOKENS_PER_FRAME)]
SOUND: PCM = (
    (3_000 * np.random.default_rng(0).standard_normal(16 * SAMPLES_PER_FRAME))
    .clip(-32_767, 32_767)
    .astype(np.int16)
)
LONGEST = 180.0
"""Seconds of one segment's speech, unless it is hung up on."""


class PacedSource(VLLMTokenSource):
    """Seven ids for each stream as often as it plays them, given out step by step."""

    def __init__(self) -> None:
        self.streams = 1_024
        self._steps: list[list[asyncio.Queue[list[int]]]] = [[] for _ in range(TOKENS_PER_FRAME)]
        self._ticking: asyncio.Task[None] | None = None
        self._step = 0

    engine = "nothing"
    dead = False
    can_sleep = False

    async def generate(
        self,
        prompt_ids: list[int],  # noqa: ARG002
        sampling: Sampling,  # noqa: ARG002
        adapter: str | None = None,  # noqa: ARG002
    ) -> AsyncGenerator[list[int]]:
        """Three frames at once, then one each time that its turn comes."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        mine: asyncio.Queue[list[int]] = asyncio.Queue()
        turn = min(self._steps, key=len)
        turn.append(mine)
        try:
            yield FRAME * START_FRAMES
            for _ in range(round(LONGEST / SECONDS_PER_FRAME)):
                yield await mine.get()
            yield [END_OF_SPEECH]
        finally:
            turn.remove(mine)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += SECONDS_PER_FRAME / TOKENS_PER_FRAME
            await asyncio.sleep(due - loop.time())
            self._step += 1
            for queue in self._steps[self._step % TOKENS_PER_FRAME]:
                queue.put_nowait(list(FRAME))

    async def close(self) -> None:
        """Nothing is held."""


class NoisyRunner:
    """Noise of the right length: silence would be encoded, and looked through for pauses, at another price."""

    noise_blocks = 4

    def run(
        self, step: Step, frames: Sequence[NDArray[np.int16]], streams: Sequence[StreamMemory]
    ) -> list[PCM]:
        """As many samples as frames have; it holds none back."""
        del frames
        return [SOUND[: SAMPLES_PER_FRAME * step.frames].copy() for _ in streams]

    def forget(self, stream: StreamMemory) -> None:
        """Nothing is kept."""

    def release(self) -> None:
        """Nothing is held."""


async def _source(*_: Any) -> PacedSource:
    return PacedSource()


def _decoder(*_: Any) -> SnacDecoder:
    return SnacDecoder(NoisyRunner(), "off", workers=1, batch_frames=BATCH_FRAMES_CUDA)


if __name__ == "__main__":
    setattr(model, "load_vllm", _source)  # noqa: B010
    setattr(SnacDecoder, "load", staticmethod(_decoder))  # noqa: B010
    main()
