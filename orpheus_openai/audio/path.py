"""The states that a recording of known words goes through, and the cheapest way through them, frame by frame."""

from collections.abc import Collection
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio.spectrum import ROWS, SILENT, Floats, Indices

LONGEST_CLOSURE = 0.09
"""Seconds of silence that belong to a word, such as before its `t`; what is longer is a pause."""
# What follows is weighed against the distance of two frames, which is about 1 where the same is said by two voices. Set
# by `benchmarks.timings`.
STAY, SKIP_ONE, SKIP_TWO = 0.47, 0.2, 1.0
"""What it costs to give one of the reading's frames more than one of the recording's, or none to one or to two."""
STAY_BESIDE_FOREIGN = 0.8
"""What the first of them costs in words beside which something foreign may sound: a hiss is not a long "s"."""
PAUSE = 2.7
"""What it costs to pause where the reading does not, however long."""
HUSH, FOREIGN = 0.4, 1.2
"""What a silent frame costs in a pause, and any frame where something foreign may sound."""
LOUD_PAUSE = 7.3
"""What a frame as loud as speech costs in a pause, more than `HUSH`."""


class Fitted(NamedTuple):
    """A recording, and the states that a path goes through for it."""

    target: Floats
    """What is told of each frame of the recording, shape `(frames, features)`."""
    loudness: Floats
    states: "States"
    features: Floats
    """The same of each state."""
    tempo: float
    hop: int
    """Samples from one frame to the next."""

    @property
    def waits(self) -> NDArray[np.bool_]:
        """Which states wait, before, between and after the words."""
        return self.states.word < 0

    def moves(self) -> Floats:
        """What it costs to come to each state by going on by none to three, shape `(4, states)`."""
        return _moves(self.states)

    def costs(self, start: int) -> Floats:
        """What each of `ROWS` frames from `start` on costs in each state."""
        rows = slice(start, start + ROWS)
        block, waits = self.target[rows], self.waits
        squares = np.einsum("ij,ij->i", self.features, self.features)
        costs: Floats = np.einsum("ij,ij->i", block, block)[:, None] + squares - 2 * block @ self.features.T
        costs = np.sqrt(np.maximum(costs, 0, out=costs) / block.shape[1])
        costs[:, waits] = (HUSH + LOUD_PAUSE * np.minimum(self.loudness[rows], 1.0) ** 2)[:, None]
        foreign = self.states.foreign
        costs[:, foreign] = np.minimum(costs[:, foreign], FOREIGN)
        return costs


class States(NamedTuple):
    """What the path goes through: frames of words, and between them a state that waits."""

    frame: Indices
    """Of the reading; 0 for a state that waits."""
    word: Indices
    """Whose frame it is; -1: a state that waits."""
    foreign: NDArray[np.bool_]
    """Waits for anything, not for silence alone."""
    beside_foreign: NDArray[np.bool_]
    """A frame of a word before or after such a state."""
    enter: Floats
    """What it costs to come here from the state before."""

    @classmethod
    def of(
        cls, loudness: Floats, edges: NDArray[np.int_], foreign: Collection[int], longest_closure: int
    ) -> "States":
        """Those of a reading whose words begin at `edges`, in frames, the last of which is its end.

        `foreign` as in `align.align`; a silence of more than `longest_closure` frames is a pause.
        """
        kept = _without_pauses(loudness < SILENT, longest_closure)
        frame, word, enter = [0], [-1], [0.0]
        for index, (start, end) in enumerate(pairwise(np.minimum(edges, len(kept) - 1))):
            own = [f for f in range(start, max(end, start + 1)) if kept[f]] or [int(start)]
            paused = not kept[max(end - 1, 0)]
            frame += [*own, 0]
            word += [index] * len(own) + [-1]
            enter += [0.0] * len(own) + [0.0 if paused else PAUSE]
        enter[-1] = 0.0
        waits = np.flatnonzero(np.array(word) < 0)
        is_foreign = np.zeros(len(word), np.bool_)
        is_foreign[waits[[place for place in foreign if 0 <= place < len(waits)]]] = True
        words = np.array(word)
        neighbours = [word for place in foreign for word in (place - 1, place) if word >= 0]
        costs = np.where(is_foreign, 0, enter).astype(np.float32)
        return cls(np.array(frame), words, is_foreign, np.isin(words, neighbours), costs)


def _without_pauses(silent: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Which frames stay when every silence of more than `most` frames goes."""
    kept = np.ones(silent.size, np.bool_)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    for start, end in edges.reshape(-1, 2):
        if end - start > most:
            kept[start:end] = False
    return kept


def _moves(states: States) -> Floats:
    waits = states.word < 0
    after_wait = np.concatenate([[False], waits[:-1]])
    soon_after = after_wait | np.concatenate([[False, False], waits[:-2]])
    # A state that waits is passed by freely.
    return np.stack(
        [
            np.where(waits, 0.0, np.where(states.beside_foreign, STAY_BESIDE_FOREIGN, STAY)),
            states.enter,
            np.where(after_wait, 0.0, SKIP_ONE) + states.enter,
            np.where(soon_after, SKIP_ONE, SKIP_TWO) + states.enter,
        ]
    ).astype(np.float32)


def cheapest(fitted: Fitted, *, whole: bool = True) -> tuple[Indices, float]:
    """The state of each frame of the recording, ascending, on the cheapest way through all of them, and its price.

    If it is not the `whole` text that was said, through as many of them as fit best.
    """
    frames, count = len(fitted.target), len(fitted.features)
    moves = fitted.moves()
    best = np.full((frames + 1, count + 3), np.inf, np.float32)
    best[0, 2] = 0.0  # before the first state
    costs = move = np.empty(count, np.float32)
    for frame in range(frames):
        if frame % ROWS == 0:
            costs = fitted.costs(frame)
        before, now = best[frame], best[frame + 1, 3:]
        np.add(before[3:], moves[0], out=now)
        for step in range(1, 4):
            np.minimum(now, np.add(before[3 - step : -step], moves[step], out=move), out=now)
        now += costs[frame % ROWS]
    ends = best[-1, 3:]
    if not whole:
        return _traced(best, moves, int(np.argmin(ends)))
    return _traced(best, moves, count - 1 if ends[-1] <= ends[-2] else count - 2)


def _traced(best: Floats, moves: Floats, state: int) -> tuple[Indices, float]:
    """The way that ends in `state`."""
    frames = len(best) - 1
    path = np.empty(frames, np.intp)
    cost = float(best[-1, state + 3])
    for frame in range(frames, 0, -1):
        path[frame - 1] = state
        before = best[frame - 1, state : state + 4][::-1]
        state = max(state - int(np.argmin(before + moves[:, state])), 0)
    return path, cost
