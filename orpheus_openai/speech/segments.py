"""The segments of one request, spoken side by side and heard in order."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from functools import partial

import msgspec

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.catalog import Voice
from orpheus_openai.speech.producer import Producer
from orpheus_openai.speech.script import AnyScript
from orpheus_openai.speech.trial import Trial
from orpheus_openai.speech.verification import Verification
from orpheus_openai.synthesis import OneByOne, Sampling, SpeechModel, Usage, Watched
from orpheus_openai.text.sentences import sentence_parts
from orpheus_openai.text.split import Segment
from orpheus_openai.text.turns import Manner

SEGMENTS_AT_ONCE = 4
"""Segments of one request that are under way or in hand at the same time: the one that sounds, and those after it."""

IN_HAND = 5 * SAMPLE_RATE
"""Samples in hand with which a request whose segments are spoken one by one needs no other one yet."""

LITTLE_IN_HAND = 3 * SAMPLE_RATE // 2
"""With fewer than this, the next segment is started however busy the model is."""

RESERVE = 1.0
"""Seconds in the listener's hand with which they wait no longer for a segment to be whole."""


async def spoken(
    speaker: SpeechModel,
    script: AnyScript,
    voice_of: Callable[[Manner], Voice],
    sampling: Sampling,
    usage: Usage,
    *,
    verification: Verification | None = None,
    speed: float = 1.0,
    whole: bool = False,
) -> AsyncGenerator[PCM | Segment | None]:
    """The PCM of all segments in order, each in the voice of its manner; a segment comes before its first sample.

    None comes after the last one of a segment that is spoken: what follows may have to be written first.

    The later segments are made and start when the first one sounds, so that they never delay it. With `verification`,
    and a model that can be watched, each but the first is held until it is whole and good, as long as somebody who
    plays at `speed` has enough in hand. `whole`: nobody plays it, so that no segment waits for the first, and each is
    held as long as it takes.
    """
    ahead = _Ahead(speaker, voice_of, sampling, usage, verification=verification, speed=speed, whole=whole)
    try:
        while True:
            if not ahead.producers:
                if (segment := await script.next()) is None:
                    return
                ahead.start(segment)
            while whole and ahead.wants_more() and (segment := await script.ready()) is not None:
                ahead.start(segment)
            first = ahead.producers[0]
            yield first.segment
            async for pcm in first.chunks(ahead.patience):
                ahead.give(len(pcm))
                yield pcm
                while ahead.wants_more() and (segment := await script.ready()) is not None:
                    ahead.start(segment)
            ahead.producers.popleft()
            if first.segment.text:
                yield None
    finally:
        await ahead.stop()


class _Ahead:
    """The segments of a request that are being spoken or in hand, in their order."""

    def __init__(
        self,
        speaker: SpeechModel,
        voice_of: Callable[[Manner], Voice],
        sampling: Sampling,
        usage: Usage,
        *,
        verification: Verification | None,
        speed: float,
        whole: bool,
    ) -> None:
        self.producers: deque[Producer] = deque()
        self._speaker = speaker
        self._verification = verification if isinstance(speaker, Watched) else None
        self._speed = speed
        self._whole = whole
        self._voice_of = voice_of
        self._sampling = sampling
        self._usage = usage
        self._one_by_one = speaker if isinstance(speaker, OneByOne) and speaker.one_by_one else None
        self._given = 0
        self._taken = asyncio.Event()
        self._sounds_since: float | None = None
        self._plays_until = 0.0
        """When somebody has heard all that was given, who plays it as it comes."""

    def start(self, segment: Segment) -> None:
        """Speak `segment`, the next one."""
        sampling = msgspec.structs.replace(self._sampling, spelt=segment.spelt, ahead=not self._is_awaited())
        examination = self._verification.examine(segment) if self._verification is not None else None
        speak = partial(self._speak, segment.prompt, self._voice_of(segment.manner))
        self.producers.append(Producer(segment, speak, sampling, examination))

    def _speak(self, prompt: str, voice: Voice, sampling: Sampling, trial: Trial) -> AsyncGenerator[PCM]:
        if self._verification is not None and isinstance(self._speaker, Watched):
            return self._speaker.watched(prompt, voice, sampling, self._usage, trial)
        if self._one_by_one is None:
            return self._speaker.synthesize(prompt, voice, sampling, self._usage)
        return self._in_parts(prompt, voice, sampling)

    async def _in_parts(self, prompt: str, voice: Voice, sampling: Sampling) -> AsyncGenerator[PCM]:
        """Speak no more sentences than the listener needs; while they have enough in hand, nothing is under way."""
        for start, end in sentence_parts(prompt, voice.language):
            if start:
                await self._until_needed()
                sampling = msgspec.structs.replace(sampling, ahead=not self._is_awaited())
            spoken = self._speaker.synthesize(prompt[start:end].strip(), voice, sampling, self._usage)
            async with contextlib.aclosing(spoken):
                async for pcm in spoken:
                    yield pcm

    def patience(self) -> float | None:
        """Seconds that the listener can wait, if they play from the first sample on; None: there is none."""
        if self._whole:
            return None
        return self._plays_until - time.monotonic() - RESERVE if self._sounds_since is not None else 0.0

    def give(self, samples: int) -> None:
        """The listener gets so many."""
        now = time.monotonic()
        if self._sounds_since is None:
            self._sounds_since = now
        self._plays_until = max(self._plays_until, now) + samples / SAMPLE_RATE / self._speed
        self._given += samples
        self._taken.set()

    def wants_more(self) -> bool:
        """Whether another segment shall be started before the listener comes to it."""
        if len(self.producers) >= SEGMENTS_AT_ONCE:
            return False
        if self._one_by_one is None:
            return True
        if any(producer.speaking for producer in self.producers):
            return False
        return self._in_hand < self._enough()

    async def stop(self) -> None:
        """Stop all work, and wait until it has ended."""
        for producer in self.producers:
            producer.cancel()  # all of them before the first wait: a scope that is cancelled cuts every wait short
        for producer in self.producers:
            await producer.ended()

    async def _until_needed(self) -> None:
        while self._in_hand >= self._enough():
            self._taken.clear()
            await self._taken.wait()

    def _enough(self) -> int:
        """Samples in hand with which nothing more of what is spoken one by one is needed yet."""
        return LITTLE_IN_HAND if self._one_by_one is not None and self._one_by_one.busy else IN_HAND

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
