"""Speak faster or slower at the same pitch, while the PCM streams through."""

import math
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.filter import Graph

from orpheus_openai.audio import MAX_SPEED, MIN_SPEED, PCM, SAMPLE_RATE
from orpheus_openai.audio.ffmpeg import take_no_threads

take_no_threads()

STAGE_SLOWEST, STAGE_FASTEST = 0.5, 2.0
"""Beyond these one atempo filter repeats or skips samples, where two blend them (FFmpeg's manual, atempo)."""
BLOCK = 240
"""Samples, 10 ms, that go into the filter at a time. It returns nothing until it has as many as it was given
at once, so small blocks come out early; and equal ones make the result the same however the PCM was cut."""


class Tempo(Protocol):
    """One stream's change of speed. Calls must not overlap, but may come from one thread after another."""

    calculates: bool
    """False: whatever goes in comes out at once, as it is."""

    def process(self, pcm: PCM) -> PCM:
        """Take `pcm`, shape `(n,)`, any n; return what is ready, which may be nothing yet."""
        ...

    def flush(self) -> PCM:
        """End the stream and return the rest: all in all n / speed samples, rounded."""
        ...


def make_tempo(speed: float) -> Tempo:
    """Return a fresh tempo for `speed`, 0.25 to 4.0; 1.0 leaves every sample as it is. Else ValueError."""
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise ValueError(f"The speed must be from {MIN_SPEED} to {MAX_SPEED}, not {speed}.")
    return _Unchanged() if speed == 1.0 else _Stretched(speed)


class _Unchanged:
    """The speed it was spoken at."""

    calculates = False

    def process(self, pcm: PCM) -> PCM:
        return pcm

    def flush(self) -> PCM:
        return np.zeros(0, np.int16)


class _Stretched:
    """FFmpeg's atempo: overlapping windows, laid where their waveforms match best (WSOLA)."""

    calculates = True

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._graph = _graph(speed)
        self._rest: PCM = np.zeros(0, np.int16)
        self._taken = 0
        self._returned = 0

    def process(self, pcm: PCM) -> PCM:
        pending = np.concatenate([self._rest, pcm])
        whole = pending.size - pending.size % BLOCK
        self._rest = pending[whole:].copy()
        returned = self._filter(pending[:whole])
        self._returned += returned.size
        return returned

    def flush(self) -> PCM:
        taken = self._taken + self._rest.size
        missing = max(0, round(taken / self._speed) - self._returned)
        self._returned += missing
        # The filter's own flush drops what does not fill a window: silence pushes that out as well.
        last = [self._filter(np.pad(self._rest, (0, -taken % BLOCK)))]
        while sum(pcm.size for pcm in last) < missing:
            last.append(self._filter(np.zeros(BLOCK, np.int16)))
        return np.concatenate(last)[:missing]

    def _filter(self, pcm: PCM) -> PCM:
        ready: list[PCM] = [np.zeros(0, np.int16)]
        for start in range(0, pcm.size, BLOCK):
            block = np.ascontiguousarray(pcm[start : start + BLOCK], dtype=np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.time_base = Fraction(1, SAMPLE_RATE)
            frame.pts = self._taken
            self._taken += block.size
            self._graph.push(frame)
            ready += self._pull()
        return np.concatenate(ready)

    def _pull(self) -> list[PCM]:
        ready: list[PCM] = []
        while True:
            try:
                frame = self._graph.pull()
            except av.BlockingIOError:
                return ready
            ready.append(frame.to_ndarray().reshape(-1).astype(np.int16, copy=False))


def _graph(speed: float) -> Graph:
    """One atempo filter, or two in a row that share a speed which is too much for one."""
    stages = 1 if STAGE_SLOWEST <= speed <= STAGE_FASTEST else 2
    graph = Graph()
    graph.threads = 1
    last = graph.add_abuffer(
        sample_rate=SAMPLE_RATE, format="s16", layout="mono", time_base=Fraction(1, SAMPLE_RATE)
    )
    for _ in range(stages):
        filter_ = graph.add("atempo", f"{math.pow(speed, 1 / stages):.9f}")
        last.link_to(filter_)
        last = filter_
    sink = graph.add("abuffersink")
    last.link_to(sink)
    graph.configure()
    return graph
