"""Cleaning: what is written for the eye is left out, or given the form in which people say it."""

import re
from collections.abc import Callable

from orpheus_openai.text.changes import LEFT_OUT
from orpheus_openai.text.directions import Directions
from orpheus_openai.text.markdown import plain
from orpheus_openai.text.normalise import visible
from orpheus_openai.text.trace import Traced

Note = Callable[[Traced, Traced, str], None]
"""Told what a step has made of a text, and what for."""

_ADDRESS = re.compile(
    r"(?i:\bhttps?://|\bwww\.)(?:[^\s<>\"'/?#@]*@)?(?P<host>[^\s<>\"'/?#:@，。、）]+)[^\s<>\"'，。、）]*"
)
_HOST_END = re.compile(r"[.,;:!?)\]}…*_]*\Z")
_CITATION = re.compile(
    r"(?:(?<=[^\W\d_]{2})|(?<=[.,;:!?)”\"’。！？]))(?:\s?\[\^?[1-9]\d{0,2}(?:\s?[,;–-]\s?[1-9]\d{0,2})*\])+"
)
_EMOJI = re.compile(
    # Not figures, and letters in circles and squares.
    "(?:[\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16a-\U0001f16f\U0001f18a-\U0001faff]"
    "|[\u2600-\u2775\u2794-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u231a\u231b\u2328\u23cf"
    "\u23e9-\u23f3\u23f8-\u23fa\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2934\u2935\u3030\u303d]"
    "|[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u24c2\u3297\u3299]\ufe0f)"
    "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\u200d\u20e3\U000e0020-\U000e007f]*"
)

_NESTED = re.compile(r"&(?:amp;)+(?=#?\w{1,31};)", re.IGNORECASE)
"""Entities that were escaped again, as pages do that escape what has been."""
_FENCE = re.compile(r"`{3,}|~{3,}")

MOST_TIMES = 5
"""As often is a block cleaned at most; what needs it oftener is written to that end."""

_KEYCAP = re.compile("(?<=[0-9#*])\ufe0f?\u20e3")


def cleaned(block: Traced, directions: Directions, note: Note) -> Traced:
    """`block` without Markdown, HTML, emoji and citations, addresses shortened; cleaned again, it stays as it is.

    Stage directions become emotion tags, or are left out (see `Directions`). What only looks alike stays. What was
    spelt with escapes or entities and looks like markup then goes as well, as nobody would say it.
    `note` is told of each step, what there was and what there is, and what it was for.
    """
    seen = visible(block)  # they may hide that a line begins with markup
    note(block, seen, LEFT_OUT)
    block = seen
    for _ in range(MOST_TIMES):
        once = _once(block, directions, note)
        if once.text == block.text:
            break
        block = once
    return block


def _once(block: Traced, directions: Directions, note: Note) -> Traced:
    steps: tuple[tuple[str, Callable[[Traced], Traced]], ...] = (
        ("stage direction", directions.acted),
        ("markup", _unfenced),
        ("address", lambda text: text.sub(_ADDRESS, _site)),
        ("citation", lambda text: text.sub(_CITATION, "")),
        ("emoji", _without_emoji),
    )
    for why, step in steps:
        after = step(block)
        note(block, after, why)
        block = after
    return block


def _unfenced(text: Traced) -> Traced:
    return plain(text.sub(_NESTED, "&")).sub(_FENCE, "")


def _without_emoji(text: Traced) -> Traced:
    return text if text.text.isascii() else text.sub(_KEYCAP, "").sub(_EMOJI, " ")


def _site(address: re.Match[str]) -> str:
    """Return what a person would say, with the marks that end the sentence, not the address."""
    end = _HOST_END.search(address[0])
    return address["host"].rstrip(".,;:!?)]}…*_").removeprefix("www.") + (end[0] if end else "")
