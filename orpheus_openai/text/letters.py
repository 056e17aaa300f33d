"""Letters that a voice has no sound for, said by the names that Unicode has for them: `ᏣᎳᎩ` is *tsa la gi*."""

import re
import unicodedata

from orpheus_openai.text.trace import Traced

_LETTERS = frozenset({"Lu", "Ll", "Lt", "Lo", "Nl"})
_ATTACHED = frozenset({"Lm", "Mn", "Mc"})
"""Modifier letters, vowel signs and the like: they say something of the letter beside them."""
_STOPS = "Ꞌꞌ"
"""Such letters, too: the saltillo of Mexico's languages is written as an apostrophe is."""
_PREFIX = re.compile(
    r".*\b(?:(?:LETTER|SYLLABLE|SYLLABICS|SIGN|VOWEL|CHOSEONG|JUNGSEONG|JONGSEONG) |(?=IDEOGRAPH|CHARACTER|COMPONENT))"
)
"""What a name begins with that is no name of the letter itself."""
_NUMBER = re.compile(r"-(?=[0-9A-F]*\d)([0-9A-F]+)$")


def by_name(text: Traced, soundless: re.Pattern[str]) -> Traced:
    """`text` with names for the letters of what `soundless` finds; whatever else it finds stays."""
    return text if text.text.isascii() else text.sub(soundless, _named)


def _named(found: re.Match[str]) -> str:
    start, end = found.span()
    before, after = found.string[max(start - 1, 0) : start], found.string[end : end + 1]
    alone = not (before.isalnum() or after.isalnum())
    named = False
    said = ""
    for char in found[0]:
        category = "Lm" if char in _STOPS else unicodedata.category(char)
        if category in _LETTERS or (category in _ATTACHED and (named or alone)):
            said += f" {_name(char)}"
            named = True
        else:
            said += char
    if not named:
        return found[0]
    said = said.removeprefix(" ")
    return f"{' ' * before.isalnum()}{said}{' ' * after.isalnum()}"


def _name(char: str) -> str:
    name = _PREFIX.sub("", unicodedata.name(char, f"LETTER-{ord(char):X}"), count=1)
    return _NUMBER.sub(lambda number: f" {' '.join(number[1])}", name).replace("-", " ").lower()
