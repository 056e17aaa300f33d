"""Where a text is cut: into segments of whole sentences, each spoken in one go."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import msgspec
import sentencex

from orpheus_openai.text.normalise import has_speech

FIRST_CHARS = 120
"""The first segment ends near here where a sentence or a clause does: the first sound comes soon."""

MAX_CHARS = 280
"""Longest segment: Orpheus loses words on longer prompts."""


class Segment(msgspec.Struct, frozen=True):
    """A part of a text that is spoken in one go; `text` is the source's `[start:end]`."""

    text: str
    start: int
    end: int
    paragraph: bool
    """A paragraph ends here (so it does at the end of the text)."""


class _Span(NamedTuple):
    start: int
    end: int
    paragraph: bool


def split(
    text: str, language: str, *, first_chars: int = FIRST_CHARS, max_chars: int = MAX_CHARS
) -> list[Segment]:
    """`text`, as `normalise` gives it, in segments of whole sentences, each at most `max_chars` characters.

    `language` is ISO 639-1. Sentences are packed as long as they fit, never across a paragraph's end. The
    first segment keeps to `first_chars` where a sentence or a clause ends before. A sentence that is too long
    is cut at a clause, else between words, else (as in Chinese) between characters; never inside a tag, which
    alone may be longer than `max_chars`, nor inside a number, word or character with its marks that fits.
    What holds nothing to speak goes with its neighbour where both fit. Nothing but white space lies between
    the segments. Time is linear in the text's length.
    """
    first_chars = min(first_chars, max_chars)
    spans: list[_Span] = []
    for paragraph in re.finditer(r"[^\n]+", text):
        start, end = _strip(text, paragraph.start(), paragraph.end())
        if start < end:
            ends = _sentence_ends(text, start, end, language)
            spans += _sentence_spans(text, start, ends, max_chars if spans else first_chars, max_chars)
    packed = _pack(_join_mute(text, spans, max_chars), first_chars, max_chars)
    return [Segment(text[s.start : s.end], s.start, s.end, s.paragraph) for s in packed]


def _sentence_spans(text: str, start: int, ends: Iterable[int], first: int, limit: int) -> list[_Span]:
    """One paragraph's sentences, those that are too long in pieces; `first`: the limit for the first one."""
    spans: list[_Span] = []
    for sentence_end in ends:
        lo, hi = _strip(text, spans[-1].end if spans else start, sentence_end)
        if not spans and hi - lo > first < limit and (cut := _clause_cut(text, lo, first, lo + first)):
            spans.append(_Span(lo, cut, paragraph=False))
            lo, _ = _strip(text, cut, hi)
        while hi - lo > limit:
            cut = _cut(text, lo, hi, limit)
            spans.append(_Span(lo, _strip(text, lo, cut)[1], paragraph=False))
            lo, _ = _strip(text, cut, hi)
        if lo < hi:
            spans.append(_Span(lo, hi, paragraph=False))
    spans[-1] = spans[-1]._replace(paragraph=True)
    return spans


def _join_mute(text: str, spans: list[_Span], limit: int) -> list[_Span]:
    """Spans with nothing to speak go to the one before, else to the one after."""
    joined: list[_Span] = []
    pending = False
    for span in spans:
        mute = not has_speech(text[span.start : span.end])
        if joined and (mute or pending) and span.end - joined[-1].start <= limit:
            joined[-1] = span._replace(start=joined[-1].start)
            pending = pending and mute
        else:
            joined.append(span)
            pending = mute
    return joined


def _pack(spans: list[_Span], first: int, limit: int) -> list[_Span]:
    """Neighbours of one paragraph together, as long as they fit."""
    packed: list[_Span] = []
    for span in spans:
        room = first if len(packed) == 1 else limit
        if packed and not packed[-1].paragraph and span.end - packed[-1].start <= room:
            packed[-1] = span._replace(start=packed[-1].start)
        else:
            packed.append(span)
    return packed


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    """Narrow the range by the white space at its ends; it is empty if there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


# --- where a sentence ends --------------------------------------------------------------------------------

# Titles after which sentencex 1.0 ends a sentence in this language, though a name follows.
_TITLES = {
    "fr": "M|MM|Me|Mme|Mmes|Mlle|Mlles|Mgr|Dr|Pr|Prof|St|Ste",
    "es": "D|Dn|Dña|Dr|Dra|Sr|Sra|Srta|Prof",
    "it": "Dr|Prof|Sig|Dott",
    "hi": "डॉ|डा|श्री|श्रीमती|सुश्री|प्रो|पं|स्व|कु",
}
_COMMON_TITLES = "Mr|Mrs|Ms|Dr|Prof"
_BLOCK_CHARS = 2_000
"""As much is given to sentencex at once: its time grows with the square of the text after an open quote."""


def _sentence_ends(text: str, start: int, end: int, language: str) -> Iterator[int]:
    """Offsets in `text` at which the sentences of `text[start:end]` end; the last is `end`."""
    no_end = _no_end(language)
    while start < end:
        block = text[start : min(end, start + _BLOCK_CHARS)]
        found = [start + int(b["end_index"]) for b in sentencex.get_sentence_boundaries(language, block)]
        if start + len(block) < end:
            # The last one may go on after the block: the next begins with it, if it is not all there is.
            found = found[:-1]
        for offset in found:
            if offset < end and not no_end.search(text, max(start, offset - 16), offset):
                yield offset
        start = found[-1] if found else _last_space(text, start, start + len(block))
    yield end


def _last_space(text: str, start: int, end: int) -> int:
    """Find the offset after the last space of `text[start:end]`; `end` where there is none."""
    return text.rfind(" ", start, end) + 1 or end


@cache
def _no_end(language: str) -> re.Pattern[str]:
    """Match what ends no sentence: a title, a list's number, a letter of an abbreviation that goes on."""
    titles = "|".join(filter(None, [_COMMON_TITLES, _TITLES.get(language)]))
    return re.compile(
        rf"(?<![^\s'’\"“«(])(?:{titles})\.\s*\Z|(?:^|(?<=\n)|(?<=[.!?。।]\s))\d{{1,3}}[.)]\s*\Z|(?<![^\W_]{{2}})[^\W\d_]\.\Z"
    )


# --- where a sentence that is too long is cut -------------------------------------------------------------

_CLOSERS = r"[\"'”’»›)\]」』》〉）】]*"
# Marks before a space, the ends of sentences inside quotes among them (a short word before the full stop may
# be an abbreviation); a dash, and the marks of Chinese, which stand without spaces.
_CLAUSE_END = re.compile(rf"(?:[,;:–—…!?।॥]|(?<=\w{{5}})\.){_CLOSERS}(?=\s)|—|[、，；：。！？…]+{_CLOSERS}")
# Not before a mark that French sets apart, not inside a number such as 10 000.
_SPACE = re.compile(r"(?<!\s)(?!(?<=\d)\s\d{3}(?!\d))\s+(?![\s»›!?;:%€…])")
# A tag, or what is written without spaces though it is no Chinese or Japanese: word, number, address.
_WORD_CHAR = r"[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_WORD_PART = rf"(?:{_WORD_CHAR}|[\u0300-\u036f\u0900-\u0963])+"
_ATOM = re.compile(rf"(?P<tag><\s?/?\w{{1,32}}\s?/?>)|{_WORD_PART}(?:[.,:'’@/&=?-]{{1,3}}{_WORD_PART})*")
_TAG_REACH = 48

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_VIRAMA_CLASS = 9


def _cut(text: str, lo: int, hi: int, limit: int) -> int:
    """Where to end the first piece of `text[lo:hi]`, longer than `limit`: pieces come out even."""
    pieces = -(-(hi - lo) // limit)
    ideal = lo + -(-(hi - lo) // pieces)
    if cut := _clause_cut(text, lo, limit, ideal):
        return cut
    spaces = [m.start() for m in _SPACE.finditer(text, lo + 1, lo + limit + 8) if m.start() <= lo + limit]
    if spaces:
        return min(spaces, key=lambda p: abs(p - ideal))
    return _character_cut(text, lo, hi, ideal)


def _clause_cut(text: str, lo: int, limit: int, ideal: int) -> int | None:
    """Find the end of a clause in `text[lo:lo + limit]` nearest to `ideal`, but none near `lo`."""
    ends = (m.end() for m in _CLAUSE_END.finditer(text, lo + limit // 4, lo + limit + 1))
    return min((p for p in ends if p <= lo + limit), key=lambda p: abs(p - ideal), default=None)


def _character_cut(text: str, lo: int, hi: int, at: int) -> int:
    """Find the last place in `text[lo:hi]` up to `at` between words, else between characters."""
    for atom in _ATOM.finditer(text, lo, min(hi, at + _TAG_REACH)):
        if atom.start() < at < atom.end():
            if atom.start() > lo:
                at = atom.start()
            elif atom["tag"]:
                return atom.end()
            break
    cut = at
    while cut > lo and _inside_cluster(text, lo, cut):
        cut -= 1
    return cut if cut > lo else at


def _inside_cluster(text: str, lo: int, at: int) -> bool:
    """Whether `at` parts what is read as one character: marks, conjuncts, joined emoji, flags.

    The rules of Unicode's annex 29 for extended grapheme clusters, as far as composed text (NFC) needs them.
    """
    left, right = text[at - 1], text[at]
    if (
        unicodedata.category(right)[0] == "M"
        or right in {_ZWNJ, _ZWJ}
        or "\U0001f3fb" <= right <= "\U0001f3ff"
    ):
        return True
    if left == _ZWJ or unicodedata.combining(left) == _VIRAMA_CLASS:
        return True
    if _is_regional(left) and _is_regional(right):
        run = at
        while run > lo and _is_regional(text[run - 1]):
            run -= 1
        return (at - run) % 2 == 1
    return False


def _is_regional(char: str) -> bool:
    """One of the letters that make a flag in pairs."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"
