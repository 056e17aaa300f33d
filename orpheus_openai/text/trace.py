"""A text that was changed on its way, and where each part of it stood in the text it came from."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, Self

import msgspec


class Edit(NamedTuple):
    """`text` takes the place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str


class Traced(msgspec.Struct, frozen=True):
    """`text`, in pieces that each know their span in the source, the text that everything began with.

    A piece that was kept stands in the source as it is, and is followed character by character; any other took
    the place of its whole span. Spans never run backwards. What was left out has no piece.
    """

    text: str
    at: tuple[int, ...]
    """Where each piece begins in `text`, ascending; the first at 0."""
    starts: tuple[int, ...]
    """Where the span of each begins in the source."""
    ends: tuple[int, ...]
    """Where it ends."""
    kept: tuple[bool, ...]

    @classmethod
    def of(cls, source: str, start: int = 0, end: int | None = None) -> Self:
        """`source[start:end]`, unchanged."""
        end = len(source) if end is None else end
        return cls(source[start:end], (0,), (start,), (end,), (True,))

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]`, which must not be empty, stood in the source."""
        first, last = bisect_right(self.at, start) - 1, bisect_left(self.at, end) - 1
        return self._clip(first, start, end)[0], self._clip(last, start, end)[1]

    def _clip(self, piece: int, start: int, end: int) -> tuple[int, int]:
        """The span of the part of a piece that lies in `text[start:end]`; of the whole piece if it was replaced."""
        at, source_start, source_end = self.at[piece], self.starts[piece], self.ends[piece]
        if not self.kept[piece]:
            return source_start, source_end
        piece_end = at + source_end - source_start
        return source_start + max(0, start - at), source_end - max(0, piece_end - end)

    def slice(self, start: int, end: int) -> "Traced":
        """`text[start:end]`."""
        if start == 0 and end == len(self.text):
            return self
        return _built([(self, start, end)])

    def edited(self, edits: Iterable[Edit]) -> "Traced":
        """With `edits` made, which stand in order and do not overlap.

        A part of a piece that has been replaced before counts as all of it: both point at the whole span.
        """
        parts: list[tuple[Traced, int, int]] = []
        done = 0
        for start, end, text in edits:
            parts.append((self, done, start))
            parts.append((self.replaced(start, end, text), 0, len(text)))
            done = end
        if not parts:
            return self
        return _built([*parts, (self, done, len(self.text))])

    def replaced(self, start: int, end: int, text: str) -> "Traced":
        """`text`, which stands for `self.text[start:end]`."""
        if start < end:
            source_start, source_end = self.span(start, end)
        else:
            source_start, source_end = self._between(start)
        return Traced(text, (0,), (source_start,), (source_end,), (False,))

    def _between(self, at: int) -> tuple[int, int]:
        """Where something that is put in at `at` belongs: a place between two characters, or what they stand for."""
        if at == 0:
            return (self.starts[0],) * 2 if self.starts else (0, 0)
        reached = self.span(at - 1, at)[1]
        return (min(self.span(at, at + 1)[0], reached) if at < len(self.text) else reached), reached

    def sub(self, pattern: re.Pattern[str], replacement: str | Callable[[re.Match[str]], str]) -> "Traced":
        """As `pattern.sub`; a string stands as it is, groups are not filled in."""
        found = pattern.finditer(self.text)
        if (first := next(found, None)) is None:
            return self
        make = replacement if callable(replacement) else lambda _: replacement
        return self.edited(
            Edit(m.start(), m.end(), new) for m in chain([first], found) if (new := make(m)) != m[0]
        )


def join(separator: str, parts: Sequence[Traced]) -> Traced:
    """Join parts of one source, each with some text, by `separator` in the place of what lay between them."""
    if len(parts) == 1:
        return parts[0]
    runs: list[tuple[Traced, int, int]] = [(parts[0], 0, len(parts[0].text))]
    for before, part in pairwise(parts):
        gap = Traced(separator, (0,), (before.ends[-1],), (max(before.ends[-1], part.starts[0]),), (False,))
        runs += [(gap, 0, len(separator)), (part, 0, len(part.text))]
    return _built(runs)


def _built(parts: Iterable[tuple[Traced, int, int]]) -> Traced:
    """The parts (of `text[start:end]` each) one after another."""
    texts: list[str] = []
    at: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    kept: list[bool] = []
    length = 0
    for traced, start, end in parts:
        if start >= end:
            continue
        texts.append(traced.text[start:end])
        for piece in range(bisect_right(traced.at, start) - 1, bisect_left(traced.at, end)):
            source_start, source_end = traced._clip(piece, start, end)  # noqa: SLF001  a value of the same kind
            at.append(length + max(0, traced.at[piece] - start))
            starts.append(source_start)
            ends.append(source_end)
            kept.append(traced.kept[piece])
        length += end - start
    return Traced("".join(texts), tuple(at), tuple(starts), tuple(ends), tuple(kept))
