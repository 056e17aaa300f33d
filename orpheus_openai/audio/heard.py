"""Whether each word of a text was said, and once: by what it costs to leave one out, or to say it twice.

The cheapest path through a reading (see `audio.align`) is held against those that leave a word out or go through it
again. All of these are found by two passes, one from each end: what comes before a word and what comes after it.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.align import fit
from orpheus_openai.audio.path import Fitted
from orpheus_openai.audio.spectrum import ROWS, Floats, Indices

MISSING, REPEATED, TAIL = 2.5, 5.0, -15.0
"""How much cheaper the path becomes without a word, with one twice, and without the last two to four. Found by
`benchmarks.verify --tune`, on other voices and sentences than those it measures."""
SHORT_WORD = SAMPLE_RATE // 5
SHORT_DOUBT = 2.0
"""So much more is needed to miss a word that takes fewer samples, such as "the": voices swallow it in sound speech."""
TAIL_WORDS = range(2, 5)


class Doubts(NamedTuple):
    """By how much it would fit better; 0 would be as good."""

    missing: float
    """If the word that is likeliest to be missing was not in the text."""
    repeated: float
    """If the likeliest to have been said twice was there twice."""
    tail: float
    """If the text ended a few words earlier."""

    @property
    def serious(self) -> bool:
        """Whether something was left out, or said twice."""
        return self.missing > MISSING or self.repeated > REPEATED or self.tail > TAIL


NONE = Doubts(-np.inf, -np.inf, -np.inf)


def doubts(pcm: PCM, reading: PCM, starts: Sequence[int], foreign: Collection[int] = ()) -> Doubts:
    """What of the words in `reading` was left out of `pcm` or said twice; arguments as those of `align.align`."""
    return doubts_of(fit(pcm, reading, starts, foreign), len(starts))


def doubts_of(fitted: Fitted | None, words: int) -> Doubts:
    """What `doubts` gives, of a recording that `fit` has laid beside a reading of so many words."""
    if fitted is None or words <= min(TAIL_WORDS):
        return NONE
    waits = np.flatnonzero(fitted.waits)
    before, after = waits[:-1], waits[1:]
    first, second = before + 1, np.minimum(before + 2, after)
    until = _forwards(fitted, np.stack([np.maximum(before - 1, 0), before, after - 1, after]))
    rest = _backwards(fitted, np.stack([first, second, after, np.minimum(after + 1, waits[-1])]))
    # Of each word, after each frame: what the path costs up to there if all before it, or it, has been said; and what
    # is still to come if it, or what follows it, is said next.
    done_before, done = until[:, :2].min(1), until[:, 2:].min(1)
    said_next, left_out = rest[:, :2].min(1), rest[:, 2:].min(1)
    whole = float(done[-1, -1])
    without = np.min(done_before[:-1] + left_out[1:], axis=0)
    without[0] = min(without[0], left_out[0, 0])
    without[-1] = min(without[-1], done_before[-1, -1])
    without[(after - before - 1) * fitted.hop < SHORT_WORD] += SHORT_DOUBT
    twice = np.min(done[:-1] + said_next[1:], axis=0)
    shorter = min(float(done_before[-1, -count]) for count in TAIL_WORDS if count < words)
    return Doubts(whole - float(without.min()), whole - float(twice.min()), whole - shorter)


def _forwards(fitted: Fitted, states: Indices) -> Floats:
    """What the cheapest path to some states costs, with each frame; shape `(frames, *states.shape)`."""
    moves, count = fitted.moves(), len(fitted.features)
    best = np.full(count + 3, np.inf, np.float32)
    best[2] = 0.0  # before the first state
    found = np.empty((len(fitted.target), *states.shape), np.float32)
    costs = step = np.empty(count, np.float32)
    for frame in range(len(found)):
        if frame % ROWS == 0:
            costs = fitted.costs(frame)
        now = best[3:] + moves[0]
        for size in range(1, 4):
            np.minimum(now, np.add(best[3 - size : -size], moves[size], out=step), out=now)
        best[:3] = np.inf
        best[3:] = now + costs[frame % ROWS]
        found[frame] = best[3:][states]
    return found


def _backwards(fitted: Fitted, states: Indices) -> Floats:
    """What the cheapest path costs that is in some states with a frame, from that on; shape as of `_forwards`."""
    moves, count = fitted.moves(), len(fitted.features)
    onwards = np.full((4, count), np.inf, np.float32)  # what it costs to go on from each state
    for size in range(4):
        onwards[size, : count - size] = moves[size, size:]
    rest = np.full(count + 3, np.inf, np.float32)
    found = np.empty((len(fitted.target), *states.shape), np.float32)
    costs = step = np.empty(count, np.float32)
    to_go = np.full(count, np.inf, np.float32)
    to_go[-2:] = 0.0
    for frame in range(len(found) - 1, -1, -1):
        if frame % ROWS == ROWS - 1 or frame == len(found) - 1:
            costs = fitted.costs(frame - frame % ROWS)
        rest[:count] = to_go + costs[frame % ROWS]
        found[frame] = rest[states]
        np.add(rest[:count], onwards[0], out=to_go)
        for size in range(1, 4):
            np.minimum(to_go, np.add(rest[size : count + size], onwards[size], out=step), out=to_go)
    return found
