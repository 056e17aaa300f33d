"""What eSpeak NG reads of a speech's segments, and how it fits what was spoken: found once for all who want to know."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from orpheus_openai.audio import PCM
from orpheus_openai.audio.align import Stretch, align_beginning, fit
from orpheus_openai.audio.path import Fitted
from orpheus_openai.catalog import EspeakVoice
from orpheus_openai.models.preview.reading import Reader, Reading, joined_readings, starts
from orpheus_openai.text.sentences import sentence_parts
from orpheus_openai.text.split import Segment
from orpheus_openai.text.turns import Manner
from orpheus_openai.text.words import words_of

T = TypeVar("T")

MOST_KEPT = 8
"""Segments of a speech of which something is kept, 2 MB each: those under way, and those that wait to be timed."""


class _Kept(msgspec.Struct):
    segment: Segment
    users: int
    """Who has not done with it yet."""
    reading: asyncio.Task[Reading] | None = None
    pcm: PCM | None = None
    fitted: asyncio.Task[Fitted | None] | None = None


class Readings:
    """Of one speech, for one event loop. What two want to know is found once."""

    def __init__(
        self,
        reader: Reader,
        voice_of: Callable[[Manner], EspeakVoice],
        emotion_tags: Sequence[str],
        *,
        users: int = 1,
        in_parts: Callable[[Manner], str | None] = lambda _: None,
    ) -> None:
        """`voice_of` tells who reads along; so many `users` ask for each segment and say when they are done with it.

        `in_parts` names the language of whoever speaks a segment sentence by sentence, and is read like that, too:
        eSpeak NG's breath between two sentences is another when it is given both.
        """
        self.emotion_tags = emotion_tags
        self._reader = reader
        self._voice_of = voice_of
        self._users = users
        self._in_parts = in_parts
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    async def read(self, segment: Segment) -> Reading:
        """The reading of `segment`; raises as `Reader.read` does."""
        kept = self._of(segment)
        if kept.reading is None:
            kept.reading = _begun(self._read(segment))
        return await asyncio.shield(kept.reading)

    async def beside(
        self, segment: Segment, pcm: PCM, reading: Reading, look: Callable[[Fitted | None], T]
    ) -> T:
        """What `look` finds where `pcm` was laid beside `reading`, that of `segment` (see `audio.align.fit`)."""
        kept = self._of(segment)
        if kept.fitted is None or kept.pcm is None or not np.array_equal(kept.pcm, pcm):
            kept.pcm, kept.fitted = pcm, _begun(self._fitted(segment, pcm, reading))
        fitted = await asyncio.shield(kept.fitted)
        async with self._reader.aligning:
            return await asyncio.to_thread(look, fitted)

    async def beginning(self, segment: Segment, pcm: PCM, reading: Reading) -> list[Stretch]:
        """Where the words of `segment` sound in `pcm`, which may break off before its end; `reading` is its own."""
        words = words_of(segment.text, self.emotion_tags)
        begins = starts(reading, segment.text, words.words)
        async with self._reader.aligning:
            return await asyncio.to_thread(align_beginning, pcm, reading.pcm, begins, words.tags)

    def done(self, segment: Segment) -> None:
        """One user will not ask for this segment again."""
        if (kept := self._kept.get(id(segment))) is None:
            return
        kept.users -= 1
        if kept.users <= 0:
            del self._kept[id(segment)]

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        for kept in self._kept.values():
            for task in (kept.reading, kept.fitted):
                if task is not None:
                    task.cancel()

    async def _read(self, segment: Segment) -> Reading:
        voice, text = self._voice_of(segment.manner), segment.text
        language = self._in_parts(segment.manner)
        parts = [(0, len(text))] if language is None else list(sentence_parts(text, language))
        read = [
            (await self._reader.read(text[start:end], voice, segment.spelt), start) for start, end in parts
        ]
        return read[0][0] if len(read) == 1 else joined_readings(read)

    async def _fitted(self, segment: Segment, pcm: PCM, reading: Reading) -> Fitted | None:
        words = words_of(segment.text, self.emotion_tags)
        begins = starts(reading, segment.text, words.words)
        async with self._reader.aligning:
            return await asyncio.to_thread(fit, pcm, reading.pcm, begins, words.tags)

    def _of(self, segment: Segment) -> _Kept:
        if (kept := self._kept.get(id(segment))) is None:
            kept = self._kept[id(segment)] = _Kept(segment, self._users)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return kept


def _begun(work: Coroutine[None, None, T]) -> "asyncio.Task[T]":
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # those who ask hear of it
    return task
