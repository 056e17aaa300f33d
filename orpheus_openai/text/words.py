"""The words of a text: what is timed, marked while it sounds, and never parted in a caption."""

import re
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


def is_unspaced(char: str) -> bool:
    """Whether it is written without spaces to its neighbours, and is a word of its own."""
    return _UNSPACED_CHAR.match(char) is not None


def letters(text: str, word: Word) -> int:
    """How much of the word is spoken, roughly: its letters and digits, 1 at the least."""
    return max(sum(c.isalnum() for c in text[word.start : word.end]), 1)


def word_at(words: Sequence[Word], place: int) -> int:
    """Which word is at that place in the text, or the first after it; their number where there is none."""
    return bisect_left(words, place + 1, key=lambda word: word.end)
