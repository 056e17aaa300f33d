"""The words of a text: what is timed, marked while it sounds, and never parted in a caption."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_TAG = r"<\s?/?\w{1,32}\s?/?>"
# Written without spaces: Chinese and Japanese.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"(?P<tag>{_TAG})|[{_UNSPACED}]|[^\s{_UNSPACED}<]+|<")
_UNSPACED_CHAR = re.compile(f"[{_UNSPACED}]")
_SOUNDS = re.compile(r"\w")
# What stands around a word and is none of it; signs that are spoken, such as % and €, stay.
_BEFORE = re.compile(r"[^\w$£€¥₹₩%&@#°+<\u0900-\u097f-]*")
_AFTER = re.compile(r"[^\w$£€¥₹₩%‰°+\u0900-\u0963\u0970-\u097f]*\Z")
_OPENING = frozenset({"Ps", "Pi"})
_PLAIN_DASH = re.compile(r"-+(?=\D|\Z)")


class Word(NamedTuple):
    """Where a word stands in a text, in characters; marks around it are none of it."""

    start: int
    end: int


class Words(NamedTuple):
    """The words of a text, and where among them its tags stand."""

    words: tuple[Word, ...]
    tags: frozenset[int]
    """Before which words: 0 for the first, their number for a tag after the last."""


def words_of(text: str, emotion_tags: Sequence[str] = ()) -> Words:
    """The words of `text`: what stands between spaces, and every character of Chinese.

    `emotion_tags` are names without brackets; a tag is no word.
    """
    tags = {name.casefold() for name in emotion_tags}
    words: list[Word] = []
    places: set[int] = set()
    for match in _WORD.finditer(text):
        if match["tag"] and match["tag"].strip("</> ").casefold() in tags:
            places.add(len(words))
            continue
        words += _trimmed(text, match.start(), match.end())
    return Words(tuple(words), frozenset(places))


def _trimmed(text: str, start: int, end: int) -> Iterator[Word]:
    """The word without the marks around it, if it is one."""
    piece = text[start:end]
    if not _SOUNDS.search(piece):
        return
    before = _BEFORE.match(piece)
    first = before.end() if before else 0
    if dash := _PLAIN_DASH.match(piece, first):
        first = dash.end()
    after = _AFTER.search(piece, first)
    yield Word(start + first, start + (after.start() if after else len(piece)))


class Unit(NamedTuple):
    """What no line break parts: a word with the marks around it, or a tag; where it stands, in characters."""

    start: int
    end: int
    is_tag: bool


def units_of(text: str, emotion_tags: Sequence[str] = ()) -> list[Unit]:
    """`text` without its white space, in the smallest parts that may stand on lines of their own."""
    tags = {name.casefold() for name in emotion_tags}
    units: list[Unit] = []
    opened: int | None = None
    for match in _WORD.finditer(text):
        start, end = match.span()
        if match["tag"] and match["tag"].strip("</> ").casefold() in tags:
            units.append(Unit(start, end, is_tag=True))
            opened = None
            continue
        opens = match[0] == "<" or unicodedata.category(match[0][0]) in _OPENING
        touches = bool(units) and units[-1].end == start and not units[-1].is_tag
        if opened is None and touches and not opens and not _SOUNDS.search(match[0]):
            units[-1] = units[-1]._replace(end=end)
            continue
        start = start if opened is None else opened
        opened = None
        if end < len(text) and not text[end].isspace() and (match[0] == "<" or _only_opens(match[0])):
            opened = start
            continue
        units.append(Unit(start, end, is_tag=False))
    return units


def _only_opens(piece: str) -> bool:
    return all(unicodedata.category(char) in _OPENING for char in piece)


def is_unspaced(char: str) -> bool:
    """Whether it is written without spaces to its neighbours, and is a word of its own."""
    return _UNSPACED_CHAR.match(char) is not None


def letters(text: str, word: Word) -> int:
    """How much of the word is spoken, roughly: its letters and digits, 1 at the least."""
    return max(sum(c.isalnum() for c in text[word.start : word.end]), 1)


def word_at(words: Sequence[Word], place: int) -> int:
    """Which word is at that place in the text, or the first after it; their number where there is none."""
    return bisect_left(words, place + 1, key=lambda word: word.end)
