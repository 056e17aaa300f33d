"""Who says what in a text, in which manner, and the silences that it asks for."""

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.text.trace import Traced

LONGEST_PAUSE = 10.0
"""Seconds; one that is longer is as long as this."""
PAUSE = 0.5
"""Seconds of one that says no length."""
MOST_SILENCE = 1_800.0
"""Seconds of all of a text's: a guided meditation needs many of them, and a few characters shall not make hours."""

_LENGTH = r"(?P<{0}>\d{{1,6}}(?:\.\d{{1,6}})?|\.\d{{1,6}})\s?(?P<{0}_unit>ms|milliseconds?|s|secs?|seconds?)?"
_PAUSE = re.compile(
    rf"\[\s?(?:pause|break)(?:\s?[\s:=,]\s?{_LENGTH.format('bracketed')})?\s?\]"
    rf"|<\s?break(?:\s+time\s?=\s?[\"']?{_LENGTH.format('tag')}[\"']?)?\s*/?>",
    re.IGNORECASE,
)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


class Manner(msgspec.Struct, frozen=True):
    """How a stretch of a text is said."""

    voice: str = ""
    """Who says it, by the text's own name for them; empty: the request's voice."""
    language: str = ""
    """ISO 639-1; empty: the voice's."""
    rate: float = 1.0
    """How fast, beside the speed of the whole."""


PLAIN = Manner()

Left = Callable[[Traced, str], None]
"""Told what is not said, and why."""


class Cast:
    """The names that may stand before what somebody says: `Anna: …`."""

    def __init__(self, names: Iterable[str]) -> None:
        """In any case; in a text they may be marked up, as in `**Anna:**`."""
        self._names = {" ".join(name.split()).casefold(): name for name in names if name.strip()}
        ordered = sorted(self._names, key=len, reverse=True)
        words = "|".join(r"\s+".join(map(re.escape, name.split())) for name in ordered) or "(?!)"
        self._label = re.compile(
            rf"^[ \t>]*(?:[-+*][ \t]+)?[*_]{{0,3}}\[?(?P<name>{words})\]?[*_]{{0,3}}[ \t]?[:：][*_]{{0,3}}[ \t]*",
            re.IGNORECASE | re.MULTILINE,
        )

    def turns(
        self, block: Traced, left: Left, speaker: Manner = PLAIN, *, in_line: bool = False
    ) -> Iterator[tuple[Manner, Traced]]:
        """Yield the stretches of `block`, without the names, each to be said by one voice; the first by `speaker`.

        What somebody says begins with their name at the start of a line, and ends with the next, or with a blank line.
        `in_line`: the block does not begin at one.
        """
        start = 0
        text = block.text
        for label in self._label.finditer(text, 1 if in_line else 0):
            yield from _until_blank_line(block, start, label.start(), speaker)
            name = " ".join(label["name"].split()).casefold()
            speaker, start = Manner(self._names[name]), label.end()
            left(block.slice(label.start(), label.end()), "name of a speaker")
        yield from _until_blank_line(block, start, len(text), speaker)


def _until_blank_line(
    block: Traced, start: int, end: int, speaker: Manner
) -> Iterator[tuple[Manner, Traced]]:
    blank = _BLANK_LINE.search(block.text, start, end) if speaker != PLAIN else None
    over = blank.start() if blank else end
    for manner, lo, hi in ((speaker, start, over), (PLAIN, over, end)):
        if block.text[lo:hi].strip():
            yield manner, block.slice(lo, hi)


def parted(block: Traced, left: Left) -> Iterator[Traced | float]:
    """Yield `block` in the parts between which it asks for a silence, and the seconds of each.

    `[pause 0.5s]`, `[pause]`, and `<break time="500ms"/>` as other speech servers have it.
    """
    start = 0
    for found in _PAUSE.finditer(block.text) if "[" in block.text or "<" in block.text else ():
        if start < found.start():
            yield block.slice(start, found.start())
        left(block.slice(found.start(), found.end()), "pause")
        yield _length(found)
        start = found.end()
    if start < len(block.text):
        yield block.slice(start, len(block.text))


def require_bounded(texts: Iterable[str]) -> None:
    """Raise InvalidRequestError where the silences that stand in `texts` are more than `MOST_SILENCE` altogether.

    Those that follow each other are one, as long as that may be. What only markup hides from it, and a later step
    finds, is not counted here: see `Allowance`.
    """
    total = 0.0
    for text in texts:
        end, silence = 0, 0.0
        for found in _PAUSE.finditer(text):
            if text[end : found.start()].strip():
                total, silence = total + silence, 0.0
            silence = min(LONGEST_PAUSE, silence + _length(found))
            end = found.end()
        total += silence
    if total > MOST_SILENCE:
        raise InvalidRequestError(
            f"The text asks for {total:.0f} s of silence; at most {MOST_SILENCE:.0f} s are made in one request. "
            "Ask for shorter pauses, or send it in parts.",
            param="input",
            code="too_much_silence",
        )


class Allowance:
    """The silence that a text may still have."""

    def __init__(self) -> None:
        self._left = MOST_SILENCE

    def take(self, seconds: float | None) -> float | None:
        """So much of it, or what there is; None where none is asked for, or left."""
        if seconds is None or (given := min(seconds, self._left)) <= 0 < seconds:
            return None
        self._left -= given
        return given


def _length(found: re.Match[str]) -> float:
    return _seconds(found["bracketed"] or found["tag"], found["bracketed_unit"] or found["tag_unit"])


def _seconds(length: str | None, unit: str | None) -> float:
    seconds = PAUSE if length is None else float(length)
    return min(LONGEST_PAUSE, seconds / 1_000 if (unit or "s").lower().startswith("m") else seconds)
