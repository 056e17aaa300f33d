"""Dates and times of day in words."""

import re
from collections.abc import Iterator

from orpheus_openai.text.numbers.rules import END, LATIN, START, Rule, always, rule
from orpheus_openai.text.numbers.words import NumberWords

_ARTICLES = frozenset({"der", "die", "das"})
_CASES = frozenset({"am", "dem", "den", "des", "vom", "zum", "zur", "beim", "ab", "bis", "seit", "im"})
"""After which a German ordinal ends in -n."""

_KOREAN_MONTHS = {6: "유", 10: "시"}
"""Those that are not named by their numbers as they stand."""

_NOON = 12
_TWO_FIGURES = 10
_AFTERNOON, _EVENING, _NIGHT = 4, 7, 8
"""Hours after noon from which people call it so."""

_YEAR, _DAY, _MONTH = r"(?P<y>[12]\d{3})", r"(?P<d>0?[1-9]|[12]\d|3[01])", r"(?P<m>0?[1-9]|1[0-2])"
_ISO_TIME = re.compile(
    r"(?<=\d-\d\d)T(?P<time>\d\d:\d\d(?::\d\d)?)(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?(?![\w:])"
)


def german_ending(found: re.Match[str]) -> str:
    """The letter that a German ordinal has after its e, by the word before it."""
    before = found.string[max(0, found.start() - 8) : found.start()].rstrip().rpartition(" ")[2].lower()
    return "n" if before in _CASES else "" if before in _ARTICLES else "r"


class Dates:
    """The rules of one language."""

    def __init__(self, words: NumberWords) -> None:
        self.words = words
        self.language = words.language
        self._months = {words.month(n): n for n in range(1, 13)}

    def rules(self) -> Iterator[Rule]:
        """In the order in which they are tried."""
        yield _ISO_TIME, lambda m: f" {m['time']}"
        yield from self._in_figures()
        yield from self._by_month()
        yield from self._times()

    # --- dates ----------------------------------------------------------------------------------------------

    def _in_figures(self) -> Iterator[Rule]:
        yield rule(rf"{START}(?P<y>\d{{4}})-(?P<m>0[1-9]|1[0-2])-(?P<d>0[1-9]|[12]\d|3[01]){END}", self._date)
        yield rule(rf"{START}{_YEAR}/{_MONTH}/{_DAY}{END}", self._date)
        sep = r"\." if self.language == "de" else "/"
        first, second = (_MONTH, _DAY) if self.language == "en" else (_DAY, _MONTH)
        yield rule(rf"{START}{first}{sep}{second}{sep}{_YEAR}{END}", self._date)
        if self.language == "de":
            yield rule(rf"{START}{_DAY}\.{_MONTH}\.(?P<y>)(?!\d)", self._german_day)
        if self.language in ("ko", "zh"):
            yield rule(rf"{START}{_YEAR}(?:\. ?|-){_MONTH}(?:\. ?|-){_DAY}(?:\.(?!\d))?{END}", self._date)
        if self.language == "zh":
            yield rule(r"(?<!\d)[12]\d{3}(?=年)", lambda m: self.words.digits(m[0]))
        if self.language == "ko":
            yield rule(r"(?<!\d)(?:0?6|10)(?=월)", lambda m: "유" if m[0].endswith("6") else "시")

    def _by_month(self) -> Iterator[Rule]:
        """A day beside the name of its month."""
        full = "|".join(map(re.escape, self._months))
        short = "|".join(name[:3] for name in self._months) + "|Sept"
        if self.language == "en":
            year = r"(?:,? (?P<y>[12]\d{3})(?!\d|[.,:]\d))?"
            yield rule(
                rf"(?<!\w)(?P<month>{full}|(?:{short})\b\.?) (?P<d>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?"
                rf"(?![\w:]|[.,-]\d){year}",
                self._english,
            )
            yield rule(
                rf"{START}(?P<d>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)? (?:of )?(?P<month>{full})(?!\w){year}",
                self._day_of,
            )
        elif self.language == "de":
            yield rule(
                rf"{START}(?P<d>\d{{1,2}})\. ?(?P<month>{full}|(?:{short})\b\.?)(?!\w)",
                lambda m: f"{self.words.ordinal(int(m['d']), german_ending(m))} {self._full(m['month'])}",
            )
        elif self.language in ("fr", "it"):
            yield rule(rf"{START}1(?= (?:{full})(?!\w))", lambda _: self.words.ordinal(1))
        elif self.language == "es":
            yield rule(rf"{START}1(?= de (?:{full})(?!\w))", always("uno"))

    def _full(self, name: str) -> str:
        """The month that a name is short for."""
        return next((month for month in self._months if month.startswith(name.rstrip(".")[:3])), name)

    def _english(self, found: re.Match[str]) -> str:
        year = f", {self.words.year(found['y'])}" if found["y"] else ""
        return f"{self._full(found['month'])} {self.words.ordinal(int(found['d']))}{year}"

    def _day_of(self, found: re.Match[str]) -> str:
        article = "" if found.string[max(0, found.start() - 4) : found.start()].lower() == "the " else "the "
        year = f", {self.words.year(found['y'])}" if found["y"] else ""
        return f"{article}{self.words.ordinal(int(found['d']))} of {found['month']}{year}"

    def _german_day(self, found: re.Match[str]) -> str:
        month = self.words.ordinal(int(found["m"]), german_ending(found))
        return f"{self.words.ordinal(int(found['d']), german_ending(found))} {month[0].upper()}{month[1:]}"

    def _date(self, found: re.Match[str]) -> str:
        ending = german_ending(found) if self.language == "de" else "r"
        return self.said(int(found["d"]), int(found["m"]), found["y"], ending)

    def said(self, day: int | None, month: int | None, year: str | None, ending: str = "r") -> str:
        """A date, or those of its parts that there are; `ending` is that of a German ordinal."""
        words = self.words
        told = words.year(year) if year else ""
        if self.language in ("zh", "ko"):
            marks = "年月日" if self.language == "zh" else "년월일"
            named = _KOREAN_MONTHS.get(month or 0) if self.language == "ko" else None
            parts = (
                f"{told}{marks[0]}" if year else "",
                f"{named or words.cardinal(str(month))}{marks[1]}" if month else "",
                f"{words.cardinal(str(day))}{marks[2]}" if day else "",
            )
            return ("" if self.language == "zh" else " ").join(filter(None, parts))
        name = words.month(month) if month else ""
        if self.language == "en":
            before = f"{name} {words.ordinal(day)}".strip() if day else name
            return (", " if day else " ").join(filter(None, (before, told)))
        first = day == 1 and self.language in ("fr", "it")
        said = ""
        if day:
            said = words.ordinal(1) if first else words.cardinal(str(day))
            said = words.ordinal(day, ending) if self.language == "de" else said
        return (" de " if self.language == "es" else " ").join(filter(None, (said, name, told)))

    # --- times of day ---------------------------------------------------------------------------------------

    def _times(self) -> Iterator[Rule]:
        after = {"de": "(?: Uhr)?", "es": r"(?: ?h(?:rs?|s)?\b\.?)?", "it": r"(?: h\b)?", "hi": "(?: बजे)?"}
        half = r"(?:\s?(?P<half>[AaPp])\.?\s?[Mm]\b\.?)"
        yield rule(
            rf"{START}(?P<h>[01]?\d|2[0-4])[:](?P<min>[0-5]\d)(?::(?P<s>[0-5]\d))?(?:{half}|{END}(?!:))"
            rf"{after.get(self.language, '')}",
            self._time,
        )
        yield rule(rf"{START}(?P<h>1[0-2]|0?[1-9])(?P<min>)(?P<s>){half}", self._time)
        clock = rf"{START}(?P<h>[01]?\d|2[0-4])%s(?P<min>[0-5]\d)(?P<s>)(?P<half>)"
        if self.language == "fr":
            yield rule(rf"{clock % ' ?[hH] ?'}(?!\w)", self._time)
        elif self.language == "de":
            yield rule(rf"{clock % '[.]'} Uhr", self._time)
        elif self.language == "it":
            yield rule(
                rf"(?P<before>(?<![{LATIN}])(?:[Oo]re|[Aa]lle|[Dd]alle) ){(clock % '[.]').removeprefix(START)}{END}",
                lambda m: m["before"] + self._time(m),
            )

    def _time(self, found: re.Match[str]) -> str:
        hour, minute = int(found["h"]), int(found["min"] or 0)
        half = (found["half"] or "").lower()
        seconds = self.words.cardinal(found["s"].lstrip("0")) if (found["s"] or "").strip("0") else ""
        said = getattr(self, f"_time_{self.language}", self._time_romance)
        return str(said(hour, minute, half, seconds))

    def _time_en(self, hour: int, minute: int, half: str, seconds: str) -> str:
        said = self.words.cardinal(str(hour))
        if minute:
            said += f" {'oh ' if minute < _TWO_FIGURES else ''}{self.words.cardinal(str(minute))}"
        elif not half:
            said = "midnight" if hour % 24 == 0 else said + (" hundred" if hour > _NOON else " o'clock")
        return said + (f" and {seconds} seconds" if seconds else "") + (f" {half.upper()}M" if half else "")

    def _time_de(self, hour: int, minute: int, half: str, seconds: str) -> str:
        hour = _of_24(hour, half)
        said = f"{'ein' if hour == 1 else self.words.cardinal(str(hour))} Uhr"
        said += f" {self.words.cardinal(str(minute))}" if minute else ""
        return said + (f" und {seconds} Sekunden" if seconds else "")

    def _time_fr(self, hour: int, minute: int, half: str, _seconds: str) -> str:
        hour = _of_24(hour, half)
        said = f"{self.words.cardinal(str(hour), 'f')} heure{'s' if hour > 1 else ''}"
        return f"{said} {self.words.cardinal(str(minute), 'f')}" if minute else said

    def _time_ko(self, hour: int, minute: int, half: str, _seconds: str) -> str:
        named = self.words.native(hour) if 1 <= hour <= _NOON else self.words.cardinal(str(hour))
        said = f"{_NAMED_KO[half]}{named} 시"
        return f"{said} {self.words.cardinal(str(minute))} 분" if minute else said

    def _time_zh(self, hour: int, minute: int, half: str, _seconds: str) -> str:
        said = f"{_NAMED_ZH[half]}{'两' if hour == 2 else self.words.cardinal(str(hour))}点"  # noqa: PLR2004
        zero = "零" if minute < _TWO_FIGURES else ""
        return f"{said}{zero}{self.words.cardinal(str(minute))}分" if minute else said

    def _time_hi(self, hour: int, minute: int, half: str, _seconds: str) -> str:
        said = _part_of_day(hour, half, _NAMED_HI) + self.words.cardinal(str(hour))
        return f"{said} बजकर {self.words.cardinal(str(minute))} मिनट" if minute else f"{said} बजे"

    def _time_es(self, hour: int, minute: int, half: str, _seconds: str) -> str:
        said = self.words.cardinal(str(hour), "f") + (
            f" y {self.words.cardinal(str(minute))}" if minute else ""
        )
        return said + _part_of_day(hour, half, _NAMED_ES)

    def _time_romance(self, hour: int, minute: int, half: str, _seconds: str) -> str:
        hour = _of_24(hour, half)
        said = self.words.cardinal(str(hour), "f" if hour == 1 else "")
        return said + (f" e {self.words.cardinal(str(minute))}" if minute else "")


_NAMED_KO = {"": "", "a": "오전 ", "p": "오후 "}
_NAMED_ZH = {"": "", "a": "上午", "p": "下午"}
_NAMED_ES = (" de la mañana", " de la tarde", " de la tarde", " de la noche", " de la noche")
_NAMED_HI = ("सुबह ", "दोपहर ", "शाम ", "शाम ", "रात ")
"""In the morning, after noon, after four, after seven, at night."""


def _of_24(hour: int, half: str) -> int:
    return hour % _NOON + (_NOON if half == "p" else 0) if half else hour


def _part_of_day(hour: int, half: str, names: tuple[str, str, str, str, str]) -> str:
    """What part of the day an hour of twelve belongs to; nothing for one of 24."""
    if not half:
        return ""
    if half == "a":
        return names[4] if hour == _NOON else names[0]
    after = hour % _NOON
    return names[1 if after < _AFTERNOON else 2 if after < _EVENING else 3 if after < _NIGHT else 4]
