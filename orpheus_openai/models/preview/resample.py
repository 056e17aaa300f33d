"""From eSpeak NG's sample rate to ours, as the samples come."""

from fractions import Fraction

import av
import numpy as np
from av import AudioFrame
from av.filter import Graph

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.models.preview.process import ESPEAK_SAMPLE_RATE

# The cutoff is relative to half the output's rate: 0.873 * 12 000 = 10 476 Hz, in the middle of the slope
# that 128 taps need to be down before 11 025 Hz, where the images begin.
_RESAMPLE = f"{SAMPLE_RATE}:filter_size=128:cutoff=0.873:filter_type=kaiser:kaiser_beta=9"


class Resampler:
    """22 050 Hz to 24 000 Hz: what is fed in pieces comes out as if it had been one.

    The filter is flat within 0.1 dB up to 10 kHz and keeps the images, all above 11 025 Hz, 90 dB down. 200 ms take
    0.06 ms.
    """

    def __init__(self) -> None:
        time_base = Fraction(1, ESPEAK_SAMPLE_RATE)
        self._graph = Graph()
        self._graph.threads = 1  # else it starts one for each core
        source = self._graph.add_abuffer(
            sample_rate=ESPEAK_SAMPLE_RATE, format="s16", layout="mono", time_base=time_base
        )
        resample = self._graph.add("aresample", _RESAMPLE)
        self._graph.link_nodes(source, resample, self._graph.add("abuffersink")).configure()
        self._fed = 0

    def feed(self, samples: PCM, *, last: bool = False) -> PCM:
        """Take `samples` and return the output that is certain by now; all of it when they are the `last`.

        Both are int16 of shape `(n,)`. Over all calls n samples, at least 147 of them, become n * 160 / 147,
        within one.
        """
        if len(samples):
            frame = AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
            frame.sample_rate = ESPEAK_SAMPLE_RATE
            frame.pts = self._fed
            self._fed += len(samples)
            self._graph.push(frame)
        if last:
            self._graph.push(None)
        resampled: list[PCM] = [np.empty(0, np.int16)]
        while True:
            try:
                resampled.append(self._graph.pull().to_ndarray()[0])
            except (av.BlockingIOError, av.EOFError):
                return np.concatenate(resampled)
