"""The segments of one request, spoken side by side and heard in order."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import Voice
from orpheus_openai.speech.script import Script
from orpheus_openai.synthesis import Sampling, SpeechModel, Usage
from orpheus_openai.text.split import Segment

SEGMENTS_AT_ONCE = 4
"""Segments of one request that are spoken at the same time: the one that sounds, and those after it."""

CHUNKS_AHEAD = 64
"""PCM chunks that a segment may be ahead of its listener; with the codec's chunks a few seconds."""


async def spoken(
    speaker: SpeechModel, script: Script, voice: Voice, sampling: Sampling, usage: Usage
) -> AsyncGenerator[PCM | Segment]:
    """The PCM of all segments in order; each segment itself comes before its first sample.

    The later segments are made and start when the first one sounds, so that they never delay it.
    """
    ahead = msgspec.structs.replace(sampling, ahead=True)
    running: deque[_Producer] = deque()
    try:
        while True:
            if not running:
                if (segment := await script.next()) is None:
                    return
                running.append(_Producer(speaker, segment, voice, sampling, usage))
            yield running[0].segment
            async for pcm in running[0].chunks():
                yield pcm
                while len(running) < SEGMENTS_AT_ONCE and (segment := await script.next()) is not None:
                    running.append(_Producer(speaker, segment, voice, ahead, usage))
            running.popleft()
    finally:
        for producer in running:
            producer.cancel()  # all of them before the first wait: a scope that is cancelled cuts every wait short
        for producer in running:
            await producer.ended()


class _Producer:
    """One segment being spoken, a bounded number of chunks ahead of its listener."""

    def __init__(
        self, speaker: SpeechModel, segment: Segment, voice: Voice, sampling: Sampling, usage: Usage
    ) -> None:
        self.segment = segment
        self._queue: asyncio.Queue[PCM | None] = asyncio.Queue(CHUNKS_AHEAD)
        self._task = asyncio.create_task(self._run(speaker, voice, sampling, usage))

    async def _run(self, speaker: SpeechModel, voice: Voice, sampling: Sampling, usage: Usage) -> None:
        try:
            async with contextlib.aclosing(
                speaker.synthesize(self.segment.prompt, voice, sampling, usage)
            ) as spoken:
                async for pcm in spoken:
                    await self._queue.put(pcm)
        finally:
            # A full queue has a reader that will see the task's end after emptying it.
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait(None)

    async def chunks(self) -> AsyncGenerator[PCM]:
        while (pcm := await self._next()) is not None:
            yield pcm
        await self._task

    async def _next(self) -> PCM | None:
        if self._task.done() and self._queue.empty():
            return None
        return await self._queue.get()

    def cancel(self) -> None:
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until its work is over, however that ended."""
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()
