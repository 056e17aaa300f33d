"""Cut a text into pieces that a synthesizer can speak one by one, at clauses where there are any."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SHORTEST_PIECE = 40
"""A clause that costs less (see `cost`) is spoken together with the next one; only the first may be shorter,
so that something of every text is heard soon."""

LONGEST_PIECE = 160
"""A clause that costs more is broken at a space: about 12 s of English."""

_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_PARAGRAPH = "\n\n"
# A dot after a short word may belong to an abbreviation, which is read together with what follows it.
_CLAUSE_END = re.compile(
    r"(?:(?<![,;:!?…])[,;:!?…]++|(?<=\w{5})\.++)[\"'”’»)\]]*+\s++|[，、；：。！？।॥]++[”’」』）]*+\s*+|\n\n"
)
_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")
_LATIN_END = 0x250
_SYLLABIC_START = 0x1100


class Piece(NamedTuple):
    """What is spoken in one go; no text at all: a short pause, where an emotion tag stood."""

    text: str
    broken_off: bool = False
    """The clause goes on in the next piece."""


PAUSE = Piece("")


def pieces(text: str, emotion_tags: Sequence[str]) -> list[Piece]:
    """Split `text` into pieces of bounded cost; a tag of `emotion_tags`, in angle brackets, is a PAUSE.

    Control characters count as spaces, and a blank line ends a clause; nothing but spaces has no pieces.
    """
    text = _SPACE.sub(lambda found: _PARAGRAPH if found[0].count("\n") > 1 else " ", text)
    if not emotion_tags:
        return list(_spoken(text))
    tag = re.compile(rf"<(?:{'|'.join(map(re.escape, emotion_tags))})>", re.IGNORECASE)
    found: list[Piece] = []
    for index, part in enumerate(tag.split(text)):
        if index:
            found.append(PAUSE)
        found.extend(_spoken(part))
    return found


def cost(text: str) -> int:
    """Estimate how long `text` takes to say, in letters of English (about 75 ms each), rather high than low.

    Digits, symbols and emoji are read as words, and letters of a foreign script by their names.
    """
    return sum(map(_weight, text))


def _weight(character: str) -> int:
    if not (character.isalpha() or character.isspace()) or ord(character) >= _SYLLABIC_START:
        return 1 if character in "'’-.,;:!?" else 4
    return 1 if ord(character) < _LATIN_END else 2


def _spoken(text: str) -> Iterator[Piece]:
    """Split a text without tags into its clauses, short ones joined and long ones broken."""
    start = clause = total = 0
    for end in [*(match.end() for match in _CLAUSE_END.finditer(text)), len(text)]:
        weight = cost(text[clause:end])
        if total and total + weight > LONGEST_PIECE:
            yield from _broken(text[start:clause].strip())
            start, total = clause, 0
        clause = end
        total += weight
        if total >= SHORTEST_PIECE or start == 0:
            yield from _broken(text[start:end].strip())
            start, total = end, 0
    yield from _broken(text[start:].strip())


def _broken(clause: str) -> Iterator[Piece]:
    """Cut `clause` into pieces that cost no more than LONGEST_PIECE."""
    start = total = 0
    for index, character in enumerate(clause):
        weight = _weight(character)
        if total + weight > LONGEST_PIECE:
            end = _break(clause, start, index)
            yield Piece(clause[start:end].strip(), broken_off=True)
            start, total = end, cost(clause[end:index])
        total += weight
    if rest := clause[start:].strip():
        yield Piece(rest)


def _break(clause: str, start: int, end: int) -> int:
    """Find where to cut `clause[start:end]`: the last space of its second half, else any character."""
    middle = (start + end) // 2
    if (space := clause.rfind(" ", middle, end)) > 0:
        return space
    for cut in range(end, middle, -1):
        if not (_joins(clause[cut]) or clause[cut - 1] in _JOINERS):
            return cut
    return end


def _joins(character: str) -> bool:
    """Whether `character` only makes sense with the one before it."""
    return character in _JOINERS or unicodedata.category(character).startswith("M")
