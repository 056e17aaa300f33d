"""Ordinals, decades, centuries and fractions."""

import re
from collections.abc import Iterator

from orpheus_openai.text.numbers.dates import german_ending
from orpheus_openai.text.numbers.numerals import Numerals
from orpheus_openai.text.numbers.rules import END, LATIN, START, Rule, always, rule

_TENS = dict(
    zip(
        "234567890",
        (
            "twenties",
            "thirties",
            "forties",
            "fifties",
            "sixties",
            "seventies",
            "eighties",
            "nineties",
            "hundreds",
        ),
        strict=True,
    )
)
_DECADE_AFTER = (
    r"(?<!\w)(?P<before>(?:[Tt]he|[Mm]id|[Ee]arly|[Ll]ate|[Ii]n (?:his|her|their|my|your))[ -]|['’])"
)

_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5), "⅘": (4, 5),
    "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9),
    "⅒": (1, 10),
}  # fmt: skip
HINDI_ENDINGS = {
    "ा": ("ला", "रा", "था", "ठा", "वाँ", "वां"),
    "ी": ("ली", "री", "थी", "ठी", "वीं", "वी"),
    "े": ("ले", "रे", "थे", "ठे", "वें", "वे"),
}
"""What is written after the figures of an ordinal, by the vowel that gender and case give it."""
_MOST_PARTS = 10
"""Parts of a whole that have a name; 9/11 is no fraction."""

_JOINTS = {"en": " and ", "fr": " et ", "es": " y ", "it": " e ", "zh": "又"}
"""Between a whole and its fraction."""
_HALVES = {"en": " and a half", "de": "einhalb", "fr": " et demi", "es": " y medio", "it": " e mezzo"}
"""And a half."""
_HINDI_MIXED = {(1, 1, 2): "डेढ़", (2, 1, 2): "ढाई", (1, 1, 4): "सवा"}

_ROMAN = {"M": 1000, "D": 500, "C": 100, "L": 50, "X": 10, "V": 5, "I": 1}


def is_vowel_ended(figure: str) -> bool:
    """Whether the Korean name of a number that ends in this figure ends in a vowel, which chooses the particle."""
    return figure in "2459"


class Ordinals:
    """The rules of one language."""

    def __init__(self, numerals: Numerals) -> None:
        self.numerals = numerals
        self.words = numerals.words
        self.language = numerals.language

    def rules(self) -> Iterator[Rule]:
        """In the order in which they are tried."""
        yield from getattr(self, f"_rules_{self.language}", tuple)()
        vulgar = "".join(_VULGAR)
        yield rule(rf"(?:(?<![\d.,])(\d{{1,9}}) ?)?([{vulgar}])", self._vulgar)
        yield rule(
            rf"{START}(?<!/)(?:(\d{{1,3}}) )?(\d{{1,2}})[/⁄](\d{{1,2}}){END}(?![/⁄]|[.,]\d)", self._fraction
        )

    def _rules_en(self) -> Iterator[Rule]:
        words = self.words
        yield rule(rf"{START}(\d{{1,9}})(?:st|nd|rd|th){END}", lambda m: words.ordinal(int(m[1])))
        yield rule(rf"{START}([12]\d)(\d)0['’]?s{END}", lambda m: f"{self._century(m[1])} {_TENS[m[2]]}")
        yield rule(rf"{_DECADE_AFTER}(?P<ten>[2-9])0['’]?s{END}", self._decade)
        yield rule(rf"{START}(\d)0['’]s{END}", lambda m: _TENS[m[1]])
        yield rule(rf"{START}1(0{{2,3}})s(?= of\b)", lambda m: "hundreds" if m[1] == "00" else "thousands")

    def _decade(self, found: re.Match[str]) -> str:
        return found["before"].strip("'’") + _TENS[found["ten"]]

    def _century(self, figures: str) -> str:
        return self.words.cardinal(figures) if figures != "20" else "two thousand"

    def _rules_fr(self) -> Iterator[Rule]:
        words = self.words
        yield rule(
            rf"{START}1(ers?|res?|ères?){END}",
            lambda m: (
                words.ordinal(1, "masculine" if m[1].startswith("er") else "feminine")
                + ("s" if m[1].endswith("s") else "")
            ),
        )
        yield rule(rf"{START}2n?de?{END}", lambda m: "seconde" if m[0].endswith("e") else "second")
        yield rule(rf"{START}(\d{{1,9}})(?:i?[èe]me|e)(s?){END}", lambda m: words.ordinal(int(m[1])) + m[2])
        yield rule(
            r"(?<!\w)([IVXLC]{1,8})(?:e|ème|er)(?= si[èe]cle)", lambda m: words.ordinal(_from_roman(m[1]))
        )
        yield rule(
            rf"{START}(\d+)\s?(h|j)/(\d+)(?:\s?h)?{END}",
            lambda m: f"{m[1]} {'heures' if m[2] == 'h' else 'jours'} sur {m[3]}",
        )

    def _rules_es(self) -> Iterator[Rule]:
        yield rule(rf"{START}([13])\.?er{END}", lambda m: "primer" if m[1] == "1" else "tercer")
        yield from self._with_raised_letter()
        yield rule(
            r"(?<=\b[Ss]iglo )([IVXLC]{1,8})(?!\w)",
            lambda m: self.words.cardinal(str(_from_roman(m[1]))),
        )

    def _rules_it(self) -> Iterator[Rule]:
        yield from self._with_raised_letter()
        yield rule(r"(?<!\w)([IVXLC]{1,8})(?= secolo)", lambda m: self.words.ordinal(_from_roman(m[1])))
        yield rule(r"(?<!\w)['’](?=\d0(?!\d))", always(""))  # gli anni '90

    def _with_raised_letter(self) -> Iterator[Rule]:
        yield rule(
            rf"{START}(\d{{1,4}})\.?([ºªo°a]){END}(?! ?C)",
            lambda m: self.words.ordinal(int(m[1]), "feminine" if m[2] in "ªa" else "masculine"),
        )

    def _rules_de(self) -> Iterator[Rule]:
        words = self.words
        yield rule(rf"{START}(\d{{1,4}})er{END}", lambda m: words.year(m[1]) + "er")
        yield rule(
            rf"{START}(\d{{1,2}})\.(?= Jahrhundert)", lambda m: words.ordinal(int(m[1]), german_ending(m))
        )
        before = "der|die|das|den|dem|des|am|im|vom|zum|zur|beim"
        yield rule(
            rf"(?<![{LATIN}])(?P<before>(?i:{before}) )(\d{{1,3}})\.(?= [A-ZÄÖÜ])",
            lambda m: m["before"] + words.ordinal(int(m[2]), _after(m["before"])),
        )

    def _rules_hi(self) -> Iterator[Rule]:
        endings = "|".join(ending for forms in HINDI_ENDINGS.values() for ending in forms)
        yield rule(rf"(?<![\d.,:/])(\d{{1,4}})-?({endings})(?![\u0900-\u097f])", self._hindi_ordinal)

    def _hindi_ordinal(self, found: re.Match[str]) -> str:
        end = next(vowel for vowel, forms in HINDI_ENDINGS.items() if found[2] in forms)
        said = self.words.ordinal(int(found[1]))
        nasal = "ँ" if end == "ा" else "ं"
        return said[:-2] + end + nasal if said.endswith("ाँ") else said[:-1] + end

    # --- fractions ------------------------------------------------------------------------------------------

    def _vulgar(self, found: re.Match[str]) -> str:
        over, under = _VULGAR[found[2]]
        return self._mixed(found[1], over, under) if found[1] else self.words.fraction(over, under)

    def _fraction(self, found: re.Match[str]) -> str:
        over, under = int(found[2]), int(found[3])
        if not 0 < over < under <= _MOST_PARTS:
            return found[0]
        return self._mixed(found[1], over, under) if found[1] else self.words.fraction(over, under)

    def _mixed(self, whole: str, over: int, under: int) -> str:
        """A whole number and a fraction."""
        if self.language == "hi" and (said := self._mixed_hindi(int(whole), over, under)):
            return said
        said = self.words.cardinal(
            whole, "n" if self.language == "de" else "m" if self.language == "es" else ""
        )
        if (over, under) == (1, 2) and self.language in _HALVES:
            if self.language == "es" and whole == "1":
                said = "uno"
            return said + _HALVES[self.language]
        part = self.words.fraction(over, under)
        if self.language == "ko":
            return f"{said}{'와' if is_vowel_ended(whole[-1]) else '과'} {part}"
        return said + _JOINTS.get(self.language, " ") + part

    def _mixed_hindi(self, whole: int, over: int, under: int) -> str | None:
        """Hindi has words of its own for a quarter and a half more, and for a quarter less."""
        if (whole, over, under) in _HINDI_MIXED:
            return _HINDI_MIXED[whole, over, under]
        words = {(1, 2): "साढ़े", (1, 4): "सवा", (3, 4): "पौने"}
        if (over, under) not in words:
            return None
        return f"{words[over, under]} {self.words.cardinal(str(whole + ((over, under) == (3, 4))))}"


def _after(before: str) -> str:
    """The letter that follows the stem's e of a German ordinal."""
    return "" if before.strip().lower() in ("der", "die", "das") else "n"


def _from_roman(numeral: str) -> int:
    values = [_ROMAN[letter] for letter in numeral]
    return sum(
        -value if value < max(values[place:], default=0) else value for place, value in enumerate(values)
    )
