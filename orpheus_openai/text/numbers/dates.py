"""Dates and times of day in words."""

import re
from collections.abc import Iterator

from orpheus_openai.text.numbers.rules import END, START, Rule, rule
from orpheus_openai.text.numbers.words import Words

_ARTICLES = frozenset({"der", "die", "das"})
_CASES = frozenset({"am", "dem", "den", "vom", "zum", "beim", "ab", "bis", "seit", "im"})
"""After which a German ordinal ends in -n."""

_KOREAN_MONTHS = {6: "유", 10: "시"}
"""Those that are not named by their numbers as they stand."""

_NOON = 12
_TWO_FIGURES = 10


def german_ending(found: re.Match[str]) -> str:
    """The letter that a German ordinal has after its e, by the word before it."""
    before = found.string[max(0, found.start() - 8) : found.start()].rstrip().rpartition(" ")[2].lower()
    return "n" if before in _CASES else "" if before in _ARTICLES else "r"


class Dates:
    """The rules of one language."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.language = words.language

    def rules(self) -> Iterator[Rule]:
        """In the order in which they are tried."""
        yield rule(rf"{START}(?P<y>\d{{4}})-(?P<m>0[1-9]|1[0-2])-(?P<d>0[1-9]|[12]\d|3[01]){END}", self._date)
        sep = r"\." if self.language == "de" else "/"
        day, month = r"(?P<d>0?[1-9]|[12]\d|3[01])", r"(?P<m>0?[1-9]|1[0-2])"
        first, second = (month, day) if self.language == "en" else (day, month)
        yield rule(rf"{START}{first}{sep}{second}{sep}(?P<y>[12]\d{{3}}){END}", self._date)
        if self.language == "zh":
            yield rule(r"(?<!\d)[12]\d{3}(?=年)", lambda m: self.words.digits(m[0]))
        if self.language == "ko":
            yield rule(r"(?<!\d)(?:0?6|10)(?=월)", lambda m: "유" if m[0].endswith("6") else "시")
        uhr = "(?: Uhr)?" if self.language == "de" else ""
        half = r"(?:\s?(?P<half>[AaPp])\.?\s?[Mm]\b\.?)"
        yield rule(
            rf"{START}(?P<h>[01]?\d|2[0-4])[:](?P<min>[0-5]\d)(?::(?P<s>[0-5]\d))?(?:{half}|{END}(?!:)){uhr}",
            self._time,
        )
        yield rule(rf"{START}(?P<h>1[0-2]|0?[1-9])(?P<min>)(?P<s>){half}", self._time)
        if self.language in ("fr", "de"):
            hour = " ?[hH] ?" if self.language == "fr" else r"\."
            end = r"(?!\w)" if self.language == "fr" else r"(?= Uhr)"
            yield rule(
                rf"{START}(?P<h>[01]?\d|2[0-4]){hour}(?P<min>[0-5]\d)(?P<s>)(?P<half>){end}(?: Uhr)?",
                self._time,
            )

    def _date(self, found: re.Match[str]) -> str:
        words = self.words
        day, month, year = int(found["d"]), int(found["m"]), words.year(found["y"])
        if self.language == "en":
            return f"{words.month(month)} {words.ordinal(day)}, {year}"
        if self.language == "de":
            return f"{words.ordinal(day, german_ending(found))} {words.month(month)} {year}"
        if self.language == "zh":
            return f"{year}年{words.cardinal(str(month))}月{words.cardinal(str(day))}日"
        if self.language == "ko":
            named = _KOREAN_MONTHS.get(month) or words.cardinal(str(month))
            return f"{year}년 {named}월 {words.cardinal(str(day))}일"
        of = " de " if self.language == "es" else " "
        first = day == 1 and self.language in ("fr", "it")
        return f"{words.ordinal(1) if first else words.cardinal(str(day))}{of}{words.month(month)}{of}{year}"

    def _time(self, found: re.Match[str]) -> str:  # noqa: PLR0911  one form for each language
        words = self.words
        hour, minute = int(found["h"]), int(found["min"] or 0)
        half = (found["half"] or "").lower()
        if half and self.language != "en":
            hour = hour % _NOON + (_NOON if half == "p" else 0)
        said, minutes = (
            words.cardinal(str(hour), "f" if self.language in ("fr", "es") else ""),
            "",
        )
        if minute:
            minutes = words.cardinal(str(minute), "f" if self.language == "fr" else "")
        seconds = words.cardinal(str(int(found["s"]))) if found["s"] else ""
        if self.language == "en":
            whole = (
                ("" if half else " o'clock")
                if not minute
                else f" {'oh ' if minute < _TWO_FIGURES else ''}{minutes}"
            )
            whole += f" and {seconds} seconds" if seconds else ""
            return said + whole + (f" {half.upper()}M" if half else "")
        if self.language == "de":
            said = "ein" if hour == 1 else said
            return f"{said} Uhr {minutes}".rstrip() + (f" und {seconds} Sekunden" if seconds else "")
        if self.language == "fr":
            return f"{said} heure{'s' if hour > 1 else ''} {minutes}".rstrip()
        if self.language == "ko":
            hours = words.native(hour) if 1 <= hour <= _NOON else said
            return f"{hours} 시" + (f" {minutes} 분" if minute else "")
        if self.language == "zh":
            return (
                ("两" if said == "二" else said)
                + "点"
                + (("零" if minute < _TWO_FIGURES else "") + minutes + "分" if minute else "")
            )
        if self.language == "hi":
            return f"{said} बजकर {minutes} मिनट" if minute else f"{said} बजे"
        joint = " y " if self.language == "es" else " e "
        return said + (joint + minutes if minute else "")
