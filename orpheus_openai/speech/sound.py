"""The sound of a speech: its segments, spoken, joined, at its tempo, from when it will not run dry."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.join import PARAGRAPH_PAUSE, SENTENCE_PAUSE, SHORTEST_PAUSE, Joiner
from orpheus_openai.audio.tempo import make_tempo
from orpheus_openai.speech.buffer import estimated_seconds, held_back, reserve
from orpheus_openai.speech.casting import Casting
from orpheus_openai.speech.heard import Heard
from orpheus_openai.speech.report import audio_seconds
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.script import AnyScript
from orpheus_openai.speech.segments import spoken
from orpheus_openai.speech.verification import Verification
from orpheus_openai.speech.words import WordTimes
from orpheus_openai.synthesis import Measured, Sampling, SpeechModel, Usage
from orpheus_openai.text.split import Segment


class Sound:
    """Of one speech, which a model makes."""

    def __init__(
        self,
        request: SpeechRequest,
        script: AnyScript,
        casting: Casting,
        sampling: Sampling,
        *,
        usage: Usage,
        heard: Heard,
        word_times: WordTimes | None,
        verification: Verification | None,
        buffer: str,
        tell: Callable[..., None],
    ) -> None:
        """`usage`, `heard`, `word_times` and `verification` learn what is spoken, `tell` of each segment that begins.

        `buffer` is what is held back before the first sound (see `buffer.reserve`).
        """
        self.expected_real_time_factor: float | None = None
        """Seconds of work for a second of it, as its model was measured; None: it was not, or it is not ready."""
        self._speed = request.speed
        self._whole = request.whole
        self._script = script
        self._casting = casting
        self._sampling = sampling
        self._usage = usage
        self._heard = heard
        self._word_times = word_times
        self._verification = verification
        self._buffer = buffer
        self._tell = tell
        self._made = 0
        """Samples there are so far, those that are held back included."""
        self._joined_samples = 0
        """Of the speech as it was spoken, before its tempo was changed."""
        self._quiet_from = 0
        """From which sample of the stream on nothing is heard of the segment that ended last."""
        self._begun = 0.0
        """Seconds that the segments which were begun will about sound."""

    async def of(self, speaker: SpeechModel) -> AsyncGenerator[PCM]:
        """What `speaker` makes of it, as PCM at 24 kHz; raises as `SpeechModel.synthesize` does."""
        if isinstance(speaker, Measured) and (factor := speaker.real_time_factor) is not None:
            self.expected_real_time_factor = round(factor * self._speed, 4)
        wanted = reserve(
            self._buffer,
            text=self._script.input,
            speed=self._speed,
            real_time_factor=self.expected_real_time_factor,
        )
        sounds = held_back(self._at_tempo(speaker), wanted, lambda: self._begun)
        async with contextlib.aclosing(sounds):
            async for pcm in sounds:
                yield pcm

    async def _at_tempo(self, speaker: SpeechModel) -> AsyncGenerator[PCM]:
        tempo = make_tempo(self._speed)
        async with contextlib.aclosing(self._joined(speaker)) as joined:
            async for pcm in joined:
                self._joined_samples += len(pcm)
                # Where nothing is calculated, a hop to a thread would cost more than all the rest.
                paced = await asyncio.to_thread(tempo.process, pcm) if tempo.calculates else pcm
                if len(paced):
                    self._made += len(paced)
                    yield paced
            rest = await asyncio.to_thread(tempo.flush)
            if len(rest):
                self._made += len(rest)
                yield rest

    async def _joined(self, speaker: SpeechModel) -> AsyncGenerator[PCM]:
        joiner = Joiner()
        async with contextlib.aclosing(
            spoken(
                speaker,
                self._script,
                self._casting.voice,
                self._sampling,
                self._usage,
                verification=self._verification,
                speed=self._speed,
                whole=self._whole,
            )
        ) as items:
            async for item in items:
                if isinstance(item, Segment):
                    ready = self._begin(joiner, item)
                else:
                    ready = joiner.end_segment() if item is None else self._hear(joiner, item)
                if len(ready):
                    yield ready
                if item is None:
                    self._end(joiner)
                    if self._word_times is not None:
                        await self._word_times.end(joiner.offset)
        yield joiner.finish()
        if self._verification is not None:
            await self._verification.rest()

    def _begin(self, joiner: Joiner, segment: Segment) -> PCM:
        """A segment, or a silence, follows; returns what that makes ready."""
        if not segment.text:
            silence = np.zeros(round((segment.silence or 0.0) * SAMPLE_RATE), np.int16)
            return np.concatenate([joiner.finish(), silence])
        if self._word_times is not None:
            self._word_times.text = self._script.input  # it may have grown
            self._word_times.begin(segment)
        self._heard.marks.append((max(self._made, self._quiet_from), segment))
        self._begun += estimated_seconds(segment.text) / self._speed
        self._tell(
            "segment",
            text=segment.text,
            voice=self._casting.voice(segment.manner).id,
            start=segment.start,
            end=segment.end,
            audio_seconds=audio_seconds(self._made),
        )
        pause = PARAGRAPH_PAUSE if segment.paragraph else SENTENCE_PAUSE
        ready = joiner.start_segment(pause, silence=segment.silence)
        self._heard.begin(segment, joiner.offset)
        return ready

    def _end(self, joiner: Joiner) -> None:
        """The segment was said to its end.

        What changes the tempo holds the last samples back, and moves a sound by some milliseconds. So its end is taken
        to be in the middle of the shortest pause that can follow: past all that is heard of it, and before the next.
        """
        audible = self._joined_samples - joiner.silence
        middle = (audible + SHORTEST_PAUSE * SAMPLE_RATE / 2) / self._speed
        self._quiet_from = self._made if self._speed == 1.0 else round(middle)
        self._heard.end(self._quiet_from)

    def _hear(self, joiner: Joiner, pcm: PCM) -> PCM:
        """More of the segment; returns what is ready."""
        if self._word_times is not None:
            self._word_times.hear(pcm)
        ready = joiner.push(pcm)
        self._heard.hear(pcm, joiner.offset)
        return ready
