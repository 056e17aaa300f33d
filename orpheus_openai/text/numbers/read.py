"""Figures and signs in a text, given in words: money, dates, times, units, and whatever else people count with."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from orpheus_openai.text.numbers.amounts import SIGNS, Amounts
from orpheus_openai.text.numbers.between import Between
from orpheus_openai.text.numbers.dates import Dates
from orpheus_openai.text.numbers.gender import gender_of
from orpheus_openai.text.numbers.names import Names
from orpheus_openai.text.numbers.numerals import Numerals
from orpheus_openai.text.numbers.ordinals import Ordinals, is_vowel_ended
from orpheus_openai.text.numbers.rules import END, LATIN, START, Rule, always, rule
from orpheus_openai.text.numbers.words import NumberWords, number_words
from orpheus_openai.text.trace import Traced

_NEXT_WORD = re.compile(r" ([^\W\d_]+)")
_KOREAN_SINO = re.compile(r"\s?시(?!간)")
_NATIVE_HOURS = 12
"""Up to which hours have Korean's own numbers."""
_ITALIAN_UNO = re.compile(r"(?:s[^aeiou]|z|gn|ps|pn|x|y)", re.IGNORECASE)


def in_words(text: Traced, language: str) -> Traced:
    """`text` with its figures and signs in words; as it is in a language without a table of them."""
    found = _rules(language)
    if found is None or not (_SOMETHING.search(text.text) or found.words.search(text.text)):
        return text
    for pattern, say in found.rules:
        text = text.sub(pattern, say)
    return text


# Digits, full stops (of abbreviations), and whatever is neither letter nor space nor a mark of a sentence.
_SOMETHING = re.compile(
    r"[\d.]|(?![,;:!?'’\"“”„«»()\-–—…、，。！？：；（）「」।<>])[^\w\s]|\([\uac00-\ud7a3]\)|[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒⅟↉༳⁰¹²³⁴-⁹µπ元円]"
)


_EXPONENT = r"[⁺⁻]?(?:[⁰¹⁴-⁹]|[²³](?=[⁰¹²³⁴-⁹]))[⁰¹²³⁴-⁹]*|[⁺⁻][²³]"
"""Raised figures, but for ² and ³ alone, which have names."""
_BASE = re.compile(rf"(?:[\d)]|(?<![^\W_])[{LATIN}Α-Ωα-ω]{{1,2}})$")
_BASE_LENGTH = 3
"""What has to be seen to tell a variable from a word, which a raised figure is a footnote of."""

_NAMED = r"[\u2200-\u22ff\u2a00-\u2aff℄℈℔℗℞℟℠℣℥℧℮℺⅊⅌⅍⅏⅟↉༳]"
"""Mathematical operators, and what is written for a word: said by their names."""
_PUNCTUATING = frozenset("∕∖∗∙∣∥∶∷∼⋅⋮⋯⋰⋱")
"""Operators that are written for marks of other names."""


def tables_are_read(language: str) -> bool:
    """Whether the tables of a language have been read: the first time takes longer than other work on a text."""
    return language in _read


_read: set[str] = set()


class _Rules(NamedTuple):
    """What is done with the texts of one language."""

    rules: list[Rule]
    words: re.Pattern[str]
    """Whatever is changed though it has no figure, full stop or sign in it."""


@cache
def _rules(language: str) -> _Rules | None:
    words = number_words(language)
    found = None
    if words:
        plain = [short for short in words.table.abbreviations if short.isalpha()]
        alone = "|".join([*map(re.escape, plain), "si[èe]cle|[Ss]iglo|secolo", *words.table.before_names])
        found = _Rules(list(_LanguageRules(words).rules()), re.compile(rf"(?<!\w)(?:{alone})(?!\w)"))
    _read.add(language)
    return found


class _LanguageRules:
    """The rules of one language, each for one kind of thing, in the order in which they are tried."""

    def __init__(self, words: NumberWords) -> None:
        self.words = words
        self.table = words.table
        self.language = words.language
        self.numerals = Numerals(words)
        self.space = self.numerals.space

    def rules(self) -> Iterator[Rule]:
        names, between, amounts = Names(self.words), Between(self.words, SIGNS), Amounts(self.numerals)
        yield from names.abbreviations()
        yield from names.marked()
        yield from amounts.lengths()
        yield from between.early()
        yield from Dates(self.words).rules()
        yield from names.unmarked()
        yield from between.late()
        yield from Ordinals(self.numerals).rules()
        yield from amounts.money()
        yield from amounts.measures()
        yield from self._plain()
        yield from self._signs()

    # --- what is left of numbers ----------------------------------------------------------------------------

    def _plain(self) -> Iterator[Rule]:
        yield rule(_EXPONENT, self._raised)
        yield from self._arithmetic()
        yield rule(r"(?<=\d)/(?=\d)", always(" "))
        yield from self._years()
        yield from self._counts()
        number = self.numerals.pattern
        if self.language == "zh":
            yield rule(r"(?<=第)\d{1,15}(?!\d)", lambda m: self.words.cardinal(m[0]))
            yield rule(r"(?<!\d)\d0(?=后)", lambda m: self.words.digits(m[0]))
        if self.table.decimal == ".":
            yield rule(r"(?<![\w.])\.(?=\d)", always(f"{self.table.point}{self.space}"))
        yield rule(rf"{START}{number}(?![\d])(?![{LATIN}])", self._number)
        yield rule(r"(?<=\w),(?=\d)", always(", "))
        yield rule(rf"(?<![{LATIN}\d])\d+(?![{LATIN}\d])", self._number)

    def _arithmetic(self) -> Iterator[Rule]:
        table, space = self.table, self.space
        before = "" if self.language == "ko" else space  # a particle
        if table.multiplied:
            yield rule(
                rf"{START}(\d{{1,6}})x(?!\w)",
                lambda m: table.multiplied.format(
                    self.words.cardinal(m[1], "f" if self.language == "es" else "m")
                ),
            )
        yield rule(r"(?<=\d)\s?[–—]\s?(?=\d)", always(f"{before}{table.range}{space}"))
        yield rule(r"(?<=\d)\s?[*×]\s?(?=\d)|(?<=\d) x (?=\d)", always(f"{space}{table.times}{space}"))
        yield rule(r"(?<=[\d)])\s?÷\s?(?=[\d(])", always(f"{space}{table.divided}{space}"))
        yield rule(
            r"(?<=[\w)²³])\s?\+\s?(?=[\d(])|(?<=[\w)²³]) \+ (?=\w)", always(f"{space}{table.plus}{space}")
        )
        yield rule(r"(?<=\d)\+(?![\w+])", always(f"{space}{table.plus}"))
        yield rule(
            r"(?<=[\w)²³])\s?=\s?(?=[\d(])|(?<=[\w)²³]) = (?=[\w-])",
            lambda m: f"{before}{self._equals(m)}{space}",
        )
        yield rule(r"(?<=[\d)]) [-−] (?=[\d(])", always(f"{space}{table.less or table.minus}{space}"))
        yield rule(r"(?<![\w)])[-−](?=\d)", always(f"{table.minus}{self.space}"))
        yield rule(r"(?<![\w~])~\s?(?=\d)", always(f"{table.about or table.signs['≈']}{space}"))

    def _raised(self, found: re.Match[str]) -> str:
        """10⁻³; what is raised after a word, or stands alone, is a figure of its own."""
        figures = unicodedata.normalize("NFKC", found[0])
        number = figures.lstrip("+−")
        said = (self.table.minus + self.space if figures[0] == "−" else "") + self.words.cardinal(number)
        before = "" if self.language in ("ko", "zh") else " "
        if _BASE.search(found.string[max(0, found.start() - _BASE_LENGTH) : found.start()]):
            return before + self.table.power.format(said)
        return f" {said} "

    def _equals(self, found: re.Match[str]) -> str:
        if self.language != "ko":
            return self.table.equals
        return "는" if is_vowel_ended(found.string[found.start() - 1]) else "은"

    def _years(self) -> Iterator[Rule]:
        until = {"en": "1[1-9]|20", "de": "1[1-9]", "hi": "1[1-9]"}.get(self.language)
        if until:
            yield rule(rf"{START}(?:{until})\d\d{END}(?![.,]\d)", lambda m: self.words.year(m[0]))

    def _counts(self) -> Iterator[Rule]:
        """Numbers that have another form before what is counted."""
        table = self.table
        if table.native_counters:
            yield rule(r"(?<![\d.,])([1-9]0)(?=대(?!\s?\d))", lambda m: self.words.cardinal(m[1]))
            yield rule(
                rf"(?<![\d.,제])(?<!제 )(\d{{1,2}})(?P<space>(?=\s))?(?=\s?(?:{table.native_counters}))",
                self._counted,
            )
        if self.language == "it":
            yield rule(rf"{START}1 (?=([aeiou]\w{{2,}}))", self._elided)
        if table.two_counters:
            yield rule(rf"(?<![\d.,第])2(?={table.two_counters})", always("两"))

    def _counted(self, found: re.Match[str]) -> str:
        number = int(found[1])
        sino = _KOREAN_SINO.match(found.string, found.end()) and number > _NATIVE_HOURS
        space = "" if found["space"] is not None else " "
        if number == 0 or sino:
            return self.words.cardinal(found[1]) + space
        return self.words.native(number) + space

    def _elided(self, found: re.Match[str]) -> str:
        return "un'" if gender_of(self.language, found[1]) == "f" else "un "

    def _number(self, found: re.Match[str]) -> str:
        after = _NEXT_WORD.match(found.string, found.end())
        if after is None:
            return self.numerals.cardinal(found[0])
        said = self.numerals.cardinal(found[0], gender_of(self.language, after[1]))
        if self.language == "it" and said == "un" and _ITALIAN_UNO.match(after[1]):
            return "uno"
        return said

    # --- what is left of signs ------------------------------------------------------------------------------

    def _signs(self) -> Iterator[Rule]:
        named = {sign: name for sign, name in self.table.signs.items() if sign != "#"}
        named["№"] = self.table.number
        space = self.space
        yield rule(
            rf"\s?([{re.escape(''.join(named))}])\s?",
            lambda m: f"{space}{named[m[1]]}{space}" if named[m[1]] else " ",
        )
        yield rule(rf"\s?({_NAMED})\s?", _by_name)
        signs = rf"[{re.escape(SIGNS)}\$]"
        yield rule(rf"\s?({signs})\s?", lambda m: f" {self.words.currency(m[1], '2')[0]} ")
        yield rule(
            r"\s?([%％‰])\s?",
            lambda m: f" {(self.table.permille if m[1] == '‰' else self.table.percent).format('')} ",
        )


def _by_name(found: re.Match[str]) -> str:
    """A sign that the tables do not name, by Unicode's name."""
    sign = found[1]
    if sign in _PUNCTUATING:
        return found[0]
    return f" {unicodedata.name(sign, sign).lower().removesuffix(' sign').removesuffix(' symbol')} "
