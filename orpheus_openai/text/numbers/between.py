"""From one number to another, and in proportion to another."""

import re
from collections.abc import Iterator

from orpheus_openai.text.numbers.rules import END, LATIN, START, Rule, always, rule
from orpheus_openai.text.numbers.words import NumberWords


class Between:
    """The rules of one language; what stands between is put in words, the numbers are told later."""

    def __init__(self, words: NumberWords, signs: str) -> None:
        self.words = words
        self.table = words.table
        self.language = words.language
        space = "" if self.language == "zh" else " "
        before = "" if self.language == "ko" else space  # a particle
        self._to = f"{before}{self.table.range}{space}"
        self._ratio = f"{space}{self.table.ratio}{space}"
        self._signs = signs

    def early(self) -> Iterator[Rule]:
        """Before dates and times are told."""
        ended = r"(?<=:\d\d)|(?<=:\d\d [ap]m)" + (
            r"|(?<=\d[hH])|(?<=\d[hH]\d\d)" if self.language == "fr" else ""
        )
        clock = r"\d{1,2}:" + (r"|\d{1,2} ?[hH]" if self.language == "fr" else "")
        yield rule(rf"(?:{ended})\s?[-–—~]\s?(?={clock})", always(self._to))
        number = r"\d[\d.,]*"
        sign = rf"[{re.escape(self._signs)}$]"
        yield rule(
            rf"(?<![\w$])({sign})({number})\s?[-–—~]\s?(?:{sign})?(?={number})(?!{number}[-–—])",
            lambda m: f"{m[2]}{self._to}{m[1]}",
        )
        if self.table.native_counters:
            yield rule(
                rf"(?<![\d.,~–-])(\d{{1,2}})\s?[-–~]\s?(\d{{1,2}})\s?((?:{self.table.native_counters}))",
                lambda m: f"{m[1]}{m[3]}{self._to}{m[2]}{m[3]}",
            )
        yield rule(r"(?<=[\d%％°])\s?[–—~〜]\s?(?=\d)", always(self._to))

    def late(self) -> Iterator[Rule]:
        """After dates, times and telephone numbers have been told."""
        alone = rf"(?<![{LATIN}\d])(?<![\d{LATIN}][.,:/+-])"
        yield rule(r"(?<=\d[%％°])\s?-\s?(?=\d+(?:[.,]\d+)?\s?[%％°])", always(self._to))
        yield rule(rf"{alone}(\d[\d.,]*)-(\d[\d.,]*)(?![\d-])", self._ascending)
        word = self.words.cardinal
        yield rule(
            rf"{START}(\d{{1,3}}):(\d{{1,3}}){END}(?![:.,]\d)",
            lambda m: f"{word(m[1])}{self._ratio}{word(m[2])}",
        )

    def _ascending(self, found: re.Match[str]) -> str:
        """A hyphen means "to" where a larger number follows."""
        low, high = (re.sub(r"\D", "", number) for number in found.groups())
        if low.startswith("0") or high.startswith("0") or int(low) >= int(high):
            return found[0]
        return f"{found[1]}{self._to}{found[2]}"
