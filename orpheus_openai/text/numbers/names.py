"""Abbreviations, and numbers that are names: telephone and article numbers, versions."""

import re
from collections.abc import Iterator, Mapping
from functools import partial

from orpheus_openai.text.numbers.rules import LATIN, Rule, always, rule
from orpheus_openai.text.numbers.words import NumberWords

_FEWEST, _MOST = 8, 13
"""Digits of a telephone number that is written as people of its country write it."""

_ALONE = rf"(?<![{LATIN}\d])(?<![\d{LATIN}][.,:/+-])"
_POINTS = {"de": "Punkt", "fr": "point", "es": "punto", "it": "punto"}
_TEXT_ENDS = re.compile(r"\s*$")
_SENTENCE_ENDS = re.compile(r'\s*$|\s+[A-ZÀ-Ý«“"]')
_LAST = frozenset({"usw.", "etc.", "o. Ä.", "o.Ä."})
_OWN_PHONES = {
    "zh": [r"1[3-9]\d{9}"],
    "hi": [r"[6-9]\d{9}", r"[6-9]\d{4} \d{5}"],
    "en": [r"[2-9]\d\d-\d{2}(?!00)\d{2}"],
}
"""Telephone numbers that do not begin with 0."""


class Names:
    """The rules of one language."""

    def __init__(self, words: NumberWords) -> None:
        self.words = words
        self.table = words.table
        self.language = words.language
        self.space = "" if self.language == "zh" else " "

    def abbreviations(self) -> Iterator[Rule]:
        """The longest first: `Sig.ra` before `Sig.`."""
        table = self.table
        if table.before_numbers:
            short = _any_of(table.before_numbers)
            yield rule(rf"(?<![\w.])({short})\s?(?=\d)", lambda m: f"{table.before_numbers[m[1]]} ")
        if table.before_names:
            short = _any_of(table.before_names)
            yield rule(rf"(?<![\w.])({short})[ -](?=[A-ZÀ-Ý])", lambda m: f"{table.before_names[m[1]]} ")
        if table.abbreviations:
            yield rule(rf"(?<![\w.])({_any_of(table.abbreviations)})", self._in_full)

    def _in_full(self, found: re.Match[str]) -> str:
        """At the end of a sentence its full stop is the sentence's, too; a title's never is."""
        short = found[1]
        long = self.table.abbreviations[short]
        if not (short.endswith(".") and short[0].islower()):
            return long
        # German nouns have capitals, too: there they tell of a new sentence only after what ends one.
        ends = _TEXT_ENDS if self.language == "de" and short not in _LAST else _SENTENCE_ENDS
        return f"{long}." if ends.match(found.string, found.end()) else long

    def marked(self) -> Iterator[Rule]:
        """Numbers with a sign that says what they are."""
        yield rule(r"(?<![\w+])\+\d[\d ()./-]{5,20}\d(?!\w)", self._phone)
        yield rule(r"(?<![\w(])\(\d{3}\) ?\d{3}[-. ]\d{4}(?!\w)", self._phone)
        if self.table.ordered:
            form = self.table.ordered
            yield rule(r"(?:№ ?|(?<![\w&#])#)(\d+)", lambda m: form.format(self.words.cardinal(m[1])))
        name = f"{self.table.number} "
        yield rule(rf"(?:№|(?<!\w)(?:{self.table.number_marks})) ?(?=\d)", always(name))
        yield rule(r"(?<![\w&#])#(?=\d)", always(name))
        yield rule(rf"(?<![{LATIN}\d])([vV])\.?(?=\d+\.\d)", lambda m: f"{m[1]} ")

    def unmarked(self) -> Iterator[Rule]:
        """Numbers whose form says what they are; dates have been told before."""
        end = rf"(?![{LATIN}\d])(?!-\d)"
        yield rule(rf"{_ALONE}0\d{{1,5}}(?:[ ./-]\d{{2,8}}){{1,5}}{end}(?![/.]\d)", self._national)
        yield rule(rf"{_ALONE}\d+(?:-\d+){{2,}}{end}", self._phone)
        for pattern in _OWN_PHONES.get(self.language, ()):
            yield rule(rf"{_ALONE}{pattern}{end}(?![.,]\d)", self._phone)
        if self.language == "en":
            yield rule(
                r"(?<!\w)((?:[Cc]all|[Dd]ial)(?:ed|ing)? )(\d{3,})(?![\w%]|[.,:]\d)",
                lambda m: m[1] + self.words.digits(m[2]),
            )
        # Where a point parts groups of digits, 1.000.000 is a number.
        grouped = r"(?!\d{1,3}(?:\.\d{3})+(?![\d.]))" if "." in self.table.groups else ""
        yield rule(
            rf"(?<![{LATIN}\d])(?<!\d[.,:/]){grouped}\d+(?:\.\d+){{2,}}(?![{LATIN}\d])",
            partial(_said_version, self.words),
        )

    def _national(self, found: re.Match[str]) -> str:
        figures = sum(char.isdigit() for char in found[0])
        return self._phone(found) if _FEWEST <= figures <= _MOST else found[0]

    def _phone(self, found: re.Match[str]) -> str:
        return self.phone(found[0])

    def phone(self, number: str) -> str:
        """A telephone number, group by group."""
        groups = [self._group(group) for group in re.findall(r"\d+", number)]
        said = ("，" if self.language == "zh" else ", ").join(groups)
        return f"{self.table.plus}{self.space}{said}" if number.lstrip().startswith("+") else said

    def _group(self, figures: str) -> str:
        """In French by pairs, elsewhere digit by digit."""
        pair = self.language == "fr" and re.fullmatch(r"[1-9]\d?", figures)
        return self.words.cardinal(figures) if pair else self.words.digits(figures)


def _said_version(words: NumberWords, found: re.Match[str]) -> str:
    space = "" if words.language == "zh" else " "
    point = _POINTS.get(words.language, words.table.point)
    return f"{space}{point}{space}".join(words.cardinal(part) for part in found[0].split("."))


def _any_of(table: Mapping[str, str]) -> str:
    """The abbreviations of a table, the longest first; one without a full stop is a whole word."""
    ordered = sorted(table, key=len, reverse=True)
    return "|".join(re.escape(short) + (r"(?!\w)" if short[-1].isalnum() else "") for short in ordered)
