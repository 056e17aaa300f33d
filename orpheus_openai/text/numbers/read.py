"""Figures and signs in a text, given in words: money, dates, times, units, and whatever else people count with."""

import re
from collections.abc import Iterator
from functools import cache

from orpheus_openai.text.numbers.dates import Dates, german_ending
from orpheus_openai.text.numbers.rules import END, LATIN, START, Rule, always, rule
from orpheus_openai.text.numbers.words import CURRENCIES, NAMED_BY_UNICODE, UNITS, Words, words_of
from orpheus_openai.text.trace import Traced

_SIGNS = "".join(sign for sign in [*CURRENCIES, *NAMED_BY_UNICODE] if not sign.isalpha())
_CODES = "USD|EUR|GBP|JPY|CNY|RMB|INR|KRW|CHF|AUD|CAD"
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_TENS = {"2": "twenties", "3": "thirties", "4": "forties", "5": "fifties", "6": "sixties", "7": "seventies"}
_TENS |= {"8": "eighties", "9": "nineties", "0": "hundreds"}
_VULGAR = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
}
_VULGAR |= {
    "⅘": (4, 5),
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅐": (1, 7),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
}
_VULGAR |= {"⅑": (1, 9), "⅒": (1, 10)}
HINDI_ENDINGS = {
    "ा": ("ला", "रा", "था", "ठा", "वाँ", "वां"),
    "ी": ("ली", "री", "थी", "ठी", "वीं", "वी"),
    "े": ("ले", "रे", "थे", "ठे", "वें", "वे"),
}
"""What is written after the figures of an ordinal, by the vowel that gender and case give it."""
_MOST_PARTS = 10
"""Parts of a whole that have a name; 9/11 is no fraction."""
_NEXT_WORD = re.compile(r" ([^\W\d_]+)")
_FEMININE = {
    "es": re.compile(r"(?:as?|ción|ciones|dad|dades)\Z"),
    "it": re.compile(r"(?:a|zione|tà)\Z"),
    "de": re.compile(r"(?:e|ung|heit|keit|ion|tät|schaft)\Z"),
    "fr": re.compile(r"(?:tion|tions|té|ette|elle|ière|ance|ence)s?\Z"),
}


def in_words(text: Traced, language: str) -> Traced:
    """`text` with its figures and signs in words; as it is in a language without a table of them."""
    rules = _rules(language)
    if rules is None or not _SOMETHING.search(text.text):
        return text
    for pattern, say in rules:
        text = text.sub(pattern, say)
    return text


# Digits, full stops (of abbreviations), and whatever is neither letter nor space nor a mark of a sentence.
_SOMETHING = re.compile(
    r"[\d.]|(?![,;:!?'’\"“”„«»()\-–—…、，。！？：；（）「」।<>])[^\w\s]|\([\uac00-\ud7a3]\)|[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒²³µπ元円]"
)


def ready(language: str) -> bool:
    """Whether the tables of a language have been read: the first time takes longer than other work on a text."""
    return language in _read


_read: set[str] = set()


@cache
def _rules(language: str) -> list[Rule] | None:
    words = words_of(language)
    rules = list(_Reader(words).rules()) if words else None
    _read.add(language)
    return rules


def _gender(language: str, noun: str) -> str:
    """Guess, by its end, the gender of what is counted; empty where it does not matter or is no noun."""
    if language not in _FEMININE or (language == "de" and not noun[0].isupper()):
        return ""
    return "f" if _FEMININE[language].search(noun) else "n" if language == "de" else "m"


class _Reader:
    """The rules of one language, each for one kind of thing, in the order in which they are tried."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.table = words.table
        self.language = words.language
        self.space = "" if self.language == "zh" else " "
        group, decimal = f"[{re.escape(self.table.groups)}]", re.escape(self.table.decimal)
        several = r"\d{2,3}" if self.language in ("hi", "en") else r"\d{3}"
        self.number = (
            rf"(?:\d{{1,3}}(?:{group}{several})*{group}\d{{3}}(?!\d)(?:{decimal}\d+)?|\d+(?:{decimal}\d+)?)"
        )
        self.scale = "|".join(re.escape(scale) for scale in sorted(self.table.scales, key=len, reverse=True))

    def rules(self) -> Iterator[Rule]:
        yield from self._abbreviations()
        yield from self._numbers_with_names()
        yield from Dates(self.words).rules()
        yield rule(rf"{START}\d+(?:\.\d+){{2,}}{END}", self._version)
        yield from self._ordinals()
        yield from self._money()
        yield from self._measures()
        yield from self._plain()
        yield from self._signs()

    def figures(self, number: str) -> str:
        """A number as this language writes it, as `Words` takes it: digits, and a dot before a fraction."""
        for sign in self.table.groups:
            number = number.replace(sign, "")
        ascii_digits = "".join(str(int(c)) if c.isdigit() else c for c in number)
        return ascii_digits.replace(self.table.decimal, ".")

    def cardinal(self, number: str, gender: str = "") -> str:
        return self.words.cardinal(self.figures(number), gender)

    # --- abbreviations, and numbers that are names ----------------------------------------------------------

    def _abbreviations(self) -> Iterator[Rule]:
        for short, long in self.table.abbreviations.items():
            # At the end of a sentence its full stop is the sentence's, too; a title's never is.
            pattern = rf"(?<![\w.]){re.escape(short)}"
            if not short.endswith("."):
                after = r"(?!\w)" if short[-1].isalnum() else ""
                yield rule(pattern + after, always(long))
                continue
            if short[0].islower():
                yield rule(rf'{pattern}(?=\s*$|\s+[A-ZÀ-Ý«“"])', always(f"{long}."))
            yield rule(pattern, always(long))

    def _numbers_with_names(self) -> Iterator[Rule]:
        yield rule(r"(?<![\w+])\+\d[\d ()./-]{5,20}\d(?!\w)", self._phone)
        yield rule(r"(?<![\w(])\(\d{3}\) ?\d{3}[-. ]\d{4}(?!\w)", self._phone)
        if self.table.ordered:
            form = self.table.ordered
            yield rule(r"(?:№ ?|(?<![\w&#])#)(\d+)", lambda m: form.format(self.words.cardinal(m[1])))
        name = f"{self.table.number} "
        yield rule(rf"(?:№|(?<!\w)(?:{self.table.number_marks})) ?(?=\d)", always(name))
        yield rule(r"(?<![\w&#])#(?=\d)", always(name))

    def _phone(self, found: re.Match[str]) -> str:
        groups = [self.words.digits(group) for group in re.findall(r"\d+", found[0])]
        said = ("，" if self.language == "zh" else ", ").join(groups)
        return f"{self.table.plus}{self.space}{said}" if found[0].startswith("+") else said

    def _version(self, found: re.Match[str]) -> str:
        point = (
            "Punkt"
            if self.language == "de"
            else "punto"
            if self.language in ("es", "it")
            else self.table.point
        )
        point = "point" if self.language == "fr" else point
        return f" {point} ".join(self.words.cardinal(part) for part in found[0].split("."))

    # --- money, percent, units ------------------------------------------------------------------------------

    def _money(self) -> Iterator[Rule]:
        sign = rf"(?P<sign>(?:US|CA|AU|NT|HK|A|C|R)?\$|[{re.escape(_SIGNS)}])"
        scale = rf"(?:\s?(?P<scale>{self.scale})(?![{LATIN}]))?"
        minus = r"(?P<minus>[-−])?"
        yield rule(rf"{START}{minus}{sign}\s?(?P<n>{self.number}){scale}{END}", self._price)
        code = rf"(?P<sign>[{re.escape(_SIGNS)}]|\$|(?:{_CODES})\b|(?<=[\d万亿억만천조])[元円원])"
        yield rule(rf"{START}{minus}(?P<n>{self.number}){scale}\s?{code}", self._price)
        yield rule(rf"(?<!\w)(?P<sign>{_CODES})\s?{minus}(?P<n>{self.number}){scale}{END}", self._price)

    def _price(self, found: re.Match[str]) -> str:
        figures = self.figures(found["n"])
        sign = "$" if found["sign"].endswith("$") else {"RMB": "CNY"}.get(found["sign"], found["sign"])
        minus = f"{self.table.minus}{self.space}" if found["minus"] else ""
        if scale := found["scale"]:
            name, _ = self.words.currency(sign, "2")
            said = self.words.cardinal(figures, "m")
            link = self.table.scales[scale]
            if self.language == "fr" and link.endswith(" de") and name[0] in "aeiouAEIOU":
                return f"{minus}{said} {link[:-2]}d'{name}"
            return f"{minus}{said}{'' if self.language in ('ko', 'zh') else ' '}{link}{self.space}{name}"
        name, gender = self.words.currency(sign, figures)
        whole, _, cents = figures.partition(".")
        if len(cents) == len("00") and self.table.cents:
            said = f"{self.words.cardinal(whole, gender)} {self.words.currency(sign, whole)[0]}"
            if int(cents):
                form = self.table.one_cent if int(cents) == 1 and self.table.one_cent else self.table.cents
                if sign not in "$€" and self.language == "en":
                    form = " {}"
                said += form.format(self.words.cardinal(str(int(cents))))
            return minus + said
        if not self.table.cents and cents:
            figures = figures.rstrip("0").rstrip(".")
        return f"{minus}{self.words.cardinal(figures, gender)}{self.space}{name}"

    def _measures(self) -> Iterator[Rule]:
        minus = r"(?P<minus>(?<![\w)])[-−+])?"
        yield rule(rf"{START}{minus}(?P<n>{self.number})\s?(?P<sign>[%％‰])", self._percent)
        yield rule(rf"{START}{minus}(?P<n>{self.number})\s?(?P<unit>℃|℉|º ?C|{_UNIT})(?![\w/²³])", self._unit)

    def _signed(self, found: re.Match[str]) -> str:
        return {"+": f"{self.table.plus}{self.space}", None: ""}.get(
            found["minus"], f"{self.table.minus}{self.space}"
        )

    def _percent(self, found: re.Match[str]) -> str:
        name = self.table.permille if found["sign"] == "‰" else self.table.percent
        said = self._signed(found) + self.cardinal(found["n"])
        return name.format(said) if "{}" in name else f"{said}{'' if self.language == 'ko' else ' '}{name}"

    def _unit(self, found: re.Match[str]) -> str:
        symbol = {"℃": "°C", "℉": "°F"}.get(found["unit"], found["unit"].replace("º", "°").replace(" ", ""))
        return self._signed(found) + self.words.unit(symbol, self.figures(found["n"]))

    # --- ordinals, fractions, decades -----------------------------------------------------------------------

    def _ordinals(self) -> Iterator[Rule]:
        words = self.words
        if self.language == "en":
            yield rule(rf"{START}(\d{{1,9}})(?:st|nd|rd|th){END}", lambda m: words.ordinal(int(m[1])))
            yield rule(rf"{START}([12]\d)(\d)0s{END}", lambda m: f"{self._century(m[1])} {_TENS[m[2]]}")
            yield rule(rf"(?<!\w)['’](\d)0s{END}", lambda m: _TENS[m[1]])
        elif self.language == "fr":
            yield rule(
                rf"{START}1(er|re|ère){END}",
                lambda m: words.ordinal(1, "masculine" if m[1] == "er" else "feminine"),
            )
            yield rule(rf"{START}(\d{{1,9}})(?:e|ème|eme|es){END}", lambda m: words.ordinal(int(m[1])))
        elif self.language in ("es", "it"):
            yield rule(
                rf"{START}(\d{{1,4}})\.?([ºªo°a]){END}(?!C)",
                lambda m: words.ordinal(int(m[1]), "feminine" if m[2] in "ªa" else "masculine"),
            )
        elif self.language == "de":
            yield rule(rf"{START}(\d{{1,4}})er{END}", lambda m: words.year(m[1]) + "er")
            months = "|".join(words.month(n) for n in range(1, 13))
            yield rule(
                rf"{START}(\d{{1,2}})\.(?= (?:{months}|Jahrhundert))",
                lambda m: words.ordinal(int(m[1]), german_ending(m)),
            )
        elif self.language == "hi":
            endings = "|".join(ending for forms in HINDI_ENDINGS.values() for ending in forms)
            yield rule(rf"(?<![\d.,:/])(\d{{1,4}})-?({endings})(?![\u0900-\u097f])", self._hindi_ordinal)
        vulgar = "".join(_VULGAR)
        yield rule(rf"(?:(?<![\d.,])(\d{{1,9}}) ?)?([{vulgar}])", self._vulgar)
        yield rule(rf"{START}(?<!/)(\d{{1,2}})[/⁄](\d{{1,2}}){END}(?![/⁄]|[.,]\d)", self._fraction)

    def _hindi_ordinal(self, found: re.Match[str]) -> str:
        end = next(vowel for vowel, forms in HINDI_ENDINGS.items() if found[2] in forms)
        said = self.words.ordinal(int(found[1]))
        nasal = "ँ" if end == "ा" else "ं"
        return said[:-2] + end + nasal if said.endswith("ाँ") else said[:-1] + end

    def _century(self, figures: str) -> str:
        return self.words.cardinal(figures) if figures != "20" else "two thousand"

    def _vulgar(self, found: re.Match[str]) -> str:
        part = self.words.fraction(*_VULGAR[found[2]])
        if not found[1]:
            return part
        joint = {"en": " and ", "de": " ", "fr": " et ", "es": " y ", "it": " e ", "zh": "又"}.get(
            self.language, " "
        )
        part = "a half" if part == "one half" else part
        return self.words.cardinal(found[1]) + joint + part

    def _fraction(self, found: re.Match[str]) -> str:
        over, under = int(found[1]), int(found[2])
        if not 0 < over < under <= _MOST_PARTS:
            return found[0]
        return self.words.fraction(over, under)

    # --- what is left of numbers ----------------------------------------------------------------------------

    def _plain(self) -> Iterator[Rule]:
        table, space = self.table, self.space
        before = "" if self.language == "ko" else space  # a particle
        yield rule(r"(?<=\d)\s?[–—]\s?(?=\d)", always(f"{before}{table.range}{space}"))
        yield rule(r"(?<=\d)\s?[*×]\s?(?=\d)|(?<=\d) x (?=\d)", always(f"{space}{table.times}{space}"))
        yield rule(r"(?<=[\d)])\s?÷\s?(?=[\d(])", always(f"{space}{table.divided}{space}"))
        yield rule(
            r"(?<=[\w)²³])\s?\+\s?(?=[\d(])|(?<=[\w)²³]) \+ (?=\w)", always(f"{space}{table.plus}{space}")
        )
        yield rule(
            r"(?<=[\w)²³])\s?=\s?(?=[\d(])|(?<=[\w)²³]) = (?=[\w-])", always(f"{before}{table.equals}{space}")
        )
        yield rule(r"(?<=[\d)]) [-−] (?=[\d(])", always(f"{space}{table.less or table.minus}{space}"))
        yield rule(r"(?<![\w)])[-−](?=\d)", always(f"{table.minus}{self.space}"))
        yield rule(r"(?<=\d)/(?=\d)", always(" "))
        if self.language == "en":
            yield rule(rf"{START}(?:1[1-9]|20)\d\d{END}(?![.,]\d)", self._year)
        elif self.language == "de":
            yield rule(rf"{START}1[1-9]\d\d{END}(?![.,]\d)", self._year)
        if table.native_counters:
            yield rule(
                rf"(?<!\d)(\d{{1,2}})(?P<space>(?=\s))?(?=\s?(?:{table.native_counters}))", self._counted
            )
        if table.two_counters:
            yield rule(rf"(?<![\d.,])2(?={table.two_counters})", always("两"))
        yield rule(rf"{START}{self.number}(?![\d])(?![{LATIN}])", self._number)
        yield rule(r"(?<=\w),(?=\d)", always(", "))
        yield rule(rf"(?<![{LATIN}\d])\d+(?![{LATIN}])", self._number)

    def _year(self, found: re.Match[str]) -> str:
        return self.words.year(found[0])

    def _counted(self, found: re.Match[str]) -> str:
        number = int(found[1])
        return (
            self.words.native(number) + ("" if found["space"] is not None else " ")
            if number
            else self.words.cardinal(found[1])
        )

    def _number(self, found: re.Match[str]) -> str:
        after = _NEXT_WORD.match(found.string, found.end())
        return self.cardinal(found[0], _gender(self.language, after[1]) if after else "")

    def _signs(self) -> Iterator[Rule]:
        for sign, name in self.table.signs.items():
            if sign == "#":
                continue
            yield rule(
                rf"\s?{re.escape(sign)}\s?", always(f"{self.space}{name}{self.space}" if name else " ")
            )
        signs = rf"[{re.escape(_SIGNS)}\$]"
        yield rule(rf"\s?({signs})\s?", lambda m: f" {self.words.currency(m[1], '2')[0]} ")
        yield rule(
            r"\s?([%％‰])\s?",
            lambda m: f" {(self.table.permille if m[1] == '‰' else self.table.percent).format('')} ",
        )
