"""How a language writes numbers, and the words for one as it stands in a text."""

import re

from orpheus_openai.text.numbers.words import NumberWords

_POINT = re.compile(r"(?<!\.\d\d\d)\.\d{1,2}\Z")


class Numerals:
    """Of one language."""

    def __init__(self, words: NumberWords) -> None:
        self.words = words
        self.table = words.table
        self.language = words.language
        self.space = "" if self.language == "zh" else " "
        group, decimal = f"[{re.escape(self.table.groups)}]", re.escape(self.table.decimal)
        several = r"\d{2,3}" if self.language in ("hi", "en") else r"\d{3}"
        # Prices have a point also where a comma is usual, and 10 000 is understood everywhere.
        forms = [
            r"\d{1,3}(?: \d{3})* 000(?: \d{3})*(?!\d)" if " " not in self.table.groups else "",
            rf"\d{{1,3}}(?:{group}{several})*{group}\d{{3}}(?!\d)(?:{decimal}\d+)?",
            r"\d+\.\d{1,2}(?![\d.])" if self.table.decimal == "," else "",
            rf"\d+(?:{decimal}\d+)?",
        ]
        self.pattern = f"(?:{'|'.join(filter(None, forms))})"
        """A regular expression for a number."""
        self.scale = "|".join(re.escape(scale) for scale in sorted(self.table.scales, key=len, reverse=True))

    def figures(self, number: str) -> str:
        """A number as this language writes it, as `NumberWords` takes it: digits, and a dot before a fraction."""
        if self.table.decimal == "," and "," not in number and _POINT.search(number):
            number = number.replace(".", ",")
        for sign in f"{self.table.groups} ":
            number = number.replace(sign, "")
        ascii_digits = "".join(str(int(c)) if c.isdigit() else c for c in number)
        return ascii_digits.replace(self.table.decimal, ".")

    def cardinal(self, number: str, gender: str = "") -> str:
        """In words; `gender` is that of what is counted."""
        return self.words.cardinal(self.figures(number), gender)
