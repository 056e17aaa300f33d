"""Unicode's composed form (NFC) in linear time, whatever marks are piled up, with every change traced."""

import re
import unicodedata
from collections.abc import Iterator

from orpheus_openai.text.trace import Edit, Traced

MAX_MARKS = 30
"""Marks that one character may carry: as many as the Stream-Safe Text Format lets stand (Unicode, UAX #15).
Putting a longer run in order takes time that grows with its square; further marks are left out."""

_SCRIPTS = (range(0x300, 0x3400), range(0xA4D0, 0xAC00), range(0xF900, 0x20000))
"""Where marks are found: below stands Latin, between them Chinese and Korean, above nothing but variation selectors."""
_HANGUL_TAILS = "\u1161-\u1175\u11a8-\u11c2"
_OTHER_TAILS = "\U00016d67"
"""Of class 0 and no mark, and yet composed with what stands before (Unicode 16)."""

_MARKS = "".join(
    chr(code) for codes in _SCRIPTS for code in codes if unicodedata.category(chr(code))[0] == "M"
)
_MARK_SET = frozenset(_MARKS)
_TAILS = f"{_MARKS}{_HANGUL_TAILS}{_OTHER_TAILS}"
# What is composed or put in order together: a character and its tails; else one that may have another form.
_CLUSTER = re.compile(f"[^{_TAILS}]?[{_TAILS}]+|[\u0340-\U0010ffff]")


def compose(traced: Traced) -> Traced:
    """`traced` in NFC, no character with more than MAX_MARKS marks."""
    if traced.text.isascii():
        return traced
    if crowds := list(_crowds(traced.text)):
        traced = traced.edited(Edit(start + MAX_MARKS, end, "") for start, end in crowds)
    if unicodedata.is_normalized("NFC", traced.text):
        return traced
    return traced.sub(_CLUSTER, lambda m: unicodedata.normalize("NFC", m[0]))


def _crowds(text: str) -> Iterator[tuple[int, int]]:
    """Where more than MAX_MARKS marks follow each other.

    Such a run has a mark at one of every so many places, so only those are looked at: a pattern would look at all, in
    one go, and nothing else would go on meanwhile.
    """
    end = 0
    for place in range(MAX_MARKS, len(text), MAX_MARKS + 1):
        if place < end or text[place] not in _MARK_SET:
            continue
        start, last = place, end
        while start > last and text[start - 1] in _MARK_SET:
            start -= 1
        end = place + 1
        while end < len(text) and text[end] in _MARK_SET:
            end += 1
        if end - start > MAX_MARKS:
            yield start, end
