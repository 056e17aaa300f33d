"""The segments of one request, spoken side by side and heard in order."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable

import msgspec

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.tempo import make_tempo
from orpheus_openai.catalog import Voice
from orpheus_openai.speech.script import AnyScript
from orpheus_openai.synthesis import OneByOne, Sampling, SpeechModel, Usage
from orpheus_openai.text.split import Segment
from orpheus_openai.text.turns import Manner

SEGMENTS_AT_ONCE = 4
"""Segments of one request that are under way or in hand at the same time: the one that sounds, and those after it."""

IN_HAND = 5 * SAMPLE_RATE
"""Samples in hand with which a request whose segments are spoken one by one needs no other one yet."""

LITTLE_IN_HAND = 3 * SAMPLE_RATE // 2
"""With fewer than this, the next segment is started however busy the model is."""

SEGMENT_AHEAD = 30 * SAMPLE_RATE
"""Samples that one segment may be ahead of its listener: longer than nearly all segments, so that whoever speaks faster
than they are heard is soon done with one. Its last chunk may go over it."""


async def spoken(
    speaker: SpeechModel,
    script: AnyScript,
    voice_of: Callable[[Manner], Voice],
    sampling: Sampling,
    usage: Usage,
) -> AsyncGenerator[PCM | Segment]:
    """The PCM of all segments in order, each in the voice of its manner; a segment comes before its first sample.

    The later segments are made and start when the first one sounds, so that they never delay it.
    """
    line = _Line(speaker, voice_of, sampling, usage)
    try:
        while True:
            if not line.producers:
                if (segment := await script.next()) is None:
                    return
                line.start(segment)
            first = line.producers[0]
            yield first.segment
            async for pcm in first.chunks():
                line.give(len(pcm))
                yield pcm
                while line.wants_more() and (segment := await script.ready()) is not None:
                    line.start(segment)
            line.producers.popleft()
    finally:
        await line.stop()


class _Line:
    """The segments of a request that are being spoken or in hand, in their order."""

    def __init__(
        self,
        speaker: SpeechModel,
        voice_of: Callable[[Manner], Voice],
        sampling: Sampling,
        usage: Usage,
    ) -> None:
        self.producers: deque[_Producer] = deque()
        self._speaker = speaker
        self._voice_of = voice_of
        self._sampling = sampling
        self._usage = usage
        self._one_by_one = speaker if isinstance(speaker, OneByOne) and speaker.one_by_one else None
        self._given = 0
        self._sounds_since: float | None = None

    def start(self, segment: Segment) -> None:
        """Speak `segment`, the next one."""
        sampling = msgspec.structs.replace(self._sampling, ahead=not self._is_awaited())
        voice = self._voice_of(segment.manner)
        self.producers.append(_Producer(self._speaker, segment, voice, sampling, self._usage))

    def give(self, samples: int) -> None:
        """The listener gets so many."""
        if self._sounds_since is None:
            self._sounds_since = time.monotonic()
        self._given += samples

    def wants_more(self) -> bool:
        """Whether another segment shall be started before the listener comes to it."""
        if len(self.producers) >= SEGMENTS_AT_ONCE:
            return False
        if self._one_by_one is None:
            return True
        if any(producer.speaking for producer in self.producers):
            return False
        return self._in_hand < (LITTLE_IN_HAND if self._one_by_one.busy else IN_HAND)

    async def stop(self) -> None:
        """Stop all work, and wait until it has ended."""
        for producer in self.producers:
            producer.cancel()  # all of them before the first wait: a scope that is cancelled cuts every wait short
        for producer in self.producers:
            await producer.ended()

    @property
    def _in_hand(self) -> int:
        return sum(producer.ahead for producer in self.producers)

    def _is_awaited(self) -> bool:
        """Whether the next segment is to be heard soon, by somebody who plays from the first sample on."""
        if self._sounds_since is None:
            return True
        if self._one_by_one is None:  # then it has as long as those before it take
            return False
        played = (time.monotonic() - self._sounds_since) * SAMPLE_RATE
        return self._given + self._in_hand - played < IN_HAND


class _Producer:
    """One segment being spoken, a bounded number of samples ahead of its listener."""

    def __init__(
        self, speaker: SpeechModel, segment: Segment, voice: Voice, sampling: Sampling, usage: Usage
    ) -> None:
        self.segment = segment
        self.ahead = 0
        """Samples that are ready and were not taken yet."""
        self._ready: deque[PCM] = deque()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run(speaker, voice, sampling, usage))
        self._task.add_done_callback(lambda _task: self._changed.set())

    @property
    def speaking(self) -> bool:
        return not self._task.done()

    async def _run(self, speaker: SpeechModel, voice: Voice, sampling: Sampling, usage: Usage) -> None:
        if not self.segment.prompt:
            return  # a silence
        sounds = speaker.synthesize(self.segment.prompt, voice, sampling, usage)
        async with contextlib.aclosing(_at_rate(sounds, self.segment.manner.rate)) as spoken:
            async for pcm in spoken:
                self._ready.append(pcm)
                self.ahead += len(pcm)
                self._changed.set()
                while self.ahead >= SEGMENT_AHEAD:
                    await self._change()

    async def chunks(self) -> AsyncGenerator[PCM]:
        while self._ready or self.speaking:
            if self._ready:
                pcm = self._ready.popleft()
                self.ahead -= len(pcm)
                self._changed.set()
                yield pcm
            else:
                await self._change()
        await self._task

    async def _change(self) -> None:
        """Wait until something is put in or taken out, or the work is over; one side waits at a time."""
        self._changed.clear()
        await self._changed.wait()

    def cancel(self) -> None:
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until its work is over, however that ended."""
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()


async def _at_rate(sounds: AsyncGenerator[PCM], rate: float) -> AsyncGenerator[PCM]:
    """What is said faster or slower than the rest."""
    async with contextlib.aclosing(sounds):
        if rate == 1.0:
            async for pcm in sounds:
                yield pcm
            return
        tempo = make_tempo(rate)
        async for pcm in sounds:
            if len(paced := await asyncio.to_thread(tempo.process, pcm)):
                yield paced
        if len(rest := await asyncio.to_thread(tempo.flush)):
            yield rest
