"""What was changed of a text on its way to what is spoken, and why: for those who ask, not for those who listen."""

from collections.abc import Iterator
from itertools import chain, pairwise

import msgspec

from orpheus_openai.text.trace import Traced
from orpheus_openai.text.warnings import Warned


class Change(msgspec.Struct, frozen=True):
    """Something that is said in another way than it is written, or not at all."""

    start: int
    """Where what is written begins in the text."""
    written: str
    said: str
    why: str


LEFT_OUT, OTHERWISE = "cannot be spoken", "another form"
"""Why, where no step has told."""


class Ledger:
    """Notes which step took what from the text, for each of its characters."""

    def __init__(self) -> None:
        self.warnings = list[Warned]()
        """What is not done though the text asks for it."""
        self._why: dict[int, str] = {}

    def note(self, before: Traced, after: Traced, why: str) -> None:
        """`why` is the reason of what is no longer in `after` as it was in `before`; white space needs none."""
        if before is after:
            return
        lost = _kept(before) - _kept(after)
        self._why |= dict.fromkeys(lost, why)
        again = set(_replaced(after)) - set(_replaced(before))
        self._why |= {start: why for start, _, text in again if start not in lost and text.strip()}

    def changes(self, source: str, since: int, spoken: Traced) -> list[Change]:
        """What was changed of `source` from `since` to the end of `spoken`, in order.

        What differs in white space alone is no change.
        """
        return list(self._changes(source, since, spoken))

    def _changes(self, source: str, since: int, spoken: Traced) -> Iterator[Change]:
        begun, said = since, ""
        reached = since
        for text, start, end, kept in chain(_pieces(spoken), [("", spoken.ends[-1], spoken.ends[-1], True)]):
            if kept:
                yield from self._change(source, begun, max(begun, start), said)
                begun, said = max(reached, end), ""
            else:
                said += text
            reached = max(reached, end)

    def _change(self, source: str, start: int, end: int, said: str) -> Iterator[Change]:
        written = source[start:end]
        if written.split() != said.split():
            reasons = dict.fromkeys(self._why[n] for n in range(start, end) if n in self._why)
            why = ", ".join(reasons) or (OTHERWISE if said.strip() else LEFT_OUT)
            yield Change(start + len(written) - len(written.lstrip()), written.strip(), said.strip(), why)

    def rest(self, source: str, since: int) -> list[Change]:
        """What was left out after all that is spoken."""
        return list(self._change(source, since, len(source), ""))


def _pieces(traced: Traced) -> Iterator[tuple[str, int, int, bool]]:
    edges = pairwise((*traced.at, len(traced.text)))
    texts = (traced.text[a:b] for a, b in edges)
    return zip(texts, traced.starts, traced.ends, traced.kept, strict=True)


def _replaced(traced: Traced) -> Iterator[tuple[int, int, str]]:
    return ((start, end, text) for text, start, end, kept in _pieces(traced) if not kept)


def _kept(traced: Traced) -> set[int]:
    """Where the characters that were kept, white space aside, stand in the source."""
    return {
        start + n
        for text, start, _, kept in _pieces(traced)
        if kept
        for n, char in enumerate(text)
        if not char.isspace()
    }
