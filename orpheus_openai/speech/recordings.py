"""When each word of any recording sounds, where its text is known."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.align import MOST_CELLS, Stretch, align
from orpheus_openai.audio.spectrum import HOP
from orpheus_openai.catalog import Catalog
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.models.preview.model import stand_in
from orpheus_openai.models.preview.reading import Reader, starts
from orpheus_openai.speech.timed import TimedSegment, timed_segment
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.split import Segment
from orpheus_openai.text.words import Words, words_of

LONGEST_SECONDS = 900
"""A recording is looked at as a whole first, the more coarsely the longer it is."""
CUT_REACH = SAMPLE_RATE // 2
"""Two segments are parted in the quietest moment so near to where they seem to meet, in samples."""
CUT_WINDOW = SAMPLE_RATE // 20


class _ReadSegment(NamedTuple):
    """A segment as eSpeak NG reads it."""

    segment: Segment
    words: Words
    pcm: PCM
    starts: list[int]


async def align_recording(pcm: PCM, text: str, language: str, catalog: Catalog) -> list[TimedSegment]:
    """The segments of `text` with their words, as they sound in `pcm`, which is 24 kHz int16 of shape `(n,)`.

    `language` is ISO 639-1. Raises InvalidRequestError where there is nothing to find or too much to look through,
    and ModelUnavailableError where eSpeak NG is not installed.
    """
    if pcm.size > LONGEST_SECONDS * SAMPLE_RATE:
        raise InvalidRequestError(
            f"the recording lasts {pcm.size / SAMPLE_RATE / 60:.0f} minutes; at most {LONGEST_SECONDS // 60} are "
            "aligned at once: cut it, and its text"
        )
    if (voice := next((v for v in catalog.voices.values() if v.language == language), None)) is None:
        raise InvalidRequestError(
            f"there is no language {language[:16]!r}; there are {', '.join(catalog.languages)}"
        )
    desk = Desk(catalog.emotion_tags, catalog.directions)
    reader = Reader(catalog.emotion_tags)
    try:
        parts = []
        for segment in await asyncio.to_thread(list, desk.read(text, ReadingRules(language=language))):
            reading = await reader.read(segment.text, stand_in(voice))
            words = words_of(segment.text, catalog.emotion_tags)
            parts.append(
                _ReadSegment(segment, words, reading.pcm, starts(reading, segment.text, words.words))
            )
    finally:
        await reader.close()
    if not any(part.starts for part in parts):
        raise InvalidRequestError("there are no words in the text")
    found = await asyncio.to_thread(_aligned, pcm, parts)
    return [
        timed_segment(text, part.segment, part.words.words, stretches, how="aligned")
        for part, stretches in zip(parts, found, strict=True)
    ]


def _aligned(pcm: PCM, parts: Sequence[_ReadSegment]) -> list[list[Stretch]]:
    """All at once where that can be done finely; else each part in its own piece of the recording."""
    found = _together(pcm, parts)
    if len(parts) == 1 or pcm.size * sum(part.pcm.size for part in parts) <= MOST_CELLS * HOP**2:
        return found
    edges = [0, *_cuts(pcm, [stretches for stretches in found if stretches]), pcm.size]
    pieces = iter(pairwise(edges))
    fine = []
    for part in parts:
        start, end = next(pieces) if part.starts else (0, 0)
        own = align(pcm[start:end], part.pcm, part.starts, part.words.tags)
        fine.append([Stretch(start + each.start, start + each.end) for each in own])
    return fine


def _together(pcm: PCM, parts: Sequence[_ReadSegment]) -> list[list[Stretch]]:
    reading = np.concatenate([part.pcm for part in parts])
    begins: list[int] = []
    foreign: set[int] = set()
    at = 0
    for part in parts:
        foreign |= {len(begins) + place for place in part.words.tags}
        begins += [at + start for start in part.starts]
        at += part.pcm.size
    found = iter(align(pcm, reading, begins, foreign))
    return [[next(found) for _ in part.starts] for part in parts]


def _cuts(pcm: PCM, found: Sequence[Sequence[Stretch]]) -> list[int]:
    """Where each part ends and the next begins: in the quietest moment near by."""
    cuts = [0]
    for before, after in pairwise(found):
        low = max(min(before[-1].end, after[0].start) - CUT_REACH, cuts[-1])
        high = min(max(before[-1].end, after[0].start) + CUT_REACH, pcm.size)
        power = np.concatenate([[0.0], np.cumsum(pcm[low:high].astype(np.float64) ** 2)])
        heard = power[CUT_WINDOW:] - power[:-CUT_WINDOW]
        quietest = int(np.argmin(heard)) + CUT_WINDOW // 2 if heard.size else 0
        cuts.append(low + quietest)
    return cuts[1:]
