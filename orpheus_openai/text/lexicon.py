"""A lexicon: how words are said that a voice would say in another way."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from orpheus_openai.text.trace import Edit, Traced

EAST = "\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""East Asian scripts, which write without spaces: a character's range, for the brackets of a pattern."""
_EASTERN = re.compile(f"[{EAST}]")
_SPELT = re.compile(r"\s*(?P<words>[^\[\]]*?)\s*\[\[(?P<names>.*)\]\]\s*\Z", re.DOTALL)
_NAMES = re.compile(r"[A-Za-z0-9@',%=_:|~#!?;\"^*.&+/{}() -]{1,200}\Z")
"""Of phonemes, by eSpeak NG: https://github.com/espeak-ng/espeak-ng/blob/master/docs/phonemes.md"""

WINDOW = 500
"""Characters that are looked through at once. Where hundreds of entries begin alike each place costs thousands of
comparisons, and a search lets nobody else work before it ends."""


class Said(NamedTuple):
    """How a word is said."""

    words: str
    """In other words; empty: as it is written."""
    phonemes: str = ""
    """By eSpeak NG's names of phonemes, for who knows them."""


def parse_said(value: str) -> Said:
    """What an entry has for a word: other words, or with `[[…]]` at its end phonemes for the preview.

    Raises ValueError, in words for whoever wrote it, for phonemes that are none.
    """
    if "[[" not in value:
        return Said(value)
    found = _SPELT.match(value)
    if found is None:
        raise ValueError('phonemes stand at the end, as in "engine x [[,EndZIn\'Eks]]"')
    if not _NAMES.match(names := found["names"].strip()):
        raise ValueError(
            f"[[{names[:40]}]] are not phonemes: write eSpeak NG's own names in ASCII, such as [[h@l'oU]], as "
            "`espeak-ng -x` prints them; IPA is not taken"
        )
    return Said(found["words"], names)


class Lexicon:
    """Whole words and phrases; one that is written in lower case is found in any case, any other as it stands."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        """What is said for each; later entries go before earlier ones that differ in case alone.

        Raises ValueError as `parse_said` does, with the word.
        """
        self._said = {
            " ".join(word.split()): _parsed(word, said) for word, said in entries.items() if word.strip()
        }
        self._pattern = _pattern(self._said) if self._said else None
        self._longest = max(map(len, self._said), default=0)
        self.has_phonemes = any(said.phonemes for said in self._said.values())

    def said(self, text: Traced, spelt: Sequence["Lexicon"] = ()) -> Traced:
        """`text` with what is said in the place of each word that is listed, but for those with phonemes in `spelt`."""
        return text.edited(
            Edit(found.start(), found.end(), said)
            for found in self._found(text.text)
            if (said := self._say(found[0], spelt)) != found[0]
        )

    def _found(self, text: str) -> Iterator[re.Match[str]]:
        """What is listed, from one window to the next; each is looked at with all that could end a word in it."""
        start = 0
        while self._pattern is not None and start < len(text):
            end = start + WINDOW
            found = self._pattern.search(text, start, end + self._longest + 1)
            if found is None or found.start() >= end:
                start = end
                continue
            yield found
            start = found.end()

    def phonemes(self, word: str) -> str:
        """Those of a word as it stands in a text; empty: there are none."""
        return self._entry(word).phonemes

    def spelt(self, text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """Yield the words in `text[start:end]` that have phonemes: where each begins and ends, and these."""
        if self._pattern is not None and self.has_phonemes:
            for found in self._pattern.finditer(text, start, end):
                if names := self.phonemes(found[0]):
                    yield found.start(), found.end(), names

    def _entry(self, word: str) -> Said:
        return self._said.get(word) or self._said.get(word.lower()) or Said("")

    def _say(self, word: str, spelt: Sequence["Lexicon"]) -> str:
        if any(lexicon.phonemes(word) for lexicon in spelt):
            return word
        return self._entry(word).words or word


def _parsed(word: str, said: str) -> Said:
    try:
        return parse_said(said)
    except ValueError as error:
        raise ValueError(f"{word}: {error}") from error


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """The longest that fits is taken. At most places no word begins; they are passed over at once."""
    ordered = sorted(words, key=len, reverse=True)
    begun = "|".join(_one(word) for word in ordered if _parted(word[0])) or "(?!)"
    others = "|".join(_one(word) for word in ordered if not _parted(word[0])) or "(?!)"
    return re.compile(rf"(?<![\w<])(?:{begun})|(?:{others})")


def _one(word: str) -> str:
    after = r"(?!\w)" if _parted(word[-1]) else ""
    spelt = re.escape(word)
    return f"{f'(?i:{spelt})' if word == word.lower() else spelt}{after}"


def _parted(char: str) -> bool:
    return (char.isalnum() or char == "_") and not _EASTERN.match(char)
