"""A listener cuts in: the speech stops at once, and what of its text was heard is told."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Generic, Protocol, TypeVar

import msgspec
from msgspec import Meta

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.audio.align import in_proportion
from orpheus_openai.errors import NotFoundError, SpeechInterruptedError
from orpheus_openai.speech.buffer import estimated_seconds
from orpheus_openai.speech.words import HowTimed, TimedSegment, WordTimes, timed_segment
from orpheus_openai.text.split import Segment
from orpheus_openai.text.words import letters, words_of

T = TypeVar("T")

KEPT = 256
"""Speeches that are remembered after their end, as somebody may still be listening to what was sent."""
STILL_SOUNDING = 30.0
"""Seconds after the time that it takes to play a speech in which it may still be interrupted: players pause."""


MARKS_KEPT = 64
"""More segments than these are never held back before whoever reads the stream takes their sound."""


class Interruption(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of a speech when its listener cut in."""

    type: Annotated[str, Meta(examples=["interrupted"])] = "interrupted"
    played_ms: Annotated[int, Meta(description="At most as much as was sent.", examples=[1234])]
    text_spoken: Annotated[
        str, Meta(description="Up to the word of which less than half was played.", examples=["Hello! "])
    ]
    text_remaining: Annotated[str, Meta(description="The rest of the text.", examples=["How are you?"])]
    timing: Annotated[HowTimed, Meta(description="How it is known when the words sound.")]


class Heard:
    """Which segments of a speech have begun to sound, and from when on."""

    def __init__(self, speed: float, emotion_tags: Sequence[str]) -> None:
        self._speed = speed
        self._tags = emotion_tags
        self._segments: list[Segment] = []
        self._offsets: list[int] = []
        self._samples: list[int] = []
        self.marks: deque[tuple[int, Segment]] = deque(maxlen=MARKS_KEPT)
        """The last ones, and before which sample of the stream, at 24 kHz; for whoever reads it to take."""
        self.played: float | None = None
        """Seconds that were heard when the listener cut in, if they did."""

    @property
    def count(self) -> int:
        """How many."""
        return len(self._segments)

    def begin(self, segment: Segment, offset: int) -> None:
        """A segment begins, about `offset` samples of the joined speech after its start."""
        self._segments.append(segment)
        self._offsets.append(offset)
        self._samples.append(0)

    def hear(self, samples: int, offset: int) -> None:
        """So many more of it; `offset` is known better by now."""
        self._samples[-1] += samples
        self._offsets[-1] = offset

    def timed(self, text: str, known: Sequence[TimedSegment], *, complete: bool) -> list[TimedSegment]:
        """The segments in order, those that are not among the `known` with their words in proportion to letters.

        The last is as long as it will about be, unless the speech is `complete`.
        """
        by_start = {segment.span[0]: segment for segment in known}
        last = len(self._segments) - 1
        return [
            by_start.get(segment.start) or self._estimated(text, at, ended=complete or at < last)
            for at, segment in enumerate(self._segments)
        ]

    def _estimated(self, text: str, at: int, *, ended: bool) -> TimedSegment:
        segment, samples = self._segments[at], self._samples[at]
        if not ended:
            samples = max(samples, round(estimated_seconds(segment.text) * SAMPLE_RATE))
        words = words_of(segment.text, self._tags).words
        stretches = in_proportion(samples, [letters(segment.text, word) for word in words])
        return timed_segment(
            text,
            segment,
            words,
            stretches,
            how="estimated",
            samples=samples,
            offset=self._offsets[at],
            speed=self._speed,
        )


def interruption(
    text: str, segments: Sequence[TimedSegment], *, played: float, sent: float, complete: bool
) -> Interruption:
    """Where a listener was in `text` who has played `played` of the `sent` seconds; pure.

    `segments` are those that have begun to sound; `complete`: there is no more to come.
    """
    heard = max(0.0, min(played, sent))
    at = _reached(segments, heard)
    if at is None:
        at = len(text) if complete and heard >= sent else max((s.span[1] for s in segments), default=0)
    hows: set[HowTimed] = {segment.timing for segment in segments}
    return Interruption(
        played_ms=round(heard * 1_000),
        text_spoken=text[:at],
        text_remaining=text[at:],
        timing=next((how for how in ("estimated", "aligned", "exact") if how in hows), "estimated"),
    )


def _reached(segments: Sequence[TimedSegment], heard: float) -> int | None:
    """Where the first word begins of which less than half was heard; None where all were."""
    reached = 0
    for segment in segments:
        if not segment.words and (segment.start + segment.end) / 2 > heard:
            return max(reached, segment.span[0])
        for word in segment.words:
            if (word.start + word.end) / 2 > heard:
                return max(reached, word.span[0])
            reached = max(reached, word.span[1])
    return None


class Sounded(msgspec.Struct, frozen=True):
    """What there is to know of a speech once no more of it is made."""

    account: str
    text: str
    heard: Heard
    word_times: WordTimes | None
    sent: float
    """Seconds."""
    complete: bool

    def told(self, played: float) -> Interruption:
        """What was heard of the text by somebody who has played so many seconds."""
        known = self.word_times.known() if self.word_times is not None else []
        segments = self.heard.timed(self.text, known, complete=self.complete)
        return interruption(self.text, segments, played=played, sent=self.sent, complete=self.complete)


class Breakable(Generic[T]):
    """A stream that another task may end, whoever waits for its next item: it raises SpeechInterruptedError there."""

    def __init__(self, stream: AsyncGenerator[T]) -> None:
        self._stream = stream
        self._task: asyncio.Task[object] | None = None
        self._broken = False
        self._closing = False
        self._free = asyncio.Event()

    def __aiter__(self) -> "Breakable[T]":
        return self

    async def __anext__(self) -> T:
        if self._broken:
            raise SpeechInterruptedError
        self._task = task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is a coroutine
        cancelling = task.cancelling()
        try:
            return await anext(self._stream)
        except asyncio.CancelledError:
            # As in asyncio.timeout: whoever else cancels the task at the same time is obeyed.
            if self._broken and task.uncancel() <= cancelling:
                raise SpeechInterruptedError from None
            raise
        finally:
            self._task = None
            if self._broken:
                self._free.set()

    async def break_off(self) -> None:
        """End the stream; what it holds is given back when this returns."""
        if not self._broken:
            self._broken = True
            if self._task is not None:
                self._task.cancel()
            else:
                await self._close()
        await self._free.wait()

    async def aclose(self) -> None:
        """End the stream, for whoever reads it."""
        await self._close()
        await self._free.wait()

    async def _close(self) -> None:
        if self._closing:  # by somebody else, and a generator is closed once at a time
            return
        self._closing = True
        try:
            await self._stream.aclose()
        finally:
            self._free.set()


class Interruptible(Protocol):
    """A speech, as far as interruptions go."""

    id: str
    account: str

    def sounded(self) -> Sounded:
        """What there is to know of it now."""

    async def interrupt(self, played: float) -> Interruption:
        """Stop after `played` seconds were heard."""


class Playing:
    """The speeches that somebody may be listening to, by their ids."""

    def __init__(self) -> None:
        self._going: dict[str, Interruptible] = {}
        self._ended: OrderedDict[str, tuple[Sounded, float]] = OrderedDict()

    def begin(self, speech: Interruptible) -> None:
        """It is being spoken."""
        self._going[speech.id] = speech

    def end(self, speech: Interruptible) -> None:
        """Nothing more is made of it; what was sent may sound for a while."""
        self._going.pop(speech.id, None)
        if (sounded := speech.sounded()).sent:
            self._ended[speech.id] = sounded, time.monotonic() + sounded.sent + STILL_SOUNDING
            while len(self._ended) > KEPT:
                self._ended.popitem(last=False)

    async def interrupt(self, speech_id: str, account: str, played: float) -> Interruption:
        """Stop the speech of that id, of which `played` seconds were heard; see `Speech.interrupt`.

        Raises NotFoundError where there is none, or it is not that account's.
        """
        if (speech := self._going.get(speech_id)) is not None and speech.account == account:
            return await speech.interrupt(played)
        ended, until = self._ended.get(speech_id, (None, 0.0))
        if ended is None or time.monotonic() > until or ended.account != account:
            raise NotFoundError("There is no such speech under way.", code="speech_not_found")
        return ended.told(played)
