"""What has sounded of a speech: its segments, from when on, and for a while their sound, for whoever cuts in."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Container, Sequence

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.speech.timed import TimedSegment
from orpheus_openai.speech.timer import SegmentSound, Timer
from orpheus_openai.text.split import Segment

MARKS_KEPT = 64
"""More segments than these are never held back before whoever reads the stream takes their sound."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of the sound of all speeches together, 23 minutes, in which an interrupted word may still be looked for."""
LOOKED_FOR = 1.0
"""Seconds after which an interruption is told by letters: whoever cut in waits for it."""


class _SoundedSegment:
    """One segment as far as it has sounded."""

    def __init__(self, segment: Segment, offset: int, *, listens: bool) -> None:
        self.segment = segment
        self.offset = offset
        self.samples = 0
        self.whole = False
        self.pcm: bytearray | None = bytearray() if listens else None
        self.looking: asyncio.Task[TimedSegment] | None = None

    def sound(self) -> SegmentSound:
        pcm = None if self.pcm is None else np.frombuffer(bytes(self.pcm), np.int16)
        return SegmentSound(pcm, self.samples, self.offset, self.whole)


class RecentSound:
    """The sound of the segments that were spoken last, all speeches together; what is too much goes, oldest first."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        """`most` in bytes."""
        self._most = most
        self._parts: OrderedDict[_SoundedSegment, None] = OrderedDict()
        self.size = 0
        """Bytes."""

    def add(self, part: _SoundedSegment, pcm: PCM) -> None:
        """More of a segment's sound, unless some of it was forgotten."""
        if part.pcm is None:
            return
        self._parts.setdefault(part)
        part.pcm += pcm.tobytes()
        self.size += pcm.nbytes
        while self.size > self._most:
            self.forget(next(iter(self._parts)))

    def forget(self, part: _SoundedSegment) -> None:
        """Nobody asks for it any more."""
        if part in self._parts:
            del self._parts[part]
            self.size -= len(part.pcm or b"")
        part.pcm = None


class Heard:
    """Which segments of a speech have begun to sound, and from when on."""

    def __init__(self, timer: Timer, recent: RecentSound) -> None:
        self._timer = timer
        self._recent = recent
        self._parts: list[_SoundedSegment] = []
        self.marks: deque[tuple[int, Segment]] = deque(maxlen=MARKS_KEPT)
        """The last ones, and before which sample of the stream, at 24 kHz; for whoever reads it to take."""
        self._ended_at: int | None = None
        """Before which sample of the stream all is heard of the segment that began last; None: it has not ended."""
        self._ending = asyncio.Event()
        self.played: float | None = None
        """Seconds that were heard when the listener cut in, if they did."""

    @property
    def count(self) -> int:
        """How many."""
        return len(self._parts)

    def begin(self, segment: Segment, offset: int) -> None:
        """A segment begins, about `offset` samples of the joined speech after its start."""
        self._ended_at = None
        self._parts.append(_SoundedSegment(segment, offset, listens=self._timer.listens(segment)))

    def hear(self, pcm: PCM, offset: int) -> None:
        """More of it, int16 of shape `(n,)`; `offset` is known better by now."""
        part = self._parts[-1]
        part.samples += len(pcm)
        part.offset = offset
        self._recent.add(part, pcm)

    def end(self, sample: int) -> None:
        """It has been said to its end, and all that is heard of it stands before `sample` of the stream."""
        self._parts[-1].whole = True
        self._ended_at = sample
        self._ending.set()

    async def ended(self, taken: int) -> None:
        """Wait until the segment that began last has ended, all of it among the first `taken` samples of the stream."""
        while self._ended_at is None or taken < self._ended_at:
            self._ending.clear()
            await self._ending.wait()

    def forget(self) -> None:
        """Nobody cuts in any more: the sound may go."""
        for part in self._parts:
            self._recent.forget(part)

    async def look(self, text: str, second: float, *, unless: Container[int] = ()) -> TimedSegment | None:
        """The segment of `text` that sounds at `second` of a speech that has ended, its words looked for in the sound.

        None where there is none, or one that begins at a character of `unless`, or it took too long; whoever asks
        again may be told then.
        """
        sample = second * self._timer.speed * SAMPLE_RATE
        part = next((part for part in reversed(self._parts) if part.offset <= sample), None)
        if part is None or part.segment.start in unless:
            return None
        if part.looking is None:
            segment, sound = part.segment, part.sound()
            part.looking = asyncio.create_task(
                self._timer.timed(text, segment, sound, self._timer.read(segment))
            )
        await asyncio.wait([part.looking], timeout=LOOKED_FOR)
        return part.looking.result() if part.looking.done() else None

    def timed(self, text: str, known: Sequence[TimedSegment]) -> list[TimedSegment]:
        """The segments in order, those that are not among the `known` with their words in proportion to letters."""
        by_start = {segment.span[0]: segment for segment in known}
        return [
            by_start.get(part.segment.start) or self._timer.estimated(text, part.segment, part.sound())
            for part in self._parts
        ]
