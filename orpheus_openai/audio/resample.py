"""From one sample rate to another, while the PCM streams through."""

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

from orpheus_openai.audio import PCM
from orpheus_openai.audio.ffmpeg import take_no_threads

take_no_threads()

PASSED = 0.955
"""Where the filter is 6 dB down, as a share of half the lower of the two rates."""
FILTER = "filter_size=128:filter_type=kaiser:kaiser_beta=9:linear_interp=1:internal_sample_fmt=fltp"
"""So many taps at the lower rate fall from 0.1 to 90 dB down between 0.91 and 1 of half of it (Kaiser's formula)."""
PUSHED = 256
"""Samples of silence at a time that push out what the filter still holds."""


class Resampler:
    """One stream's change of rate, int16 of shape `(n,)`: what is fed in pieces comes out as if it had been one.

    Calls must not overlap, but may come from one thread after another. The filter's delay is made up for.
    """

    def __init__(self, source: int, target: int) -> None:
        """From `source` to `target`, both in Hz."""
        self._source, self._target = source, target
        self._graph = _graph(source, target)
        self._taken = 0
        self._returned = 0

    def process(self, pcm: PCM) -> PCM:
        """Take `pcm`, any n; return what is certain by now, which may be nothing yet."""
        if not pcm.size:
            return np.zeros(0, np.int16)
        resampled = self._filter(pcm)
        self._taken += pcm.size
        self._returned += resampled.size
        return resampled

    def flush(self) -> PCM:
        """End the stream and return the rest: all in all `resampled_length` of what was taken."""
        missing = resampled_length(self._taken, self._source, self._target) - self._returned
        last = [np.zeros(0, np.int16)]
        while sum(pcm.size for pcm in last) < missing:
            last.append(self._filter(np.zeros(PUSHED, np.int16)))
        self._returned += missing
        return np.concatenate(last)[: max(missing, 0)]

    def _filter(self, pcm: PCM) -> PCM:
        samples = np.ascontiguousarray(pcm, dtype=np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = self._source
        self._graph.push(frame)
        resampled: list[PCM] = [np.zeros(0, np.int16)]
        while True:
            try:
                resampled.append(self._graph.pull().to_ndarray().reshape(-1).astype(np.int16, copy=False))
            except (av.BlockingIOError, av.EOFError):
                return np.concatenate(resampled)


def resampled_length(samples: int, source: int, target: int) -> int:
    """How many samples at `target` last as long as `samples` at `source`."""
    return round(Fraction(samples * target, source))


def _graph(source: int, target: int) -> Graph:
    # libswresample takes the cutoff as a share of half the target's rate, also where the source's is lower.
    cutoff = PASSED * min(source, target) / target
    graph = Graph()
    graph.threads = 1
    entry = graph.add_abuffer(sample_rate=source, format="s16", layout="mono", time_base=Fraction(1, source))
    resample = graph.add("aresample", f"{target}:{FILTER}:cutoff={cutoff:.6f}")
    into = graph.add("aformat", "sample_fmts=s16")
    graph.link_nodes(entry, resample, into, graph.add("abuffersink")).configure()
    return graph
