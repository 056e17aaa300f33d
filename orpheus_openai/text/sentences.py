"""Where a sentence ends: by sentencex, and by what it does not know."""

import re
from collections.abc import Iterator
from functools import cache

import sentencex

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

PART_CHARS = 80
"""Of a segment that is spoken one by one, so many characters at a time: a whole one is up to 0.8 MB of sound for each
listener, and 5 s of it are enough in hand."""

_ORDINAL = re.compile(r"(?<!\d)\d{1,3}\.\Z")
_CONTEXT = 200
"""Characters before a full stop that tell whether it ends a sentence."""


def sentence_ends(text: str, start: int, end: int, language: str) -> Iterator[int]:
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


def sentence_parts(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Ranges of whole sentences that cover `text`, each of PART_CHARS characters or a little more."""
    start = 0
    for end in sentence_ends(text, 0, len(text), language):
        if end - start >= PART_CHARS or end == len(text):
            yield start, end
            start = end


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
