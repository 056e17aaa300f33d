"""A reading: a text as eSpeak NG speaks it, and when it speaks which word."""

import asyncio
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from orpheus_openai.audio import PCM
from orpheus_openai.catalog import EspeakVoice
from orpheus_openai.models.preview.model import PreviewModel, WordTime
from orpheus_openai.synthesis import Usage
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.words import Word, letters, word_at

AUDIBLE = 64
"""A sample that is larger than this is no silence."""


ALIGNED_AT_ONCE = 2
"""Each takes a core for a hundredth of the time it sounds, and some 16 MB for 20 s."""


class Reading(NamedTuple):
    """What was spoken, at 24 kHz, and its words as eSpeak NG tells of them."""

    pcm: PCM
    marks: tuple[WordTime, ...]


async def read(
    preview: PreviewModel, text: str, voice: EspeakVoice, spelt: Sequence[Lexicon] = ()
) -> Reading:
    """Read `text` to the end, while whoever waits for a first sound goes before; `spelt` has phonemes for words.

    Raises as `PreviewModel.read` does.
    """
    behind = Usage(input_tokens=1)
    pieces: list[PCM] = [np.zeros(0, np.int16)]
    marks: list[WordTime] = []
    async for item in preview.read(text, voice, behind, spelt=spelt):
        if isinstance(item, WordTime):
            marks.append(item)
        else:
            pieces.append(item)
    return Reading(np.concatenate(pieces), tuple(marks))


def joined_readings(readings: Sequence[tuple[Reading, int]]) -> Reading:
    """Those of the parts of one text, one after the other, each with the place in the text at which it begins."""
    marks: list[WordTime] = []
    samples = 0
    for reading, start in readings:
        marks += [WordTime(samples + mark.sample, start + mark.start, mark.length) for mark in reading.marks]
        samples += len(reading.pcm)
    return Reading(np.concatenate([reading.pcm for reading, _ in readings]), tuple(marks))


def starts(reading: Reading, text: str, words: Sequence[Word]) -> list[int]:
    """The sample of the reading at which each word begins.

    eSpeak NG joins some words, such as "of the", and tells of the first alone: the others share its time by letters.
    """
    told: dict[int, int] = {}
    for mark in reading.marks:
        if (word := word_at(words, mark.start)) < len(words) and mark.start < words[word].end:
            told.setdefault(word, mark.sample)
    found: list[int] = []
    first_of = [max((w for w in told if w <= word), default=0) for word in range(len(words))]
    for first, group in groupby(first_of):
        count = len(list(group))
        start = told.get(first, 0)
        end = min((s for w, s in told.items() if w >= first + count), default=len(reading.pcm))
        lengths = [letters(text, word) for word in words[first : first + count]]
        sounding = _sounding(reading.pcm, start, end) - start if count > 1 else 0
        done = np.cumsum([0, *lengths[:-1]]) / sum(lengths)
        found += [start + round(float(part) * sounding) for part in done]
    return found


def _sounding(pcm: PCM, start: int, end: int) -> int:
    """Where the last sound of that stretch ends."""
    loud = np.flatnonzero(np.abs(pcm[start:end]) > AUDIBLE)
    return start + int(loud[-1]) + 1 if loud.size else end


def ends(reading: Reading, begins: Sequence[int]) -> list[int]:
    """Where the last sound of each word ends that begins at these samples, which ascend."""
    edges = [*begins, len(reading.pcm)]
    return [_sounding(reading.pcm, start, end) for start, end in pairwise(edges)]


class Reader:
    """Reads texts for those who want to know when their words sound; eSpeak NG starts with the first."""

    def __init__(self, emotion_tags: Sequence[str]) -> None:
        self._tags = emotion_tags
        self._preview: PreviewModel | None = None
        self._starting = asyncio.Lock()
        self.aligning = asyncio.Semaphore(ALIGNED_AT_ONCE)
        """For those who lay a recording beside what was read."""

    async def read(self, text: str, voice: EspeakVoice, spelt: Sequence[Lexicon] = ()) -> Reading:
        """Read `text`; raises a SpeechError where eSpeak NG is not installed, lacks the voice, or fails at the text."""
        async with self._starting:
            if self._preview is None:
                self._preview = await asyncio.to_thread(PreviewModel, self._tags)
        return await read(self._preview, text, voice, spelt)

    async def close(self) -> None:
        """End its processes."""
        if self._preview is not None:
            await self._preview.close()
