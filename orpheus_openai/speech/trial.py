"""One try at a segment: what was said, ended where it runs away, and what is wrong with it."""

import math
from collections import deque
from collections.abc import Callable
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.loops import Loops
from orpheus_openai.audio.verify import FADE, Fault, Silence, faded
from orpheus_openai.models.orpheus.frames import SAMPLES_PER_FRAME

ENDLESS_SILENCE = 5 * SAMPLE_RATE
"""Samples of silence after which nothing is expected any more."""
LAST_SILENCE = 3 * SAMPLE_RATE // 10
"""Samples that stay of it."""


class Trial:
    """A `Watch` of the model that speaks, and the PCM that nobody took yet."""

    def __init__(self, longest: Callable[[], float] = lambda: math.inf, *, kept: bool = False) -> None:
        """`longest` tells how many seconds the segment may last; `kept`: its PCM stays when it was taken."""
        self._longest = longest
        self._kept: list[PCM] | None = [] if kept else None
        self.pieces: deque[PCM] = deque()
        self.samples = 0
        """All there are, those included that were taken."""
        self.ahead = 0
        """Those that were not taken yet."""
        self.fault: Fault | None = None
        self.cut = False
        """It was ended, as it ran away."""
        self.ended = False
        """The model said that this was all."""
        self.lost = 0
        """Frames."""
        self.words_known = False
        """Somebody has looked whether its words were said."""
        self._frames = 0
        self._keep: int | None = None
        self._loops = Loops()
        self._silence = Silence()

    def look(self, frames: NDArray[np.int16], lost: int) -> bool:
        """Whether more is wanted; see `synthesis.Watch`."""
        self.lost = lost
        if self._loops.push(frames) and self._loops.start is not None:
            self._stop("loop", self._loops.start * SAMPLES_PER_FRAME)
        elif (self._frames + lost + len(frames)) * SAMPLES_PER_FRAME > self._longest() * SAMPLE_RATE:
            self._stop("length", self._frames * SAMPLES_PER_FRAME)
        self._frames += len(frames)
        return self._keep is None

    def over(self, *, ended: bool) -> None:
        """No more frames will come."""
        self.ended = ended

    def add(self, pcm: PCM) -> bool:
        """Take more of what is said; False: it is over, as nothing good can follow."""
        self.pieces.append(pcm)
        if self._kept is not None:
            self._kept.append(pcm)
        self.samples += pcm.size
        self.ahead += pcm.size
        self._silence.push(pcm)
        silent = self.samples - self._silence.sounded
        if self._keep is None and silent > ENDLESS_SILENCE:
            self._stop("silence", self._silence.sounded + LAST_SILENCE)
        if self._keep is None or self.samples <= self._keep:
            return True
        self._shorten(self._keep)
        return False

    def take(self) -> PCM:
        """The next piece, for the listener."""
        pcm = self.pieces.popleft()
        self.ahead -= pcm.size
        return pcm

    def finish(self) -> None:
        """All of it is there: note what is wrong with it."""
        if self._keep is not None:
            self._shorten(min(self._keep, self.samples))
        elif not self.samples:
            self.fault = "length"
        elif not self.ended:
            self.fault = "no_end"
        elif self._silence.goes_on:
            self.fault = "silence"
        elif self.lost:
            self.fault = "lost_frames"

    def require(self, shortest: float) -> None:
        """Note where it does not last so many seconds."""
        if self.samples < shortest * SAMPLE_RATE and not self.cut:
            self.fault = "length"

    def let_go(self) -> PCM:
        """All of its PCM, which is not kept any longer."""
        pieces, self._kept = self._kept or [], None
        return np.concatenate([np.zeros(0, np.int16), *pieces])

    def better_than(self, other: "Trial") -> bool:
        """Whether it is to be heard rather."""
        return self.spoilt < other.spoilt

    @property
    def spoilt(self) -> int:
        """How much; -1: it is good."""
        return get_args(Fault).index(self.fault) if self.fault else -1

    def _stop(self, fault: Fault, keep: int) -> None:
        if self._keep is None:
            self.fault, self._keep, self.cut = fault, keep, True

    def _shorten(self, samples: int) -> None:
        """Keep so many, or no more than were taken and what it needs to fall silent."""
        rest = np.concatenate([np.zeros(0, np.int16), *self.pieces])
        taken = self.samples - rest.size
        rest = faded(rest[: max(samples - taken, FADE if taken else 0)])
        self.pieces = deque([rest] if rest.size else [])
        self.samples, self.ahead = taken + rest.size, rest.size
