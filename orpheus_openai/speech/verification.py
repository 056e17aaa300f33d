"""Whether the segments of a speech were spoken as they should be, and what is done where one was not."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.heard import doubts_of
from orpheus_openai.audio.verify import longest_seconds, shortest_seconds
from orpheus_openai.errors import ModelUnavailableError, SpeechError
from orpheus_openai.models.preview.reading import Reading
from orpheus_openai.speech.readings import Readings
from orpheus_openai.speech.timer import LONGEST_SEGMENT
from orpheus_openai.speech.trial import Trial
from orpheus_openai.synthesis import Sampling
from orpheus_openai.text.split import Segment
from orpheus_openai.text.words import words_of

MOST_TRIES = 3
"""Times that a segment is spoken at the most."""
READING_SECONDS = 1.0
"""What a reading may take, which as a rule is there long before the speech."""
SEEDS = 1 << 31
MOST_WAITING = 16
"""Segments of the whole server whose words wait to be looked at; one more is not, and is `unchecked`."""

Verify = Literal["off", "report", "retry"]

logger = logging.getLogger(__name__)


class SegmentVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one segment."""

    verdict: Annotated[
        str,
        Meta(
            description="`ok`; `retried`: it was spoken again before it was heard, and then was good; `cut`: it ran "
            "away and was ended; `suspect:` and why: `length` (too short), `no_end`, `silence`, `lost_frames`, "
            "`words` (some are missing, or were said twice); `unchecked`: nothing is wrong but for its words, for "
            "which nobody could look.",
            examples=["ok"],
        ),
    ]
    start: Annotated[
        int, Meta(description="Where it begins in the request's text, in characters.", examples=[0])
    ]
    end: Annotated[int, Meta(description="Where it ends there.", examples=[29])]
    tries: Annotated[int, Meta(description="How often it was spoken, 1 to 3.", examples=[1])]


class Ears:
    """Finds out for all speeches whether the words of their texts were said; one event loop's."""

    def __init__(self) -> None:
        self._waiting = 0

    async def doubt(self, segment: Segment, pcm: PCM, reading: Reading, readings: Readings) -> bool | None:
        """Whether words of `segment` are missing in `pcm`, or were said twice; None where there is no time to look."""
        if self._waiting >= MOST_WAITING:
            return None
        count = len(words_of(segment.text, readings.emotion_tags).words)
        self._waiting += 1
        try:
            found = await readings.beside(segment, pcm, reading, partial(doubts_of, words=count))
        finally:
            self._waiting -= 1
        return found.serious


class Verification:
    """Looks at the segments of one speech, which is one event loop's."""

    def __init__(
        self,
        readings: Readings,
        *,
        retry: bool,
        ears: Ears | None = None,
        retry_words: bool = False,
    ) -> None:
        """`retry`: what failed unheard is spoken again.

        `ears` find words that are missing or said twice, None: nobody looks; `retry_words`: that is a failure, too.
        """
        self._ears = ears
        self._retry_words = retry and retry_words
        self._readings = readings
        self._retry = retry
        self._examinations: list[Examination] = []
        self.tell: Callable[[SegmentVerdict], None] = lambda _verdict: None
        """Told of each verdict as soon as there is one."""

    def examine(self, segment: Segment) -> "Examination":
        """What looks at `segment`, the next one."""
        examination = Examination(
            segment,
            self._readings,
            retry=self._retry,
            ears=self._ears,
            retry_words=self._retry_words,
            tell=self.tell,
        )
        self._examinations.append(examination)
        return examination

    @property
    def verdicts(self) -> list[SegmentVerdict] | None:
        """Of the segments that were heard, in their order, as far as they are known; None: nothing is looked at."""
        if not self._examinations:
            return None
        return [each.verdict for each in self._examinations if each.heard and each.verdict]

    async def rest(self) -> None:
        """Wait until all is known of a speech that has ended."""
        if pending := [each.task for each in self._examinations if each.task]:
            await asyncio.wait(pending)

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._readings.cancel()
        for examination in self._examinations:
            examination.cancel()


class Examination:
    """Looks at one segment, however often it is spoken."""

    def __init__(
        self,
        segment: Segment,
        readings: Readings,
        *,
        retry: bool,
        ears: Ears | None,
        retry_words: bool,
        tell: Callable[[SegmentVerdict], None],
    ) -> None:
        self.heard = False
        """The listener has come to it."""
        self.verdict: SegmentVerdict | None = None
        self.task: asyncio.Task[None] | None = None
        """Finds the verdict, once the segment has been spoken."""
        self._segment = segment
        self._tags = len(words_of(segment.text, readings.emotion_tags).tags)
        self._readings = readings
        self._retry = retry
        self._ears = ears
        self._retry_words = retry_words
        self._tell = tell
        self._reading: asyncio.Task[Reading | None] | None = None
        self._longest = longest_seconds(segment.text, tags=self._tags)

    def trial(self) -> Trial:
        """A new try at the segment."""
        return Trial(lambda: self._longest, kept=self._ears is not None)

    def hear(self) -> None:
        """The segment has begun to sound: only now, as nothing shall be between a request and its first sound."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._measure())

    async def judge(self, trial: Trial, *, heard: Callable[[], bool]) -> None:
        """Note what is wrong with a trial that is over; while it is not heard there is a moment for it."""
        trial.finish()
        if self._reading is not None and not heard():
            await asyncio.wait([self._reading], timeout=READING_SECONDS)
        self._require_length(trial)
        if self._retry_words and not heard():
            await self._require_words(trial)

    def again(self, tries: int) -> bool:
        """Whether the segment shall be spoken once more after so many times, if it is not heard yet."""
        return self._retry and tries < MOST_TRIES

    def settle(self, trial: Trial, tries: int) -> None:
        """`trial`, the last of so many, is the one that is heard."""
        self.task = asyncio.create_task(self._settle(trial, tries))

    def cancel(self) -> None:
        """Stop all work."""
        for task in (self._reading, self.task):
            if task is not None:
                task.cancel()

    async def _settle(self, trial: Trial, tries: int) -> None:
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=READING_SECONDS)
        self._require_length(trial)
        await self._require_words(trial)
        self._readings.done(self._segment)
        if trial.cut:
            verdict = "cut"
        elif trial.fault is not None:
            verdict = f"suspect:{trial.fault}"
        elif self._ears is not None and not trial.words_known:
            verdict = "unchecked"
        else:
            verdict = "ok" if tries == 1 else "retried"
        segment = self._segment
        self.verdict = SegmentVerdict(verdict=verdict, start=segment.start, end=segment.end, tries=tries)
        self._tell(self.verdict)

    def _require_length(self, trial: Trial) -> None:
        if trial.fault is None and (reading := self._read_aloud()) is not None:
            trial.require(shortest_seconds(len(reading.pcm) / SAMPLE_RATE))

    async def _require_words(self, trial: Trial) -> None:
        pcm = trial.let_go()
        reading = self._read_aloud()
        if self._ears is None or trial.fault is not None or trial.words_known or reading is None:
            return
        if not pcm.size or len(pcm) > LONGEST_SEGMENT:
            return
        doubted = await self._ears.doubt(self._segment, pcm, reading, self._readings)
        trial.words_known = doubted is not None
        if doubted:
            trial.fault = "words"

    def _read_aloud(self) -> Reading | None:
        reading = self._reading
        if reading is None or not reading.done() or reading.cancelled() or reading.exception():
            return None
        return reading.result()

    async def _measure(self) -> Reading | None:
        try:
            reading = await self._readings.read(self._segment)
        except ModelUnavailableError as error:
            logger.info("speech is judged by the letters of its text, and its words by nobody: %s", error)
            self._ears = None
            return None
        except SpeechError as error:
            logger.info("speech is judged by the letters of its text: %s", error)
            return None
        seconds = len(reading.pcm) / SAMPLE_RATE
        self._longest = longest_seconds(self._segment.text, tags=self._tags, reading=seconds)
        return reading


def another(sampling: Sampling) -> Sampling:
    """The same with another seed."""
    return msgspec.structs.replace(sampling, seed=secrets.randbelow(SEEDS))


def may_be_drawn_again(sampling: Sampling) -> bool:
    """Whether another draw is another one, and was not ruled out by who asked."""
    return sampling.seed is None and sampling.temperature > 0
