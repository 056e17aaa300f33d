"""A text that is marked as a number, a date or letters, in words: what SSML's say-as asks for."""

import re

from orpheus_openai.text.numbers.dates import Dates
from orpheus_openai.text.numbers.names import Names
from orpheus_openai.text.numbers.numerals import Numerals
from orpheus_openai.text.numbers.words import NumberWords, number_words

LETTERS = frozenset({"characters", "spell-out", "verbatim"})
"""Told one by one."""
AS_READ = frozenset({"time", "currency", "unit", "address", "name"})
"""Said as they are without it."""
_IN_WORDS = frozenset({"telephone", "cardinal", "number", "ordinal", "date", "fraction"})
KINDS = LETTERS | AS_READ | _IN_WORDS | {"digits"}

GAP = re.compile(r"(?<=[\w.@#/+&_-])(?=[\w.@#/+&_-])")
"""Between characters that are told one by one."""
_NUMBER = re.compile(r"\s*(\d{1,15})\.?\w{0,3}\s*\Z")
_FRACTION = re.compile(r"\s*(\d{1,4})\s*[/⁄]\s*(\d{1,4})\s*\Z")
_FIGURES = re.compile(r"\d+")
_MONTHS = 12


def said_as(text: str, kind: str, language: str, form: str = "") -> str | None:
    """`text` in words, as `kind` (of KINDS) asks for; `form` is a date's, such as `dmy`.

    None where it is not such a thing, or has no words of its own: then it is read as any text is.
    """
    words = number_words(language)
    if kind in LETTERS or kind == "digits" or (kind == "telephone" and words is None):
        return GAP.sub(" ", text)
    if words is None or kind not in _IN_WORDS:
        return None
    if kind == "telephone":
        return Names(words).phone(text)
    return _date(text, Dates(words), form) if kind == "date" else _number(text, kind, words)


def _number(text: str, kind: str, words: NumberWords) -> str | None:
    """A cardinal, an ordinal or a fraction."""
    if kind == "fraction":
        parts = _FRACTION.match(text)
        return words.fraction(int(parts[1]), int(parts[2])) if parts and int(parts[2]) else None
    if kind == "ordinal":
        figures = _NUMBER.match(text)
        return (
            words.ordinal(int(figures[1]), "r" if words.language == "de" else "masculine")
            if figures
            else None
        )
    numerals = Numerals(words)
    whole = re.fullmatch(rf"\s*(-?)({numerals.pattern})\s*", text)
    minus = f"{words.table.minus}{numerals.space}" if whole and whole[1] else ""
    return minus + numerals.cardinal(whole[2]) if whole else None


def _date(text: str, dates: Dates, form: str) -> str | None:
    """The parts of a date by the letters of `form`, or in the language's own order."""
    parts = _FIGURES.findall(text)
    form = "".join(letter for letter in form.lower() if letter in "dmy")
    if not form:
        in_order = "mdy" if dates.language == "en" else "ymd" if dates.language in ("ko", "zh") else "dmy"
        form = "ymd" if parts and len(parts[0]) == len("2024") else in_order
    if (
        len(parts) != len(form)
        or len(set(form)) != len(form)
        or not re.fullmatch(r"[\d\s./年月日년월일-]*", text)
    ):
        return None
    told = dict(zip(form, parts, strict=True))
    day, month = (int(told[letter]) if letter in told else None for letter in "dm")
    if (month is not None and not 1 <= month <= _MONTHS) or (day is not None and not 1 <= day <= 31):  # noqa: PLR2004
        return None
    return dates.said(day, month, told.get("y"))
