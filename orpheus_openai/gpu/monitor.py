"""The GPUs as the event loop sees them: sampled in a thread, one at a time, with an end to the waiting."""

import asyncio

from orpheus_openai.gpu.device import GPUSample, sample_gpus

ANSWER_SECONDS = 3.0
"""A driver that takes longer hangs; asking again would only hang another thread."""


class GPUMonitor:
    """Everyone who asks at the same time shares one sample."""

    def __init__(self) -> None:
        self._sampling: asyncio.Future[GPUSample] | None = None

    async def sample(self) -> GPUSample:
        """Return the GPUs now, or in words why they are not known."""
        if self._sampling is None or self._sampling.done():
            self._sampling = asyncio.ensure_future(asyncio.to_thread(sample_gpus))
        sampling = self._sampling  # by the time it is done, somebody else may have asked anew
        done, _ = await asyncio.wait([sampling], timeout=ANSWER_SECONDS)
        if not done:
            return GPUSample(error=f"The NVIDIA driver has not answered for {ANSWER_SECONDS:.0f} s.")
        return sampling.result()
