"""When each word of a speech sounds, and where it stands in the request's own text."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.align import Stretch, in_proportion, placed
from orpheus_openai.errors import SpeechError
from orpheus_openai.models.preview.reading import Reading, ends, starts
from orpheus_openai.speech.readings import Readings
from orpheus_openai.text.split import Segment
from orpheus_openai.text.words import Word, is_unspaced, letters, words_of

LONGEST_SEGMENT = 120 * SAMPLE_RATE
"""Samples of one segment that are aligned at the most: no text of a segment takes so long, only a model that raves."""
SEGMENTS_BEHIND = 4
"""Segments that may wait to be aligned before their speech waits for them."""
DIGITS = 5
"""Of seconds: a sample is 0.00004 s."""

logger = logging.getLogger(__name__)

HowTimed = Annotated[
    Literal["exact", "aligned", "estimated"],
    Meta(
        description="`exact`: told by the voice itself; `aligned`: found in the sound; `estimated`: in proportion to "
        "letters, where eSpeak NG is not installed.",
        examples=["aligned"],
    ),
]


class TimedWord(msgspec.Struct, frozen=True):
    """A word of the request's text."""

    word: Annotated[str, Meta(examples=["Hello"])]
    start: Annotated[float, Meta(description="Seconds from the start of the speech.", examples=[0.0])]
    end: Annotated[float, Meta(description="Seconds.", examples=[0.42])]
    span: Annotated[
        tuple[int, int],
        Meta(description="Where it stands in the request's text, in characters.", examples=[(0, 5)]),
    ]


class TimedSegment(msgspec.Struct, frozen=True):
    """A part of the text that was spoken in one go."""

    text: Annotated[str, Meta(description="The request's own.", examples=["Hello! <chuckle> How are you?"])]
    start: Annotated[float, Meta(examples=[0.0])]
    end: Annotated[float, Meta(examples=[1.9])]
    span: Annotated[tuple[int, int], Meta(examples=[(0, 29)])]
    timing: HowTimed
    words: tuple[TimedWord, ...]


class WordTimes:
    """The words of one speech, found segment by segment while it goes on. For one event loop."""

    def __init__(
        self,
        readings: Readings,
        text: str,
        *,
        speed: float,
        is_preview: bool,
    ) -> None:
        """`is_preview`: who reads along is who speaks, and its reading the speech itself."""
        self._readings = readings
        self.text = text
        """The request's."""
        self.emotion_tags = readings.emotion_tags
        self._speed = speed
        self._is_preview = is_preview
        self._segment: Segment | None = None
        self._reading: asyncio.Task[Reading | None] | None = None
        self._pcm: list[PCM] = []
        self._found: deque[asyncio.Task[TimedSegment]] = deque()
        self.taken: list[TimedSegment] = []
        """Those that `ready` and `rest` have given."""

    def begin(self, segment: Segment) -> None:
        """A segment begins to sound; the one before has ended."""
        self._segment = segment
        self._reading = asyncio.create_task(self._read(segment))
        self._pcm = []

    def hear(self, pcm: PCM) -> None:
        """More of its sound, as the model gave it."""
        self._pcm.append(pcm)

    async def end(self, offset: int) -> None:
        """It has ended; its first sample is number `offset` of the joined speech, or would be if it was kept."""
        if (segment := self._segment) is None or self._reading is None:
            return
        pcm = np.concatenate([np.zeros(0, np.int16), *self._pcm])
        self._found.append(asyncio.create_task(self._time(segment, self._reading, pcm, offset)))
        self._segment, self._reading, self._pcm = None, None, []
        if len(self._found) > SEGMENTS_BEHIND:
            await asyncio.wait([self._found[-1 - SEGMENTS_BEHIND]])

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
        self._readings.cancel()
        for task in (self._reading, *self._found):
            if task is not None:
                task.cancel()

    async def _read(self, segment: Segment) -> Reading | None:
        try:
            return await self._readings.read(segment)
        except SpeechError as error:
            logger.info("words are timed by their letters: %s", error)
            return None

    async def _time(
        self, segment: Segment, reading: "asyncio.Task[Reading | None]", pcm: PCM, offset: int
    ) -> TimedSegment:
        read = await reading
        words = words_of(segment.text, self.emotion_tags)
        how: HowTimed
        if read is None or len(pcm) > LONGEST_SEGMENT:
            how, stretches = "estimated", _estimated(pcm, segment.text, words.words)
        elif self._is_preview and segment.manner.rate == 1.0:
            begins = starts(read, segment.text, words.words)
            how, stretches = (
                "exact",
                [Stretch(*edge) for edge in zip(begins, ends(read, begins), strict=True)],
            )
        else:
            begins = starts(read, segment.text, words.words)
            look = partial(placed, starts=begins, samples=len(pcm), reading=len(read.pcm))
            how, stretches = "aligned", await self._readings.beside(segment, pcm, read, look)
        self._readings.done(segment)
        return timed_segment(
            self.text,
            segment,
            words.words,
            stretches,
            how=how,
            samples=len(pcm),
            offset=offset,
            speed=self._speed,
        )


def timed_segment(
    text: str,
    segment: Segment,
    words: Sequence[Word],
    stretches: Sequence[Stretch],
    *,
    how: HowTimed,
    samples: int = 0,
    offset: int = 0,
    speed: float = 1.0,
) -> TimedSegment:
    """A segment of `text` whose words sound in `stretches`, counted from `offset` and brought to `speed`.

    One without a word, such as a laugh, lasts `samples`.
    """

    def seconds(sample: int) -> float:
        return round(max(sample + offset, 0) / speed / SAMPLE_RATE, DIGITS)

    timed = tuple(
        TimedWord(text[span[0] : span[1]], seconds(start), seconds(end), span)
        for span, start, end in _in_source(text, segment, words, stretches)
    )
    return TimedSegment(
        text=text[segment.start : segment.end],
        start=timed[0].start if timed else seconds(0),
        end=timed[-1].end if timed else seconds(samples),
        span=(segment.start, segment.end),
        timing=how,
        words=timed,
    )


def _estimated(pcm: PCM, text: str, words: Sequence[Word]) -> list[Stretch]:
    return in_proportion(len(pcm), [letters(text, word) for word in words])


def _in_source(
    text: str, segment: Segment, words: Sequence[Word], stretches: Sequence[Stretch]
) -> list[tuple[tuple[int, int], int, int]]:
    """The words as they stand in the request's text, each with its stretch.

    Several words that are spoken for one that was written, such as "12", are that one.
    """
    found: list[tuple[tuple[int, int], int, int]] = []
    for word, stretch in zip(words, stretches, strict=True):
        span = segment.trace.span(word.start, word.end)
        if span[0] == span[1]:
            continue
        if found and _one_word(text, found[-1][0], span):
            (start, end), begin, _ = found.pop()
            found.append(((start, max(end, span[1])), begin, stretch.end))
        else:
            found.append((span, stretch.start, stretch.end))
    return found


def _one_word(text: str, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether both stand for parts of one written word, such as "5" and "km" in "5km"."""
    if after[0] < before[1]:
        return True
    return after[0] == before[1] and not (is_unspaced(text[after[0] - 1]) or is_unspaced(text[after[0]]))
