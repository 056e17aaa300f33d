"""When the words of a speech sound, found segment by segment while it goes on, for whoever asked for that."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from orpheus_openai.audio import PCM
from orpheus_openai.speech.timed import TimedSegment
from orpheus_openai.speech.timer import SegmentSound, Timer
from orpheus_openai.text.split import Segment

if TYPE_CHECKING:
    from orpheus_openai.models.preview.reading import Reading

SEGMENTS_BEHIND = 4
"""Segments that may wait to be aligned before their speech waits for them."""


class WordTimes:
    """The words of one speech. For one event loop."""

    def __init__(self, timer: Timer, text: str) -> None:
        self._timer = timer
        self.text = text
        """The request's."""
        self.emotion_tags = timer.emotion_tags
        self._segment: Segment | None = None
        self._reading: asyncio.Task[Reading | None] | None = None
        self._pcm: list[PCM] = []
        self._found: deque[asyncio.Task[TimedSegment]] = deque()
        self._changed = asyncio.Event()
        self.taken: list[TimedSegment] = []
        """Those that `ready` and `rest` have given."""

    def begin(self, segment: Segment) -> None:
        """A segment begins to sound; the one before has ended."""
        self._segment = segment
        self._reading = asyncio.create_task(self._timer.read(segment))
        self._pcm = []

    def hear(self, pcm: PCM) -> None:
        """More of its sound, as the model gave it."""
        self._pcm.append(pcm)

    async def end(self, offset: int) -> None:
        """It has ended; its first sample is number `offset` of the joined speech, or would be if it was kept."""
        if (segment := self._segment) is None or self._reading is None:
            return
        pcm = np.concatenate([np.zeros(0, np.int16), *self._pcm])
        sound = SegmentSound(pcm, len(pcm), offset, whole=True)
        task = asyncio.create_task(self._timer.timed(self.text, segment, sound, self._reading))
        task.add_done_callback(lambda _task: self._changed.set())
        self._found.append(task)
        self._segment, self._reading, self._pcm = None, None, []
        if len(self._found) > SEGMENTS_BEHIND:
            await asyncio.wait([self._found[-1 - SEGMENTS_BEHIND]])

    async def wait(self) -> None:
        """Wait until `ready` has something to give."""
        while not (self._found and self._found[0].done()):
            self._changed.clear()
            await self._changed.wait()

    def ready(self) -> list[TimedSegment]:
        """The segments that have been timed since the last call, in order."""
        ready = []
        while self._found and self._found[0].done():
            ready.append(self._found.popleft().result())
        self.taken += ready
        return ready

    def known(self) -> list[TimedSegment]:
        """All that have been timed so far, taken or not."""
        found = [t.result() for t in self._found if t.done() and not t.cancelled() and t.exception() is None]
        return [*self.taken, *found]

    async def rest(self) -> list[TimedSegment]:
        """Those that were not given yet, once the speech has ended."""
        if self._found:
            await asyncio.wait(self._found)
        return self.ready()

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._timer.cancel()
        for task in (self._reading, *self._found):
            if task is not None:
                task.cancel()
        self._found = deque(task for task in self._found if task.done())
