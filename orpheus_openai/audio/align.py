"""When each word of a recording sounds, by a reading of the same words whose times are known.

Both become cepstra, frame by frame, and the likeliest path through the reading is found for the recording (dynamic
time warping, synchronous with the recording: Sakoe and Chiba 1978). What a reading has no frames for, pauses and
laughter, waits in states of its own between the words.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM
from orpheus_openai.audio.path import LONGEST_CLOSURE, Fitted, States, cheapest
from orpheus_openai.audio.spectrum import (
    AUDIBLE,
    BANDS,
    FRAMES_A_SECOND,
    HOP,
    SILENT,
    WINDOW,
    Floats,
    Indices,
    Spectrum,
    comparable,
    count_true,
)

FOREIGN_SHARES = (1.0, 0.8, 0.62)
"""How much of what sounds may be words where something foreign does, too: what fits best is taken."""
FINER = 2
"""How many frames of the reading are looked at for one of the recording's, so that there are some at any tempo."""

MOST_CELLS = 12_000_000
"""Frames of the one times frames of the other that are looked at; the frames of longer recordings are longer."""
FASTEST, SLOWEST = 0.3, 3.0
"""How long the recording may take for a second of the reading."""
TEMPOS = (0.64, 0.8, 1.0, 1.25, 1.56)
"""The same, tried one after the other where a recording is a beginning, whose length says nothing of its tempo."""


class Stretch(NamedTuple):
    """Where something sounds, in samples."""

    start: int
    end: int


def align(pcm: PCM, reading: PCM, starts: Sequence[int], foreign: Collection[int] = ()) -> list[Stretch]:
    """Where in `pcm` each word of `reading` sounds.

    Both are int16 of shape `(n,)` at 24 kHz. `starts` are the samples of the reading at which its words begin,
    ascending. `foreign` are places between words, 0 before the first to `len(starts)` after the last, where `pcm` may
    hold anything, such as laughter: that belongs to no word. Pauses and other tempos need not be told. Stretches stand
    in order and do not overlap. The work grows with the product of both lengths, up to a bound.
    """
    return placed(fit(pcm, reading, starts, foreign), starts, samples=pcm.size, reading=reading.size)


def placed(fitted: Fitted | None, starts: Sequence[int], *, samples: int, reading: int) -> list[Stretch]:
    """What `align` gives, of a recording of so many samples that `fit` has laid beside a reading of so many."""
    if not len(starts):
        return []
    if fitted is None:
        return in_proportion(samples, np.diff([*starts, max(reading, starts[-1])]))
    return _stretches(_way(fitted).word, len(starts), fitted.loudness, fitted.hop, samples)


def align_beginning(
    pcm: PCM, reading: PCM, starts: Sequence[int], foreign: Collection[int] = ()
) -> list[Stretch]:
    """Like `align` for a recording that may break off at any place of the text.

    What comes after it follows as fast as the reading goes at that tempo: stretches of its words lie behind `pcm`.
    """
    if pcm.size < WINDOW or reading.size < WINDOW:
        return [Stretch(*edge) for edge in pairwise([*starts, max(reading.size, *starts)])]
    hop, heard, read, edges = _analysed(pcm, reading, starts)
    sounding = heard.loudness > AUDIBLE
    fits = [_fitted(heard, read, edges, foreign, hop=hop, tempo=tempo, speech=sounding) for tempo in TEMPOS]
    paths = [cheapest(fitted, whole=False) for fitted in fits]
    fitted, (path, _) = min(zip(fits, paths, strict=True), key=lambda found: found[1][1])
    unsaid = fitted.states.word[path[-1] + 1 :]
    unsaid = unsaid[unsaid >= 0]
    word = np.concatenate([fitted.states.word[path], unsaid])
    loudness = np.concatenate([heard.loudness, np.ones(unsaid.size, np.float32)])
    return _stretches(word, len(starts), loudness, hop, max(pcm.size, word.size * hop))


def fit(pcm: PCM, reading: PCM, starts: Sequence[int], foreign: Collection[int] = ()) -> Fitted | None:
    """Both frame by frame, at the tempo that fits best; None where there is no word, or next to no sound.

    Arguments as those of `align`.
    """
    if not len(starts) or pcm.size < WINDOW or reading.size < WINDOW:
        return None
    hop, heard, read, edges = _analysed(pcm, reading, starts)
    sounding = heard.loudness > AUDIBLE
    tempo = FINER * count_true(sounding) / max(count_true(read.loudness > AUDIBLE), 1)
    ways = [
        _way(_fitted(heard, read, edges, foreign, hop=hop, tempo=tempo * share, speech=sounding))
        for share in (FOREIGN_SHARES if foreign else FOREIGN_SHARES[:1])
    ]
    way = min(ways, key=lambda way: way.cost)
    spoken, tempo = way.word >= 0, way.tempo
    speech = sounding
    if count_true(spoken & sounding) > BANDS:
        speech = spoken & sounding
        tempo *= count_true(spoken) / way.frames
    return _fitted(heard, read, edges, foreign, hop=hop, tempo=tempo, speech=speech)


def in_proportion(samples: int, lengths: Sequence[float] | NDArray[np.floating]) -> list[Stretch]:
    """So many samples, shared among words of such lengths: a guess where there is nothing to go by."""
    edges = np.cumsum([0.0, *lengths])
    edges = np.rint(edges * samples / max(float(edges[-1]), 1e-9)).astype(int)
    return [Stretch(start, end) for start, end in pairwise(edges.tolist())]


class _Way(NamedTuple):
    """A path through the reading."""

    word: Indices
    """Whose each frame of the recording is; -1: nobody's."""
    cost: float
    tempo: float
    frames: int
    """How many the reading has for its words."""


def _analysed(
    pcm: PCM, reading: PCM, starts: Sequence[int]
) -> tuple[int, Spectrum, Spectrum, NDArray[np.float64]]:
    """The samples from frame to frame, both sounds, and the frames of the reading where words begin, and its end."""
    hop = HOP * max(1, round((pcm.size * reading.size / HOP**2 / MOST_CELLS) ** 0.5))
    edges = np.array([*starts, reading.size]) * FINER / hop
    return hop, Spectrum.of(pcm, hop), Spectrum.of(reading, hop // FINER), edges


def _fitted(
    heard: Spectrum,
    read: Spectrum,
    edges: NDArray[np.float64],
    foreign: Collection[int],
    *,
    hop: int,
    tempo: float,
    speech: NDArray[np.bool_],
) -> Fitted:
    """Both, if the recording takes `tempo` times as long as the reading for the same.

    `edges` are the frames of the reading where words begin, and its end; `speech` says what of the recording is like
    speech.
    """
    tempo = min(max(tempo, FASTEST), SLOWEST)
    centres = np.arange(FINER / tempo / 2, len(read.levels), FINER / tempo)
    some = read.at(np.minimum(centres.astype(np.intp), len(read.levels) - 1))
    longest_closure = round(LONGEST_CLOSURE * FRAMES_A_SECOND * tempo)
    states = States.of(some.loudness, np.rint(edges * tempo / FINER).astype(int), foreign, longest_closure)
    target, source = comparable(heard, some, speech)
    return Fitted(target, heard.loudness, states, source[states.frame], tempo, hop)


def _way(fitted: Fitted) -> _Way:
    """The cheapest path."""
    path, cost = cheapest(fitted)
    word = fitted.states.word
    return _Way(word[path], cost, fitted.tempo, count_true(word >= 0))


def _stretches(word: Indices, count: int, loudness: Floats, hop: int, samples: int) -> list[Stretch]:
    """From the word of each frame to samples; a word that was skipped lies between its neighbours, without length."""
    first, last = np.full(count, word.size), np.full(count, -1)
    spoken = np.flatnonzero(word >= 0)
    np.minimum.at(first, word[spoken], spoken)
    np.maximum.at(last, word[spoken], spoken)
    stretches: list[Stretch] = []
    reached = 0
    for start, end in zip(first.tolist(), last.tolist(), strict=True):
        if end < start:
            stretches.append(Stretch(reached, reached))
            continue
        heard = np.flatnonzero(loudness[start : end + 1] >= SILENT)
        length = int(heard[-1]) + 1 if heard.size else 1
        begin = max(start * hop, reached)
        reached = max(min((start + length) * hop, samples), begin)
        stretches.append(Stretch(begin, reached))
    return stretches
