"""Where a sentence that is too long is cut: at a clause, else between words, else between characters."""

import re
import unicodedata

from orpheus_openai.text.marks import CLOSERS

_CLOSERS = f"[{re.escape(CLOSERS)}]*"
# Marks before a space, the ends of sentences inside quotes among them (a short word before the full stop may
# be an abbreviation); a dash, and the marks of Chinese, which stand without spaces.
_CLAUSE_END = re.compile(rf"(?:[,;:–—…!?।॥]|(?<=\w{{5}})\.){_CLOSERS}(?=\s)|—|[、，；：。！？…]+{_CLOSERS}")
# Not before a mark that French sets apart, not inside a number such as 10 000.
_SPACE = re.compile(r"(?<!\s)(?!(?<=\d)\s\d{3}(?!\d))\s+(?![\s»›!?;:%€…])")
# Neither at a number nor at what may be an abbreviation.
_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_]{4})\s+(?=[^\W\d_]{3})")
# A tag, or what is written without spaces though it is no Chinese or Japanese: word, number, address.
_WORD_CHAR = r"[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_WORD_PART = rf"(?:{_WORD_CHAR}|[\u0300-\u036f\u0900-\u0963])+"
_ATOM = re.compile(rf"(?P<tag><\s?/?\w{{1,32}}\s?/?>)|{_WORD_PART}(?:[.,:'’@/&=?-]{{1,3}}{_WORD_PART})*")
_TAG_REACH = 48

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_VIRAMA_CLASS = 9


def even_cut(text: str, lo: int, hi: int, limit: int) -> int:
    """Where to end the first piece of `text[lo:hi]`, longer than `limit`: pieces come out even."""
    pieces = -(-(hi - lo) // limit)
    ideal = lo + -(-(hi - lo) // pieces)
    if cut := clause_cut(text, lo, limit, ideal):
        return cut
    spaces = [m.start() for m in _SPACE.finditer(text, lo + 1, lo + limit + 8) if m.start() <= lo + limit]
    if spaces:
        return min(spaces, key=lambda p: abs(p - ideal))
    return _character_cut(text, lo, hi, ideal)


def cut_between_words(text: str, at: int, limit: int) -> int:
    """Where to cut `text[:at]`, in which no sentence ends: with a clause, else between words, within `limit`."""
    low = max(0, at - limit)
    if ends := [m.end() for m in _CLAUSE_END.finditer(text, low + limit // 4, at)]:
        return ends[-1]
    if spaces := [m.start() for m in _BETWEEN_WORDS.finditer(text, low + limit // 4, at)]:
        return spaces[-1]
    return even_cut(text, low, at + 1, at - low)


def clause_cut(text: str, lo: int, limit: int, ideal: int) -> int | None:
    """Find the end of a clause in `text[lo:lo + limit]` nearest to `ideal`, but none near `lo`."""
    ends = (m.end() for m in _CLAUSE_END.finditer(text, lo + limit // 4, lo + limit + 1))
    return min((p for p in ends if p <= lo + limit), key=lambda p: abs(p - ideal), default=None)


def _character_cut(text: str, lo: int, hi: int, at: int) -> int:
    """Find the last place in `text[lo:hi]` up to `at` between words, else between characters."""
    for atom in _ATOM.finditer(text, lo, min(hi, at + _TAG_REACH)):
        if atom.start() < at < atom.end():
            if atom.start() > lo:
                at = atom.start()
            elif atom["tag"]:
                return atom.end()
            break
    cut = at
    while cut > lo and _inside_cluster(text, lo, cut):
        cut -= 1
    return cut if cut > lo else at


def _inside_cluster(text: str, lo: int, at: int) -> bool:
    """Whether `at` parts what is read as one character: marks, conjuncts, joined emoji, flags.

    The rules of Unicode's annex 29 for extended grapheme clusters, as far as composed text (NFC) needs them.
    """
    left, right = text[at - 1], text[at]
    if (
        unicodedata.category(right)[0] == "M"
        or right in {_ZWNJ, _ZWJ}
        or "\U0001f3fb" <= right <= "\U0001f3ff"
    ):
        return True
    if left == _ZWJ or unicodedata.combining(left) == _VIRAMA_CLASS:
        return True
    if _is_regional(left) and _is_regional(right):
        run = at
        while run > lo and _is_regional(text[run - 1]):
            run -= 1
        return (at - run) % 2 == 1
    return False


def _is_regional(char: str) -> bool:
    """One of the letters that make a flag in pairs."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"
