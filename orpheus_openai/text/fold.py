"""Letters and digits of other widths, styles and scripts, in the form that voices know: `１２３`, `𝗕𝗼𝗹𝗱`, `①`, `٣`."""

import re
import unicodedata
from fractions import Fraction

from orpheus_openai.text.trace import Traced

_FOLDED = frozenset(
    {"<wide>", "<narrow>", "<font>", "<circle>", "<square>", "<small>", "<compat>", "<isolated>"}
) | frozenset({"<initial>", "<medial>", "<final>", "<vertical>"})
"""Kinds of compatibility forms (Unicode, UnicodeData.txt) that are read as what they stand for. Not figures that are
`<super>` or `<fraction>`: x² is not x2, but H₂O is H2O, and 1ˢᵗ is 1st."""

_WIDE_MARKS = frozenset("％＠＃＆＊＋＝＜＞～／")
"""Marks whose narrow form has a name; other punctuation stays as wide as its script wants it."""
_SMALLEST_FRACTION = 320
"""Its denominator, among the figures that Unicode has."""
_NEGATIVE = "🅐🅰"
"""Where the capitals in black circles and squares begin, which Unicode calls no form of letters."""
_NAMED = frozenset("…№™℠₨﷼")
"""Signs with names of their own, which their letters do not spell."""
_CHANGED = re.compile(
    "[^\\x00-\\u017e\\u3000-\\u303f\\u3041-\\u3096\\u30a1-\\u30fa\\u4e00-\\u9fff\\uac00-\\ud7a3][\\ufe0e\\ufe0f]?"
)
"""Whatever may have another form, with what asks for a picture of it."""
_DEVANAGARI_DIGITS = "०१२३४५६७८९"


def fold(text: Traced, language: str) -> Traced:
    """`text` with such letters, digits and signs in their plain form; a language's own digits stay."""
    own = _DEVANAGARI_DIGITS if language == "hi" else ""

    def plain(found: re.Match[str]) -> str:
        char = found[0][0]
        folded = char if char in own else _plain(char)
        return found[0] if folded == char else folded

    return text if text.text.isascii() else text.sub(_CHANGED, plain)


def _plain(char: str) -> str:
    for first in _NEGATIVE:
        if first <= char <= chr(ord(first) + 25):
            return chr(ord("A") + ord(char) - ord(first))
    kind = unicodedata.decomposition(char).partition(" ")[0]
    category = unicodedata.category(char)
    if kind == "<sub>" or (kind == "<super>" and category == "Lm"):
        return unicodedata.normalize("NFKC", char)
    if kind in _FOLDED and (category[0] != "P" or char in _WIDE_MARKS) and char not in _NAMED:
        plain = unicodedata.normalize("NFKC", char)
        if any(part.isalnum() or part in "%@#&*+=<>~/$£¥₩¢|¬¦" for part in plain) and " " not in plain:
            return plain
    if category in ("Nd", "No") and kind not in ("<super>", "<sub>", "<fraction>"):
        value = Fraction(unicodedata.numeric(char, -1.0)).limit_denominator(_SMALLEST_FRACTION)
        return str(value) if value >= 0 else char
    return char
