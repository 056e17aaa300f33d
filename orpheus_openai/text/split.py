"""Where a text is cut: into segments of whole sentences, each spoken in one go."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

import msgspec
import sentencex

from orpheus_openai.text.lexicon import Lexicon
from orpheus_openai.text.marks import calm, with_end_mark
from orpheus_openai.text.normalise import PARAGRAPH_BREAK, has_speech
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


class _Piece(NamedTuple):
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
    pieces = _pieces(paragraphs, language, first_chars, max_chars)
    reached = 0
    short = SHORT_LINE if steady else 0
    for piece in _packed(_mute_joined(pieces, max_chars), first_chars, max_chars, short):
        trace = piece.traced
        start, end = trace.span(0, len(trace.text))
        # Two segments may hold parts of what stands for the same characters: the first has them.
        start = max(start, reached)
        reached = max(end, start)
        prompt = _prompt(piece, language) if steady else trace.text
        yield Segment(trace.text, start, reached, piece.paragraph, prompt, trace)


def _prompt(piece: _Piece, language: str) -> str:
    lines = [source.text[start:end] for source, start, end in piece.ranges]
    last = lines.pop()
    ended = [with_end_mark(line, language) for line in lines]
    return " ".join([*ended, with_end_mark(last, language) if piece.paragraph else calm(last)])


def _pieces(paragraphs: Iterable[Traced], language: str, first: int, limit: int) -> Iterator[_Piece]:
    """Sentences, those that are too long in pieces; `first`: the limit for the first one."""
    none_yet = True
    for paragraph in paragraphs:
        start, end = _strip(paragraph.text, 0, len(paragraph.text))
        if start < end:
            ends = _sentence_ends(paragraph.text, start, end, language)
            yield from _sentence_pieces(paragraph, start, ends, first if none_yet else limit, limit)
            none_yet = False


def _sentence_pieces(
    paragraph: Traced, start: int, ends: Iterable[int], first: int, limit: int
) -> Iterator[_Piece]:
    text = paragraph.text
    last: _Piece | None = None
    for lo, hi in _ranges(text, start, ends, first, limit):
        if last is not None:
            yield last
        last = _Piece(((paragraph, lo, hi),), paragraph=False)
    if last is not None:
        yield last._replace(paragraph=True)


def _ranges(text: str, start: int, ends: Iterable[int], first: int, limit: int) -> Iterator[tuple[int, int]]:
    begun = False
    for sentence_end in ends:
        lo, hi = _strip(text, start, sentence_end)
        if not begun and hi - lo > first < limit and (cut := _clause_cut(text, lo, first, lo + first)):
            yield lo, cut
            lo, _ = _strip(text, cut, hi)
        while hi - lo > limit:
            cut = _cut(text, lo, hi, limit)
            yield lo, _strip(text, lo, cut)[1]
            lo, _ = _strip(text, cut, hi)
        if lo < hi:
            yield lo, hi
        begun = True
        start = hi


def _mute_joined(pieces: Iterable[_Piece], limit: int) -> Iterator[_Piece]:
    """Yield pieces, those with nothing to speak with the one before, else with the one after."""
    last: _Piece | None = None
    pending = False
    for piece in pieces:
        mute = not has_speech(piece.text)
        if last is not None and (mute or pending) and (joined := _together(last, piece, limit)):
            last = joined
            pending = pending and mute
        else:
            if last is not None:
                yield last
            last = piece
            pending = mute
    if last is not None:
        yield last


def _packed(pieces: Iterable[_Piece], first: int, limit: int, short: int) -> Iterator[_Piece]:
    """Yield neighbours of one paragraph together, as long as they fit, and with theirs lines shorter than `short`."""
    last: _Piece | None = None
    room = first
    for piece in pieces:
        near = last is not None and (
            not last.paragraph or _few_words(last, short) or _few_words(piece, short)
        )
        if last is not None and near and (joined := _together(last, piece, room)):
            last = joined
            continue
        if last is not None:
            yield last
            room = limit
        last = piece
    if last is not None:
        yield last


def _few_words(piece: _Piece, short: int) -> bool:
    """Whether the piece, or the line at its end, is a line of a few words."""
    _, start, end = piece.ranges[-1]
    return piece.paragraph and end - start < short


def _together(piece: _Piece, after: _Piece, limit: int) -> _Piece | None:
    """Both in one, if that is not longer than `limit`."""
    *before, (source, start, end) = piece.ranges
    (next_source, next_start, next_end), *rest = after.ranges
    if source is next_source:
        ranges = (*before, (source, start, next_end), *rest)
    else:
        ranges = (*before, (source, start, end), (next_source, next_start, next_end), *rest)
    both = _Piece(ranges, after.paragraph)
    return both if both.length <= limit else None


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
_BLOCK_CHARS = 1_000
"""As much is given to sentencex at once: its time grows with the square of the text after an open quote."""

_ORDINAL = re.compile(r"(?<!\d)\d{1,3}\.\Z")
_CONTEXT = 200
"""Characters before a full stop that tell whether it ends a sentence."""


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


class Sentences:
    """Where sentences end in a text that is still being written, in one language (ISO 639-1)."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._no_end = _no_end(language)

    def end(self, text: str, end: int, after: int) -> bool:
        """Whether the full stop before `end` ends a sentence and no abbreviation; the next word begins at `after`."""
        if self._no_end.search(text, max(0, end - 16), after) or _ORDINAL.search(text, max(0, end - 8), end):
            return False
        start = max(0, end - _CONTEXT)
        found = sentencex.get_sentence_boundaries(self._language, text[start : after + 1])
        return any(end <= start + int(boundary["end_index"]) <= after for boundary in found)


def cut_between_words(text: str, at: int, limit: int) -> int:
    """Where to cut `text[:at]`, in which no sentence ends: with a clause, else between words, within `limit`."""
    low = max(0, at - limit)
    if ends := [m.end() for m in _CLAUSE_END.finditer(text, low + limit // 4, at)]:
        return ends[-1]
    if spaces := [m.start() for m in _BETWEEN_WORDS.finditer(text, low + limit // 4, at)]:
        return spaces[-1]
    return _cut(text, low, at + 1, at - low)


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
# Neither at a number nor at what may be an abbreviation.
_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_]{4})\s+(?=[^\W\d_]{3})")
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
