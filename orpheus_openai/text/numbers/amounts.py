"""Money, percentages, units: a number and what there is so much of."""

import re
from collections.abc import Iterator

from orpheus_openai.text.numbers.numerals import Numerals
from orpheus_openai.text.numbers.rules import END, LATIN, START, Rule, rule
from orpheus_openai.text.numbers.words import CURRENCIES, NAMED_BY_UNICODE

SIGNS = "".join(sign for sign in [*CURRENCIES, *NAMED_BY_UNICODE] if not sign.isalpha())
"""Signs of currencies but for $, which may have letters before it."""

_MILLIONS = re.compile(r"[1-9]\d*0{6}")
_LINKS = {"fr": "de", "es": "de", "it": "di"}
"""Between so many millions and what there are."""

_CODES = "USD|EUR|GBP|JPY|CNY|RMB|INR|KRW|CHF|AUD|CAD"


class Amounts:
    """The rules of one language."""

    def __init__(self, numerals: Numerals) -> None:
        self.numerals = numerals
        self.words = numerals.words
        self.table = numerals.table
        self.language = numerals.language
        self.space = numerals.space

    def lengths(self) -> Iterator[Rule]:
        """What is written in two units, before dates and times are told: 5 ft 3 in, 2h 30m."""
        yield rule(
            rf"{START}(\d{{1,3}})\s?h(?:rs?)?\s?(\d{{1,2}})\s?m(?:in)?(?![\w/²³])(?:\s?(\d{{1,2}})\s?s(?:ec)?(?!\w))?",
            lambda m: f"{m[1]} h {m[2]} min" + (f" {m[3]} s" if m[3] else ""),
        )
        if self.language == "en":
            word = self.words.cardinal
            yield rule(
                rf"{START}(\d{{1,3}})\s?ft\.?\s(\d{{1,2}})\s?in(?:\b\.?)(?!\s+\w)",
                lambda m: f"{m[1]} ft {word(m[2])} {'inch' if m[2] == '1' else 'inches'}",
            )
            yield rule(
                rf"{START}(\d)\s?['’′]\s?(\d{{1,2}})\s?[\"”″](?!\w)",
                lambda m: f"{word(m[1])} foot {word(m[2])}",
            )

    # --- money ----------------------------------------------------------------------------------------------

    def money(self) -> Iterator[Rule]:
        """A number with the sign, the code or the name of a currency."""
        signs, number = re.escape(SIGNS), self.numerals.pattern
        sign = rf"(?P<sign>(?:US|CA|AU|NT|HK|A|C|R)?\$|[{signs}])"
        scale = rf"(?:\s?(?P<scale>{self.numerals.scale})(?![{LATIN}]))?"
        minus = r"(?P<minus>[-−])?"
        yield rule(rf"{START}{minus}{sign}\s?(?P<n>{number}){scale}{END}", self._price)
        code = rf"(?P<sign>[{signs}]|\$|(?:{_CODES})\b|(?<=[\d万亿억만천조])[元円원])"
        yield rule(rf"{START}{minus}(?P<n>{number}){scale}\s?{code}", self._price)
        yield rule(rf"(?<!\w)(?P<sign>{_CODES})\s?{minus}(?P<n>{number}){scale}{END}", self._price)
        if self.language == "hi":
            yield rule(
                rf"(?<![\w\u0900-\u097f])(?P<sign>रु)(?:\.|पये)?\s?{minus}(?P<n>{number}){scale}{END}",
                self._price,
            )

    def _price(self, found: re.Match[str]) -> str:
        figures = self.numerals.figures(found["n"])
        sign = (
            "$" if found["sign"].endswith("$") else {"RMB": "CNY", "रु": "₹"}.get(found["sign"], found["sign"])
        )
        minus = f"{self.table.minus}{self.space}" if found["minus"] else ""
        if scale := found["scale"]:
            return minus + self._scaled(figures, sign, self.table.scales[scale])
        name, gender = self.words.currency(sign, figures)
        whole, _, cents = figures.partition(".")
        form = self.table.subunits.get(self.words.code(sign), self.table.cents)
        if len(cents) == len("00") and form:
            return minus + self._with_cents(whole, cents, sign, form)
        if not form and cents:
            figures = figures.rstrip("0").rstrip(".")
        amount = self.words.amount(figures, gender)
        if self.language in _LINKS and _MILLIONS.fullmatch(figures):
            return f"{minus}{self._linked(amount, _LINKS[self.language], name)}"
        return f"{minus}{amount}{self.space}{name}"

    def _linked(self, amount: str, link: str, name: str) -> str:
        return (
            f"{amount} d'{name}"
            if link == "de" and self.language == "fr" and name[0] in "aeiouAEIOU"
            else f"{amount} {link} {name}"
        )

    def _scaled(self, figures: str, sign: str, link: str) -> str:
        """Millions of it."""
        name, _ = self.words.currency(sign, "2")
        said = self.words.amount(figures, "m")
        if self.language == "fr" and link.endswith(" de"):
            return self._linked(f"{said} {link[: -len(' de')]}", "de", name)
        return f"{said}{'' if self.language in ('ko', 'zh') else ' '}{link}{self.space}{name}"

    def _with_cents(self, whole: str, cents: str, sign: str, form: str) -> str:
        name, gender = self.words.currency(sign, whole)
        said = f"{self.words.cardinal(whole, gender)}{self.space}{name}"
        if not int(cents):
            return said
        if int(cents) == 1 and self.table.one_cent:
            form = self.table.one_cent
        if not int(whole) and self.table.only_cents and sign in "$€":
            return f"{self.words.cardinal(str(int(cents)), 'm')} {self.table.only_cents[int(cents) != 1]}"
        amount = self.words.cardinal(str(int(cents)))
        if sign not in "$€" and self.language == "en":
            form = " {}"
        return said + form.format(amount)

    # --- percent, units -------------------------------------------------------------------------------------

    def measures(self) -> Iterator[Rule]:
        """A number with % or a unit."""
        minus = r"(?P<minus>(?<![\w)%％°])[-−+])?"
        number = self.numerals.pattern
        units = "|".join(re.escape(unit) for unit in sorted(self.words.units, key=len, reverse=True))
        yield rule(rf"{START}{minus}(?P<n>{number})\s?(?P<sign>[%％‰])", self._percent)
        yield rule(
            rf"{START}{minus}(?P<n>{number})\s?(?P<unit>℃|℉|º ?C|{units})(?![\w/²³\u0900-\u097f])", self._unit
        )

    def _signed(self, found: re.Match[str]) -> str:
        return {"+": f"{self.table.plus}{self.space}", None: ""}.get(
            found["minus"], f"{self.table.minus}{self.space}"
        )

    def _percent(self, found: re.Match[str]) -> str:
        name = self.table.permille if found["sign"] == "‰" else self.table.percent
        said = self._signed(found) + self.numerals.cardinal(found["n"], "n" if self.language == "de" else "")
        return name.format(said) if "{}" in name else f"{said}{'' if self.language == 'ko' else ' '}{name}"

    def _unit(self, found: re.Match[str]) -> str:
        symbol = {"℃": "°C", "℉": "°F"}.get(found["unit"], found["unit"].replace("º", "°").replace(" ", ""))
        return self._signed(found) + self.words.unit(symbol, self.numerals.figures(found["n"]))
