"""Numbers in the words of one language: numerals by CLDR's rules, names by CLDR and by tables of our own."""

import re
import tomllib
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files
from typing import Annotated

import msgspec

LONGEST = 15
"""Digits of a number that has a name; those of a longer one are told one by one."""

CURRENCIES = {
    "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "₫": "VND",
    "₪": "ILS", "₴": "UAH", "₦": "NGN", "₱": "PHP", "฿": "THB", "₡": "CRC", "₲": "PYG", "₵": "GHS", "₸": "KZT",
    "₼": "AZN", "₾": "GEL", "₭": "LAK", "₮": "MNT", "៛": "KHR", "֏": "AMD", "؋": "AFN", "৳": "BDT", "₨": "INR",
    "₣": "FRF", "₤": "ITL", "₧": "ESP", "₯": "GRD", "₳": "ARA", "₢": "BRE", "﷼": "IRR", "૱": "INR", "௹": "INR",
    "₿": "BTC", "⃀": "KGS", "\u20c1": "SAR", "৲": "BDT", "꠸": "INR", "元": "CNY", "円": "JPY", "원": "KRW",
}  # fmt: skip
"""Signs of currencies, by ISO 4217; ¥ is China's where Chinese is spoken."""

NAMED_BY_UNICODE = {
    "¤": "currency", "₠": "ecu", "₥": "mill", "₰": "pfennig", "₶": "livre tournois", "₷": "spesmilo",
    "₻": "mark", "߾": "dorome", "߿": "taman", "৻": "ganda", "𑿝": "kaacu", "𑿞": "panam", "𑿟": "pon",
    "𑿠": "varaakan", "𞋿": "ngun", "𞲰": "rupee",
}  # fmt: skip
"""Signs that CLDR has no name for, most of them of the past: by Unicode's, which is no language's own."""

UNITS = {
    "°C": "temperature-celsius", "°F": "temperature-fahrenheit", "km": "length-kilometer", "m": "length-meter",
    "cm": "length-centimeter", "mm": "length-millimeter", "mi": "length-mile", "ft": "length-foot",
    "kg": "mass-kilogram", "g": "mass-gram", "mg": "mass-milligram", "lb": "mass-pound", "lbs": "mass-pound",
    "oz": "mass-ounce", "km/h": "speed-kilometer-per-hour", "mph": "speed-mile-per-hour",
    "m/s": "speed-meter-per-second",
    "kW": "power-kilowatt", "MW": "power-megawatt", "W": "power-watt", "kWh": "energy-kilowatt-hour",
    "kB": "digital-kilobyte", "KB": "digital-kilobyte", "MB": "digital-megabyte", "GB": "digital-gigabyte",
    "TB": "digital-terabyte", "Hz": "frequency-hertz", "kHz": "frequency-kilohertz", "MHz": "frequency-megahertz",
    "GHz": "frequency-gigahertz", "V": "electric-volt", "ms": "duration-millisecond", "s": "duration-second",
    "min": "duration-minute", "h": "duration-hour", "l": "volume-liter", "L": "volume-liter", "ml": "volume-milliliter",
    "mL": "volume-milliliter", "m²": "area-square-meter", "km²": "area-square-kilometer", "m³": "volume-cubic-meter",
    "ha": "area-hectare",
}  # fmt: skip
"""Units that follow a number, by CLDR's names."""

_OWN_UNITS = {
    "fr": {"Ko": "digital-kilobyte", "Mo": "digital-megabyte", "Go": "digital-gigabyte", "To": "digital-terabyte"},
    "hi": {
        "किमी": "length-kilometer", "कि.मी.": "length-kilometer", "सेमी": "length-centimeter",
        "मिमी": "length-millimeter", "किग्रा": "mass-kilogram", "कि.ग्रा.": "mass-kilogram",
    },
}  # fmt: skip
"""Those that one language alone writes so."""

_FEMININE_UNITS = {
    "fr": {
        "duration-second",
        "duration-millisecond",
        "duration-minute",
        "duration-hour",
        "mass-pound",
        "mass-ounce",
    },
    "de": {
        "duration-second",
        "duration-millisecond",
        "duration-minute",
        "duration-hour",
        "length-mile",
        "mass-ounce",
    }
    | {"energy-kilowatt-hour", "speed-mile-per-hour"},
    "es": {"duration-hour", "length-mile", "mass-pound", "mass-ounce", "area-hectare", "speed-mile-per-hour"},
    "it": {"duration-hour", "mass-pound", "mass-ounce"},
}
_UNSPACED = frozenset({"zh", "ko"})
_TWO_OF_MANY = re.compile("(?<![十百零])二(?=[千万亿])")
"""Chinese counts 两千 and 两万."""
_FIGURES = re.compile(r"\d(?:[\d.,’٬\s\u202f]*\d)?")


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One language of `words.toml`."""

    groups: str
    """Signs between groups of figures."""
    decimal: str
    point: str
    minus: str
    plus: str
    percent: str
    permille: str
    number: str
    number_marks: str
    range: str
    times: str
    power: str
    """What is said after the base; `{}` is the exponent."""
    equals: str
    divided: str
    ratio: str
    """Between the parts of a proportion, 3:2."""
    scales: dict[str, str]
    fractions: dict[int, tuple[str, str]]
    currency: dict[str, Annotated[list[str], msgspec.Meta(min_length=2, max_length=3)]]
    signs: dict[str, str]
    abbreviations: dict[str, str]
    fraction: str = ""
    less: str = ""
    """Between two numbers; empty: `minus`."""
    ordered: str = ""
    """What `№ 5` is, where the number does not follow its name."""
    cents: str = ""
    one_cent: str = ""
    only_cents: tuple[str, str] | None = None
    """One and several, where there is nothing before the point."""
    subunits: dict[str, str] = {}
    """`cents` of other currencies."""
    multiplied: str = ""
    """3x, as in 3x faster."""
    about: str = ""
    """Before a number with ~; empty: as for ≈."""
    named_fractions: dict[str, str] = {}
    before_numbers: dict[str, str] = {}
    """Abbreviations before a figure, such as `p. 5`."""
    before_names: dict[str, str] = {}
    """Abbreviations before a capital letter."""
    native_counters: str = ""
    two_counters: str = ""


@cache
def _tables() -> dict[str, Table]:
    source = files(__package__).joinpath("words.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(source), dict[str, Table], strict=False)


@cache
def number_words(language: str) -> "NumberWords | None":
    """Return the words of a language; None for one without a table. The first call for each reads files."""
    table = _tables().get(language)
    return NumberWords(language, table) if table else None


class NumberWords:
    """Numbers are given as text: digits, and after a dot those of a fraction."""

    def __init__(self, language: str, table: Table) -> None:
        # With the first figures, not with the server's start: these take 40 MB and 50 ms.
        from babel import Locale  # noqa: PLC0415
        from unicode_rbnf import RbnfEngine  # noqa: PLC0415

        self.language = language
        self.table = table
        self._engine = RbnfEngine.for_language(language)
        self._locale = Locale.parse(language)
        self._rules = lru_cache(1_000)(self._by_rules)
        self.units = UNITS | _OWN_UNITS.get(language, {})
        """CLDR's names of units by their symbols."""

    def _by_rules(self, number: int, *rules: str) -> str:
        text = self._engine.format_number(number, ruleset_names=[next(r for r in rules if self.has(r))]).text
        return text.replace("\u00ad", "").replace("〇", "零")  # which voices know

    def has(self, rules: str) -> bool:
        """Whether the language has such numerals."""
        return rules in self._engine.rulesets

    def digits(self, figures: str) -> str:
        """Each digit by its name."""
        names = (self._rules(int(figure), "spellout-numbering") for figure in figures if figure.isdigit())
        return ("" if self.language in _UNSPACED else " ").join(names)

    def cardinal(self, figures: str, gender: str = "") -> str:
        """`12`, `3.14`; `gender` (m, f, n) is that of what is counted, empty where nothing is."""
        whole, _, fraction = figures.partition(".")
        if len(whole) > LONGEST or (len(whole) > 1 and whole.startswith("0") and not fraction):
            said = self.digits(whole)
        else:
            said = self._rules(int(whole or "0"), *_cardinal_rules(gender if not fraction else ""))
            said = _TWO_OF_MANY.sub("两", said) if self.language == "zh" else _zero(said, self.language)
        if not fraction:
            return said
        space = "" if self.language in _UNSPACED else " "
        after = _zero(self._fraction(fraction), self.language)
        return f"{said}{space}{self.table.point}{space}{after}"

    def amount(self, figures: str, gender: str = "") -> str:
        """`cardinal` of what is measured: two in Chinese is 两 then."""
        return "两" if self.language == "zh" and figures == "2" else self.cardinal(figures, gender)

    def _fraction(self, figures: str) -> str:
        as_number = self.language in ("fr", "es", "it") and re.fullmatch(r"[1-9]\d", figures)
        return self.cardinal(figures) if as_number else self.digits(figures)

    def native(self, number: int) -> str:
        """As Koreans count things."""
        return self._rules(number, "spellout-cardinal-native-attributive", "spellout-cardinal")

    def year(self, figures: str) -> str:
        """`1999`, as a year."""
        if self.language == "zh":
            return self.digits(figures)
        if self.language == "hi" and "1100" <= figures < "2000":
            rest = int(figures[2:])
            return f"{self.cardinal(figures[:2])} सौ{' ' + self.cardinal(str(rest)) if rest else ''}"
        by_hundreds = ("spellout-numbering-year",) if self.language in ("en", "de") else ()
        return self._rules(int(figures), *by_hundreds, "spellout-numbering")

    def ordinal(self, number: int, ending: str = "masculine") -> str:
        """`ending`: masculine or feminine, or for German the letter that follows the stem's e."""
        rules = (f"spellout-ordinal-{ending}", "spellout-ordinal", "spellout-ordinal-masculine")
        return self._rules(number, *rules, "spellout-ordinal-sinokorean-count", "spellout-cardinal")

    def month(self, number: int) -> str:
        """Months by CLDR."""
        return str(self._locale.months["format"]["wide"][number])

    def code(self, sign: str) -> str:
        """By ISO 4217."""
        return "CNY" if sign == "¥" and self.language == "zh" else CURRENCIES.get(sign, sign)

    def currency(self, sign: str, figures: str) -> tuple[str, str]:
        """Return name and gender of a currency, for so much of it."""
        if sign in NAMED_BY_UNICODE:
            return NAMED_BY_UNICODE[sign], "m"
        code = self.code(sign)
        from babel.numbers import get_currency_name  # noqa: PLC0415

        if own := self.table.currency.get(code):
            one, several, *gender = own
            return one if self._one(figures) else several, gender[0] if gender else "m"
        name = get_currency_name(code, count=1 if self._one(figures) else 2, locale=self._locale)
        if name == code != sign:  # a name that this language's tables lack
            return unicodedata.name(sign).removesuffix(" SIGN").lower(), "m"
        return name.partition(" (")[0], "m"  # the years in which it was used

    def _one(self, figures: str) -> bool:
        whole, _, fraction = figures.partition(".")
        whole = whole.lstrip("0")
        if self.language == "fr":
            return whole in ("", "1")
        return whole == "1" and not fraction.strip("0")

    def unit(self, symbol: str, figures: str) -> str:
        """`12` and `°C`, in words."""
        from babel.units import format_unit  # noqa: PLC0415

        name = self.units[symbol]
        value = 1 if self._one(figures) else 1.5 if "." in figures else 5  # for the plural's form alone
        gender = (
            "f" if name in _FEMININE_UNITS.get(self.language, ()) else "n" if self.language == "de" else "m"
        )
        is_degrees = name.startswith("temperature")
        said = self.cardinal(figures, gender) if is_degrees else self.amount(figures, gender)
        if self.language == "zh" and name.startswith("digital"):  # as people say them, letter by letter
            return said + symbol
        form = format_unit(value, name, length="long", locale=self._locale).replace("\u00a0", " ")
        whole = _FIGURES.sub(lambda _: said, form, count=1) if _FIGURES.search(form) else f"{said} {form}"
        return re.sub(r"\buna (?=[aeiou])", "un'", whole) if self.language == "it" else whole

    def fraction(self, over: int, under: int) -> str:
        """`1/2`."""
        if named := self.table.named_fractions.get(f"{over}/{under}"):
            return named
        counted = self.cardinal(str(over), "m")
        if under in self.table.fractions:
            return f"{counted} {self.table.fractions[under][over != 1]}"
        if self.table.fraction:
            return self.table.fraction.format(counted, self.cardinal(str(under)))
        if self.language == "de":
            return f"{counted} {self.ordinal(under).capitalize()}l"
        part = self.ordinal(under)
        if self.language == "it":
            return f"{counted} {part if over == 1 else part[:-1] + 'i'}"
        return f"{counted} {part}{'' if over == 1 else 's'}"


def _zero(said: str, language: str) -> str:
    """Korean's zero in a number; 공 is that of digits told one by one."""
    return said.replace("공", "영") if language == "ko" else said


def _cardinal_rules(gender: str) -> tuple[str, ...]:
    kind = {"m": "masculine", "f": "feminine", "n": "neuter"}.get(gender)
    wanted = (f"spellout-cardinal-{kind}", "spellout-cardinal-masculine", "spellout-cardinal") if kind else ()
    return (*wanted, "spellout-numbering", "spellout-cardinal")
