"""A text in blocks: what belongs together in Markdown, each of bounded size, without thoughts and fenced code."""

import re
from collections.abc import Iterable, Iterator

from orpheus_openai.text.cuts import cut_between_words
from orpheus_openai.text.marks import SENTENCE_ENDS
from orpheus_openai.text.normalise import NEWLINE
from orpheus_openai.text.trace import Traced, join

MAX_BLOCK = 4_000
"""Characters from which a block ends with the next sentence or two, if a line does: as much is worked on at once.
A line that is twice as long is parted: where a sentence ends, else with a clause or between words."""

_CUT_REACH = 1_000
"""Characters among which the best place to part a line is looked for, where no sentence ends."""

_LINE_CUT = re.compile(r"(?<=\w{3}[.!?…])[\"'”’»)\]]*(?=\s)|[。！？।][\"”’»」』）]*")
_THOUGHT = re.compile(r"<(think|thinking)>", re.IGNORECASE)
_FENCE = re.compile(r"[\s>]*(?P<marks>`{3,}(?=[^`\n]*$)|~{3,})")


def blocks(text: Traced, *, read_code: bool = False) -> Iterator[Traced]:
    r"""Yield the blocks of `text`, their lines parted by `\n`; a blank line, or their size, ends them.

    What stands in `<think>…</think>` is left out, and so is code between fences unless `read_code` is set; where
    the closing end is missing, only the mark is. Time is linear in the text, and no more is read than is wanted.
    """
    lines: list[Traced] = []
    size = 0
    for line, parted in _short(_HeardLines(text, read_code=read_code)):
        if line.text.strip(" \t>"):
            lines.append(line)
            size += len(line.text)
        ends = line.text[-1:] in SENTENCE_ENDS or size >= 2 * MAX_BLOCK
        enough = parted or (size >= MAX_BLOCK and ends)
        if lines and (enough or not line.text.strip(" \t>")):
            yield join("\n", lines)
            lines, size = [], 0
    if lines:
        yield join("\n", lines)


def _short(lines: Iterable[Traced]) -> Iterator[tuple[Traced, bool]]:
    """Yield the lines, very long ones in parts, and whether the line goes on.

    What is done with a line is done in one go, and everybody waits for it.
    """
    for line in lines:
        start = 0
        while len(line.text) - start > 2 * MAX_BLOCK:
            most = start + MAX_BLOCK
            found = _LINE_CUT.search(line.text, most, min(most + MAX_BLOCK, len(line.text) - MAX_BLOCK))
            cut = found.end() if found else cut_between_words(line.text, most, _CUT_REACH)
            yield line.slice(start, cut), True
            start = cut
        yield line.slice(start, len(line.text)), False


class _HeardLines:
    """The lines of a text that are meant to be heard."""

    def __init__(self, source: Traced, *, read_code: bool) -> None:
        self._source = source
        self._text = source.text
        self._read_code = read_code
        self._at = 0
        self._never_closed: set[str] = set()
        """Ends that do not come any more."""
        self._line = (0, 0)
        """Where the line that was read last ends, and the next begins."""

    def __iter__(self) -> Iterator[Traced]:
        while self._at < len(self._text):
            start = self._at
            end, self._at = self._line_end(start)
            if thought := _THOUGHT.search(self._text, start, end):
                end = thought.start()
                self._at = self._after(f"</{thought[1]}>", thought.end(), line_end=False)
            elif fence := _FENCE.match(self._text, start, end):
                if not self._read_code:
                    self._at = self._after(fence["marks"][:3], self._at, line_end=True)
                continue
            yield self._source.slice(start, end)

    def _line_end(self, start: int) -> tuple[int, int]:
        """Where the line of `start` ends, and the next begins; each line is looked through once."""
        if start >= self._line[1]:
            newline = NEWLINE.search(self._text, start)
            self._line = newline.span() if newline else (len(self._text), len(self._text))
        return self._line

    def _after(self, closing: str, start: int, *, line_end: bool) -> int:
        """Where to read on after what began before `start`: behind `closing`, at `start` if there is none."""
        if closing in self._never_closed:
            return start
        mark = re.escape(closing)
        pattern = rf"(?m:^[ \t>]*{mark}+[`~]*[ \t]*$)\n?" if line_end else f"(?i:{mark})"
        if (found := re.compile(pattern).search(self._text, start)) is None:
            self._never_closed.add(closing)
            return start
        return found.end()
