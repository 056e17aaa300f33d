"""Finds when the words of one speech's segments sound: by who speaks, by what was heard, or else by their letters."""

import logging
from collections.abc import Awaitable
from functools import partial
from typing import NamedTuple

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.align import Stretch, placed
from orpheus_openai.errors import SpeechError
from orpheus_openai.models.preview.reading import Reading, ends, starts
from orpheus_openai.speech.readings import Readings
from orpheus_openai.speech.timed import HowTimed, TimedSegment, estimated_segment, timed_segment
from orpheus_openai.text.split import Segment
from orpheus_openai.text.words import words_of

LONGEST_SEGMENT = 120 * SAMPLE_RATE
"""Samples of one segment that are aligned at the most: no text of a segment takes so long, only a model that raves."""

logger = logging.getLogger(__name__)


class SegmentSound(NamedTuple):
    """What was heard of a segment."""

    pcm: PCM | None
    """As the model gave it, shape `(n,)`; None: it was not kept."""
    samples: int
    """How many there were."""
    offset: int
    """Where its first sample stands in the joined speech, or would if it was kept."""
    whole: bool
    """The segment has been said to its end."""


class Timer:
    """Times the words of one speech."""

    def __init__(
        self,
        readings: Readings,
        *,
        speed: float,
        is_preview: bool,
    ) -> None:
        """`is_preview`: who reads along is who speaks, and its reading the speech itself."""
        self.emotion_tags = readings.emotion_tags
        self.speed = speed
        self._readings = readings
        self._is_preview = is_preview

    def listens(self, segment: Segment) -> bool:
        """Whether the words are to be found in the segment's sound: who spoke it cannot tell of them."""
        return not (self._is_preview and segment.manner.rate == 1.0)

    async def read(self, segment: Segment) -> Reading | None:
        """What is held against the segment's sound; None where that cannot be had."""
        try:
            return await self._readings.read(segment)
        except SpeechError as error:
            logger.info("words are timed by their letters: %s", error)
            return None

    async def timed(
        self, text: str, segment: Segment, sound: SegmentSound, reading: Awaitable[Reading | None]
    ) -> TimedSegment:
        """The segment of `text` with its words, as well as it can be known."""
        read, pcm = await reading, sound.pcm
        words = words_of(segment.text, self.emotion_tags)
        if read is not None and not self.listens(segment):
            begins = starts(read, segment.text, words.words)
            stretches = [Stretch(*edge) for edge in zip(begins, ends(read, begins), strict=True)]
            how: HowTimed = "exact"
        elif read is not None and pcm is not None and len(pcm) <= LONGEST_SEGMENT:
            begins = starts(read, segment.text, words.words)
            if sound.whole:
                look = partial(placed, starts=begins, samples=len(pcm), reading=len(read.pcm))
                stretches = await self._readings.beside(segment, pcm, read, look)
            else:
                stretches = await self._readings.beginning(segment, pcm, read)
            how = "aligned"
        else:
            self._readings.done(segment)
            return self.estimated(text, segment, sound)
        self._readings.done(segment)
        return timed_segment(
            text,
            segment,
            words.words,
            stretches,
            how=how,
            samples=sound.samples,
            offset=sound.offset,
            speed=self.speed,
        )

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._readings.cancel()

    def estimated(self, text: str, segment: Segment, sound: SegmentSound) -> TimedSegment:
        """The same by the words' letters alone."""
        return estimated_segment(
            text,
            segment,
            self.emotion_tags,
            samples=sound.samples,
            offset=sound.offset,
            speed=self.speed,
            whole=sound.whole,
        )
