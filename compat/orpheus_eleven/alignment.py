"""When each character of a text sounds, derived from when its words do."""

from collections.abc import Iterator
from itertools import pairwise

import msgspec

from orpheus_openai.speech.timed import DIGITS, TimedSegment


class Alignment(msgspec.Struct, frozen=True):
    """Characters of a text and their times in seconds; one for each, none before the one in front of it."""

    characters: list[str]
    character_start_times_seconds: list[float]
    character_end_times_seconds: list[float]

    @property
    def end(self) -> float:
        """When the last one ends; 0 where there is none."""
        return self.character_end_times_seconds[-1] if self.characters else 0.0


class Characters:
    """Times the characters of one text, segment by segment; all of them together are the text."""

    def __init__(self) -> None:
        self._reached = 0
        """Characters that were timed."""
        self.end = 0.0
        """When the last of them ends, in seconds."""

    def of(self, segment: TimedSegment, text: str) -> Alignment | None:
        """Those from the end of the segment before to the end of this one; None where there are none."""
        begin, end = self._reached, max(segment.span[1], self._reached)
        times: list[tuple[float, float]] = []
        for word in segment.words:
            start = max(word.span[0], self._reached)
            if word.span[1] <= start:
                continue
            times += self._gap(text[self._reached : start], word.start)
            self.end = max(self.end, word.start)
            times += self._spread(word.span[1] - start, word.end)
            self._reached = word.span[1]
        times += self._gap(text[self._reached : end], segment.end)
        self._reached = end
        return _alignment(text[begin:end], times)

    def rest(self, text: str, end: float) -> Alignment | None:
        """Those after the last segment of the text, such as white space, when it ends; None where there are none."""
        characters = text[self._reached :]
        times = list(self._gap(characters, max(end, self.end)))
        self._reached = len(text)
        return _alignment(characters, times)

    def _gap(self, characters: str, end: float) -> Iterator[tuple[float, float]]:
        """What stands between two words: the pause is the spaces', and only where something is acted its as well."""
        if not characters:
            return
        spaces = sum(char.isspace() for char in characters)
        shared = not spaces or any(char.isalnum() for char in characters)
        parts = len(characters) if shared else spaces
        start, length = self.end, max(end - self.end, 0.0)
        taken = 0
        for char in characters:
            begin = start + length * taken / parts
            taken += shared or char.isspace()
            self.end = start + length * taken / parts
            yield begin, self.end

    def _spread(self, count: int, end: float) -> Iterator[tuple[float, float]]:
        start, length = self.end, max(end - self.end, 0.0)
        edges = [start + length * part / count for part in range(count + 1)]
        self.end = edges[-1]
        yield from pairwise(edges)


def _alignment(characters: str, times: list[tuple[float, float]]) -> Alignment | None:
    if not characters:
        return None
    return Alignment(
        list(characters),
        [round(start, DIGITS) for start, _ in times],
        [round(end, DIGITS) for _, end in times],
    )
