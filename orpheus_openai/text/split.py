"""Where a text is cut: into segments of whole sentences, each spoken in one go."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from orpheus_openai.text.cuts import clause_cut, even_cut
from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.marks import calm, with_end_mark
from orpheus_openai.text.normalise import PARAGRAPH_BREAK, has_speech
from orpheus_openai.text.sentences import sentence_ends
from orpheus_openai.text.trace import Traced, join
from orpheus_openai.text.turns import PLAIN, Manner

FIRST_CHARS = 120
"""The first segment ends near here where a sentence or a clause does: the first sound comes soon."""

MAX_CHARS = 280
"""Longest segment: Orpheus loses words on longer prompts."""

SHORT_LINE = 24
"""A line with fewer characters is spoken with its neighbours, where the reading is steady."""


class Segment(msgspec.Struct, frozen=True):
    """A part of a text that is spoken in one go."""

    text: str
    """What is spoken: cleaned and in the form that the model is given."""
    start: int
    """Where it begins in the request's own text, in characters, whatever was changed on the way."""
    end: int
    """Where it ends there. Segments stand in order and never overlap; what no segment covers is not spoken."""
    paragraph: bool
    """A paragraph ends here (so it does at the end of the text)."""
    prompt: str
    """`text` as the model is given it: on one line and with end marks, where the reading is `steady`."""
    trace: Traced
    """`text` again, which knows of each part of it where it stood (`trace.span`)."""
    manner: Manner = PLAIN
    """Who says it, and how."""
    spelt: tuple[Lexicon, ...] = ()
    """Which words have phonemes."""
    silence: float | None = None
    """Seconds of silence that are asked for before it; None: as it comes."""


class _Portion(NamedTuple):
    """A range of a paragraph's text, and of those before that go with it."""

    ranges: tuple[tuple[Traced, int, int], ...]
    paragraph: bool

    @property
    def text(self) -> str:
        return PARAGRAPH_BREAK.join(source.text[start:end] for source, start, end in self.ranges)

    @property
    def length(self) -> int:
        gaps = len(PARAGRAPH_BREAK) * (len(self.ranges) - 1)
        return sum(end - start for _, start, end in self.ranges) + gaps

    @property
    def traced(self) -> Traced:
        return join(PARAGRAPH_BREAK, [source.slice(start, end) for source, start, end in self.ranges])


def split(
    text: str, language: str, *, first_chars: int = FIRST_CHARS, max_chars: int = MAX_CHARS
) -> list[Segment]:
    """`text`, as `normalise` gives it, in `segments`; spans are into `text`."""
    paragraphs = (Traced.of(text, m.start(), m.end()) for m in re.finditer(r"[^\n]+", text))
    return list(segments(paragraphs, language, first_chars=first_chars, max_chars=max_chars))


def segments(
    paragraphs: Iterable[Traced],
    language: str,
    *,
    first_chars: int = FIRST_CHARS,
    max_chars: int = MAX_CHARS,
    steady: bool = False,
) -> Iterator[Segment]:
    """Yield `paragraphs` in segments of whole sentences, each at most `max_chars` characters.

    `language` is ISO 639-1. Sentences are packed as long as they fit, never across a paragraph's end. The
    first segment keeps to `first_chars` where a sentence or a clause ends before. A sentence that is too long
    is cut at a clause, else between words, else (as in Chinese) between characters; never inside a tag, which
    alone may be longer than `max_chars`, nor inside a number, word or character with its marks that fits.
    What holds nothing to speak goes with its neighbour where both fit. Nothing but white space lies between
    the segments. Time is linear, and no more is read than the next segment needs.

    A `steady` reading keeps a model from what derails it: lines of a few words go with their neighbours, and the
    prompts have end marks.
    """
    first_chars = min(first_chars, max_chars)
    portions = _portions(paragraphs, language, first_chars, max_chars)
    reached = 0
    short = SHORT_LINE if steady else 0
    for portion in _packed(_mute_joined(portions, max_chars), first_chars, max_chars, short):
        trace = portion.traced
        start, end = trace.span(0, len(trace.text))
        # Two segments may hold parts of what stands for the same characters: the first has them.
        start = max(start, reached)
        reached = max(end, start)
        prompt = _prompt(portion, language) if steady else trace.text
        yield Segment(trace.text, start, reached, portion.paragraph, prompt, trace)


def _prompt(portion: _Portion, language: str) -> str:
    lines = [source.text[start:end] for source, start, end in portion.ranges]
    last = lines.pop()
    ended = [with_end_mark(line, language) for line in lines]
    return " ".join([*ended, with_end_mark(last, language) if portion.paragraph else calm(last)])


def _portions(paragraphs: Iterable[Traced], language: str, first: int, limit: int) -> Iterator[_Portion]:
    """Sentences, those that are too long in parts; `first`: the limit for the first one."""
    none_yet = True
    for paragraph in paragraphs:
        start, end = _strip(paragraph.text, 0, len(paragraph.text))
        if start < end:
            ends = sentence_ends(paragraph.text, start, end, language)
            yield from _sentence_portions(paragraph, start, ends, first if none_yet else limit, limit)
            none_yet = False


def _sentence_portions(
    paragraph: Traced, start: int, ends: Iterable[int], first: int, limit: int
) -> Iterator[_Portion]:
    text = paragraph.text
    last: _Portion | None = None
    for lo, hi in _ranges(text, start, ends, first, limit):
        if last is not None:
            yield last
        last = _Portion(((paragraph, lo, hi),), paragraph=False)
    if last is not None:
        yield last._replace(paragraph=True)


def _ranges(text: str, start: int, ends: Iterable[int], first: int, limit: int) -> Iterator[tuple[int, int]]:
    begun = False
    for sentence_end in ends:
        lo, hi = _strip(text, start, sentence_end)
        if not begun and hi - lo > first < limit and (cut := clause_cut(text, lo, first, lo + first)):
            yield lo, cut
            lo, _ = _strip(text, cut, hi)
        while hi - lo > limit:
            cut = even_cut(text, lo, hi, limit)
            yield lo, _strip(text, lo, cut)[1]
            lo, _ = _strip(text, cut, hi)
        if lo < hi:
            yield lo, hi
        begun = True
        start = hi


def _mute_joined(portions: Iterable[_Portion], limit: int) -> Iterator[_Portion]:
    """Yield portions, those with nothing to speak with the one before, else with the one after."""
    last: _Portion | None = None
    pending = False
    for portion in portions:
        mute = not has_speech(portion.text)
        if last is not None and (mute or pending) and (joined := _together(last, portion, limit)):
            last = joined
            pending = pending and mute
        else:
            if last is not None:
                yield last
            last = portion
            pending = mute
    if last is not None:
        yield last


def _packed(portions: Iterable[_Portion], first: int, limit: int, short: int) -> Iterator[_Portion]:
    """Yield neighbours of one paragraph together, as long as they fit, and with theirs lines shorter than `short`."""
    last: _Portion | None = None
    room = first
    for portion in portions:
        near = last is not None and (
            not last.paragraph or _few_words(last, short) or _few_words(portion, short)
        )
        if last is not None and near and (joined := _together(last, portion, room)):
            last = joined
            continue
        if last is not None:
            yield last
            room = limit
        last = portion
    if last is not None:
        yield last


def _few_words(portion: _Portion, short: int) -> bool:
    """Whether the portion, or the line at its end, is a line of a few words."""
    _, start, end = portion.ranges[-1]
    return portion.paragraph and end - start < short


def _together(portion: _Portion, after: _Portion, limit: int) -> _Portion | None:
    """Both in one, if that is not longer than `limit`."""
    *before, (source, start, end) = portion.ranges
    (next_source, next_start, next_end), *rest = after.ranges
    if source is next_source:
        ranges = (*before, (source, start, next_end), *rest)
    else:
        ranges = (*before, (source, start, end), (next_source, next_start, next_end), *rest)
    both = _Portion(ranges, after.paragraph)
    return both if both.length <= limit else None


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    """Narrow the range by the white space at its ends; it is empty if there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
