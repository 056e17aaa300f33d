"""Marks that keep a model steady: an end for every line, and no cries of many marks."""

import re

SENTENCE_ENDS = frozenset(".!?…。！？।॥")
CLOSERS = "\"'”’»›)]」』》〉）】"
"""What may stand between the end of a sentence and the next one."""

_END_MARKS = {"zh": "。", "hi": "।"}
_REPEATED = re.compile(r"([!?。！？।,;:])\1+")
_ENDED = re.compile(rf"[.!?…。！？।:;,，、；：—–-][{re.escape(CLOSERS)}]*\Z|>\Z")


def calm(text: str) -> str:
    """`text` with one mark where it has the same several times; three dots are one mark."""
    return _REPEATED.sub(r"\1", text)


def with_end_mark(text: str, language: str) -> str:
    """`calm(text)`, with a full stop where it ends with no mark and no emotion tag."""
    text = calm(text)
    return text if _ENDED.search(text) else text + _END_MARKS.get(language, ".")
