"""When each word of a recording sounds, by a reading of the same words whose times are known.

Both become cepstra, frame by frame, and the likeliest path through the reading is found for the recording (dynamic
time warping, synchronous with the recording: Sakoe and Chiba 1978). What a reading has no frames for, pauses and
laughter, waits in states of its own between the words.
"""

from collections.abc import Collection, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM, SAMPLE_RATE

Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.intp]

FRAMES_A_SECOND = 100
HOP = SAMPLE_RATE // FRAMES_A_SECOND
"""Samples from one frame of the recording to the next; the reading's are as many, so that both speak equally fast."""
WINDOW = SAMPLE_RATE * 25 // 1_000
FFT = 1_024
BANDS = 26
LOWEST_HZ, HIGHEST_HZ = 80.0, 7_000.0
CEPSTRA = 12
"""The first of them, which is the level, left out."""

DELTA_WEIGHT = 0.8
LEVEL_WEIGHT = 2.7
LEAST_SPAN, MOST_SPAN = 2.8, 10.4
"""Between speech and silence, in powers of e: 12 and 45 dB."""
SILENT = 0.12

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

NOISE_FLOOR = -3.0
"""Powers of e below what is usual in speech: at the least so much of every band is taken for noise."""
AUDIBLE = 0.3
"""The loudness from which on a frame is no silence."""
FOREIGN_SHARES = (1.0, 0.8, 0.62)
"""How much of what sounds may be words where something foreign does, too: what fits best is taken."""
FINER = 2
"""How many frames of the reading are looked at for one of the recording's, so that there are some at any tempo."""

MOST_CELLS = 12_000_000
"""Frames of the one times frames of the other that are looked at; the frames of longer recordings are longer."""
FASTEST, SLOWEST = 0.3, 3.0
"""How long the recording may take for a second of the reading."""
ROWS = 256


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


def placed(fitted: "Fitted | None", starts: Sequence[int], *, samples: int, reading: int) -> list[Stretch]:
    """What `align` gives, of a recording of so many samples that `fit` has laid beside a reading of so many."""
    if not len(starts):
        return []
    if fitted is None:
        return in_proportion(samples, np.diff([*starts, max(reading, starts[-1])]))
    return _stretches(_way(fitted).word, len(starts), fitted.loudness, fitted.hop, samples)


def fit(pcm: PCM, reading: PCM, starts: Sequence[int], foreign: Collection[int] = ()) -> "Fitted | None":
    """Both frame by frame, at the tempo that fits best; None where there is no word, or next to no sound.

    Arguments as those of `align`.
    """
    if not len(starts) or pcm.size < WINDOW or reading.size < WINDOW:
        return None
    hop = HOP * max(1, round((pcm.size * reading.size / HOP**2 / MOST_CELLS) ** 0.5))
    heard, read = _Spectrum.of(pcm, hop), _Spectrum.of(reading, hop // FINER)
    edges = np.array([*starts, reading.size]) * FINER / hop
    sounding = heard.loudness > AUDIBLE
    tempo = FINER * _count(sounding) / max(_count(read.loudness > AUDIBLE), 1)
    ways = [
        _way(_fitted(heard, read, edges, foreign, hop=hop, tempo=tempo * share, speech=sounding))
        for share in (FOREIGN_SHARES if foreign else FOREIGN_SHARES[:1])
    ]
    way = min(ways, key=lambda way: way.cost)
    spoken, tempo = way.word >= 0, way.tempo
    speech = sounding
    if _count(spoken & sounding) > BANDS:
        speech = spoken & sounding
        tempo *= _count(spoken) / way.frames
    return _fitted(heard, read, edges, foreign, hop=hop, tempo=tempo, speech=speech)


def in_proportion(samples: int, lengths: Sequence[float] | NDArray[np.floating]) -> list[Stretch]:
    """So many samples, shared among words of such lengths: a guess where there is nothing to go by."""
    edges = np.cumsum([0.0, *lengths])
    edges = np.rint(edges * samples / max(float(edges[-1]), 1e-9)).astype(int)
    return [Stretch(start, end) for start, end in pairwise(edges.tolist())]


class _Spectrum(NamedTuple):
    """A sound, frame by frame."""

    bands: Floats
    """Energies as natural logarithms, shape `(frames, BANDS)`."""
    levels: Floats
    """The whole energy, shape `(frames, 1)`."""
    loudness: Floats
    """0 in silence to 1 in speech."""

    @classmethod
    def of(cls, pcm: PCM, hop: int) -> "_Spectrum":
        bands, levels = _analysed(pcm, hop)
        return cls(bands, levels[:, None], _loudness(levels))

    def at(self, frames: Indices) -> "_Spectrum":
        return _Spectrum(self.bands[frames], self.levels[frames], self.loudness[frames])


class _Way(NamedTuple):
    """A path through the reading."""

    word: Indices
    """Whose each frame of the recording is; -1: nobody's."""
    cost: float
    tempo: float
    frames: int
    """How many the reading has for its words."""


class Fitted(NamedTuple):
    """A recording, and the states that a path goes through for it."""

    target: Floats
    """What is told of each frame of the recording, shape `(frames, features)`."""
    loudness: Floats
    states: "_States"
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


def _fitted(
    heard: _Spectrum,
    read: _Spectrum,
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
    states = _States.of(some.loudness, np.rint(edges * tempo / FINER).astype(int), foreign, longest_closure)
    target, features = _features(heard, some, speech)
    return Fitted(target, heard.loudness, states, features[states.frame], tempo, hop)


def _way(fitted: Fitted) -> _Way:
    """The cheapest path."""
    path, cost = _path(fitted)
    word = fitted.states.word
    return _Way(word[path], cost, fitted.tempo, _count(word >= 0))


class _States(NamedTuple):
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
    ) -> "_States":
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


def _moves(states: _States) -> Floats:
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


def _path(fitted: Fitted) -> tuple[Indices, float]:
    """The state of each frame of the recording, ascending, on the cheapest way through all of them, and its price."""
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
    return _traced(best, moves)


def _traced(best: Floats, moves: Floats) -> tuple[Indices, float]:
    frames, last = len(best) - 1, moves.shape[1] - 1
    path = np.empty(frames, np.intp)
    state = last if best[-1, -1] <= best[-1, -2] else last - 1
    cost = float(best[-1, state + 3])
    for frame in range(frames, 0, -1):
        path[frame - 1] = state
        before = best[frame - 1, state : state + 4][::-1]
        state = max(state - int(np.argmin(before + moves[:, state])), 0)
    return path, cost


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


def _count(which: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(which))


def _loudness(levels: Floats) -> Floats:
    """0 in silence to 1 in speech, by what is usual in this recording."""
    loud = float(np.percentile(levels, 75))
    silent = min(max(float(np.percentile(levels, 3)), loud - MOST_SPAN), loud - LEAST_SPAN)
    result: Floats = (levels - silent) / (loud - silent)
    return np.clip(result, 0.0, 1.5)


def _features(heard: _Spectrum, read: _Spectrum, speech: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Of each: cepstra, how they change, and the level, with the mean 0 and the variance 1 where there is speech.

    The recording's noise is put under both.
    """
    parts = []
    for sound, like in ((heard, speech), (read, read.loudness > AUDIBLE)):
        among = like if _count(like) > BANDS else np.ones(like.size, np.bool_)
        parts.append(
            (sound.bands - sound.bands[among].mean(0), sound.levels - sound.levels[among].mean(), among)
        )
    floor = np.maximum(np.percentile(parts[0][0], 5, axis=0), NOISE_FLOOR)
    lowest = max(float(np.percentile(parts[0][1], 5)), NOISE_FLOOR)
    cosines = _tables()[2]
    both = []
    for bands, levels, among in parts:
        cepstra = np.logaddexp(bands, floor) @ cosines
        ahead = np.pad(cepstra, ((2, 2), (0, 0)), mode="edge")
        change = (2 * (ahead[4:] - ahead[:-4]) + ahead[3:-1] - ahead[1:-3]) / 10
        weighed = ((cepstra, 1.0), (change, DELTA_WEIGHT), (np.logaddexp(levels, lowest), LEVEL_WEIGHT))
        scaled = [
            weight * (part - part[among].mean(0)) / (part[among].std(0) + 1e-3) for part, weight in weighed
        ]
        both.append(np.concatenate(scaled, axis=1).astype(np.float32))
    return both[0], both[1]


def _analysed(pcm: PCM, hop: int) -> tuple[Floats, Floats]:
    """Energies of the bands, shape `(frames, BANDS)`, and of the whole, as natural logarithms, every `hop` samples."""
    count = max(pcm.size // hop, 1)
    padded = np.pad(pcm.astype(np.float32), (WINDOW // 2, WINDOW + hop))
    every = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[hop // 2 :: hop]
    window, bands, _ = _tables()
    energies, levels = np.empty((count, BANDS), np.float32), np.empty(count, np.float32)
    for row in range(0, count, ROWS):
        frames = every[row : min(row + ROWS, count)]
        frames = (frames - frames.mean(1, keepdims=True)) * window
        power = np.abs(np.fft.rfft(frames, FFT)) ** 2
        energies[row : row + ROWS] = np.log(power.astype(np.float32) @ bands + 4.0 * FFT)
        levels[row : row + ROWS] = np.log((frames**2).mean(1) + 1.0)
    return energies, levels


@cache
def _tables() -> tuple[Floats, Floats, Floats]:
    """The window, the mel bands (O'Shaughnessy's scale), and the cosines that turn them into cepstra."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)[:, None]
    left, top, right = edges[:-2], edges[1:-1], edges[2:]
    bands = np.clip(np.minimum((bins - left) / (top - left), (right - bins) / (right - top)), 0, None)
    turns = np.arange(1, CEPSTRA + 1) * (np.arange(BANDS)[:, None] + 0.5) * np.pi / BANDS
    return (
        np.hamming(WINDOW).astype(np.float32),
        bands.astype(np.float32),
        np.cos(turns).astype(np.float32),
    )
