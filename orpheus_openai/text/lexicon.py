"""A lexicon: how words are said that a voice would say in another way."""

import re
from collections.abc import Mapping

from orpheus_openai.text.trace import Traced

# Scripts without spaces part no words.
_EAST = re.compile("[\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")


class Lexicon:
    """Whole words and phrases; one that is written in small letters is found in any case, any other as it stands."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        """What is said for each; later entries go before earlier ones that differ in case alone."""
        self._exact = {" ".join(word.split()): said for word, said in entries.items() if word.strip()}
        self._pattern = _pattern(self._exact) if self._exact else None

    def said(self, text: Traced) -> Traced:
        """`text` with what is said in the place of each word that is listed."""
        return text.sub(self._pattern, self._say) if self._pattern else text

    def _say(self, found: re.Match[str]) -> str:
        word = found[0]
        return self._exact.get(word) or self._exact.get(word.lower()) or word


def _pattern(words: Mapping[str, str]) -> re.Pattern[str]:
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
    return (char.isalnum() or char == "_") and not _EAST.match(char)
