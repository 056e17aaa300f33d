"""Join the segments of an utterance into one stream: natural pauses, no clicks, nothing audible lost."""

import warnings

import numpy as np

from orpheus_openai.audio import PCM, SAMPLE_RATE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for an ffmpeg program, which nothing here needs
    from pydub import AudioSegment
    from pydub.silence import detect_leading_silence

WINDOW_MS = 10
WINDOW = SAMPLE_RATE * WINDOW_MS // 1000
"""Samples, counted from the start of a segment, so that the cut into chunks changes nothing."""
SILENCE_DBFS = -50.0
"""A window whose RMS is lower is silent."""
CLICK = 100
"""A step between two samples that is larger can be heard; about the level of `SILENCE_DBFS`."""

SHORTEST_PAUSE = 0.12
"""Seconds between two segments at the least."""
SENTENCE_PAUSE = 0.35
"""Seconds between two sentences at the most."""
PARAGRAPH_PAUSE = 0.7
"""Seconds between two paragraphs at the most."""

ONSET = SAMPLE_RATE * 80 // 1000
"""Samples of silence before a voice that stay if there are as many: a word may begin softly."""
RAMP = SAMPLE_RATE * 5 // 1000
"""Samples of a half-cosine from one level to another: long enough to be no click."""
HELD = SAMPLE_RATE * 2
"""Samples of silence held back at the most. Older ones stream out, and make a pause longer than asked."""

_NOTHING: PCM = np.zeros(0, np.int16)


class Joiner:
    """One utterance: `start_segment`, then `push` its PCM as it comes, and so on; at the end `finish`.

    A single segment passes unchanged, sample for sample. Between two segments, the silence at the end of one
    and at the start of the next becomes a pause of `SHORTEST_PAUSE` to `pause` seconds: what is too much is
    left out of its middle, what is missing is put in where they meet. Audible windows are never touched.

    Everything streams at once but silence that may have to be left out: within a segment what follows the
    first `pause` seconds (less `ONSET`) of it, and at the start of a segment after the first all of it.
    """

    def __init__(self) -> None:
        self._pause = _samples(SENTENCE_PAUSE)
        self._begun = False
        self._audible = False  # anything has been, so far
        self._window = _NOTHING  # what is not a whole window yet
        self._silence = 0  # samples since the last audible window
        self._held = _NOTHING  # those of them that were not returned
        self._level = 0  # the value of the sample returned last
        self._returned = 0  # samples, all in all
        self._pushed = 0  # samples of this segment
        self._seam: _Seam | None = None  # while a segment after the first has only been silent

    def start_segment(self, pause: float = SENTENCE_PAUSE, *, silence: float | None = None) -> PCM:
        """Start a segment that is followed by at most `pause` seconds of silence, and end the one before.

        `silence` are the seconds between the one before and this, whatever was said then; they are more where more
        streamed out already, and never under `SHORTEST_PAUSE`. Returns what that makes ready. Raises ValueError for
        a pause under `SHORTEST_PAUSE`.
        """
        if pause < SHORTEST_PAUSE:
            raise ValueError(f"A pause lasts at least {SHORTEST_PAUSE} s, not {pause} s.")
        ready = self._end_segment()
        shortest = _samples(SHORTEST_PAUSE)
        if silence is not None:
            self._pause = shortest = max(shortest, _samples(silence))
        if self._seam is not None:
            self._seam.longest = max(self._seam.longest, self._pause)
            self._seam.shortest = max(self._seam.shortest, shortest)
        elif self._begun:
            self._seam = _Seam(
                self._pause, shortest, self._silence - self._held.size, self._level, self._held
            )
            self._silence, self._held = 0, _NOTHING
        elif silence is not None:
            ready = np.concatenate([ready, np.zeros(_samples(silence), np.int16)])
        self._pause = _samples(pause)
        self._returned += ready.size
        self._pushed = 0
        return ready

    @property
    def offset(self) -> int:
        """Where the segment's first sample stands among all that is returned, or would if no silence were left out.

        What is audible of the segment stands as many samples after that as in the segment itself. Of one that has
        only been silent so far this says nothing.
        """
        return self._returned + self._held.size - self._pushed

    @property
    def silence(self) -> int:
        """How many of the samples that were returned last are silent; a pause follows a segment with any number."""
        return self._silence - self._held.size

    def push(self, pcm: PCM) -> PCM:
        """Take PCM of the segment, shape `(n,)`, any n; return what is ready, which may be nothing yet."""
        self._begun = self._begun or pcm.size > 0
        pending = np.concatenate([self._window, pcm])
        whole = pending.size - pending.size % WINDOW
        seen, self._window = self._window.size, pending[whole:]
        ready = self._take(pending, seen, _audible_range(pending[:whole]), whole)
        self._pushed += pcm.size
        self._returned += ready.size
        return ready

    def end_segment(self) -> PCM:
        """No more of the segment comes: return what is still to be heard of it. The next ends it, too."""
        ready = self._end_segment()
        self._returned += ready.size
        return ready

    def finish(self) -> PCM:
        """End the last segment; return the rest."""
        ready = self._end_segment()
        if self._seam is None:
            rest = self._held
        elif self._seam.after_size:
            rest = self._seam.filled(0)
        else:
            rest = self._seam.before
        self._seam, self._held = None, _NOTHING
        return np.concatenate([ready, rest])

    def _end_segment(self) -> PCM:
        """Decide on the last window, though it is not whole."""
        last, self._window = self._window, _NOTHING
        audible = (0, last.size) if last.size and _sound(last).dBFS >= SILENCE_DBFS else None
        return self._take(last, last.size, audible, last.size)

    def _take(self, pending: PCM, seen: int, audible: tuple[int, int] | None, decided: int) -> PCM:
        """Return what is ready now that `pending[:decided]` is known to be audible in one range or nowhere.

        The first `seen` samples of `pending` were taken before, but for a seam, which takes none undecided.
        """
        seam = self._seam
        if seam is not None and audible is None:
            seam.add(pending[:decided])
            return _NOTHING
        ready = []
        if seam is not None and audible is not None:
            seam.add(pending[: audible[0]])
            ready.append(seam.filled(int(pending[audible[0]])))
            self._seam, seen = None, audible[0]
        if audible is not None:
            ready += [self._held, pending[seen : audible[1]]]
            self._audible, self._silence, self._held, seen = True, 0, _NOTHING, max(seen, audible[1])
        ready.append(self._hold(pending[seen:]))
        returned = np.concatenate(ready)
        if returned.size:
            self._level = int(returned[-1])
        return returned

    def _hold(self, silence: PCM) -> PCM:
        """Add to the silence; return as much of it as stays whatever follows."""
        self._silence += silence.size
        held = np.concatenate([self._held, silence])
        stays = max(min(self._silence, self._pause - ONSET), self._silence - HELD)
        if not self._audible:
            stays = self._silence
        ready = max(0, stays - (self._silence - held.size))
        self._held = held[ready:]
        return held[:ready]


class _Seam:
    """The silence where two segments meet, until it is known how much of it there is."""

    def __init__(self, longest: int, shortest: int, streamed: int, level: int, before: PCM) -> None:
        self.longest = longest
        self.shortest = shortest
        self.streamed = streamed  # samples of the first segment's silence that were returned already
        self.level = level  # the value of the last of those
        self.before = before  # the rest of the first segment's
        self.after = _NOTHING  # the newest of the second's, as many as can be needed
        self.after_size = 0  # all of the second's

    def add(self, silence: PCM) -> None:
        """Take silence from the start of the second segment."""
        self.after_size += silence.size
        self.after = np.concatenate([self.after, silence])[-self.longest :]

    def filled(self, following: int) -> PCM:
        """Return the silence as it is to be heard, before a sample of the value `following`."""
        total = self.streamed + self.before.size + self.after_size
        step = self._level(self.before.size) - (int(self.after[0]) if self.after_size else following)
        missing = max(0, self.shortest - total)
        if not missing and abs(step) > CLICK:
            missing = RAMP
        before, after = self.before, self.after
        if total + missing > self.longest:
            missing = RAMP
            room = max(ONSET, self.longest - self.streamed) - RAMP
            after = after[max(0, after.size - room) :]
            before = before[: room - after.size]
        bridge = _bridge(self._level(before.size), int(after[0]) if after.size else following, missing)
        return np.concatenate([before, bridge, after])

    def _level(self, kept: int) -> int:
        return int(self.before[kept - 1]) if kept else self.level


def _bridge(start: int, end: int, size: int) -> PCM:
    """Go from one level to another in `size` samples, by way of silence if there is room."""
    if size < 2 * RAMP:
        rise = (1 - np.cos(np.pi * np.arange(1, size + 1) / (size + 1))) / 2
        return np.rint(start + (end - start) * rise).astype(np.int16)
    return np.concatenate(
        [_bridge(start, 0, RAMP), np.zeros(size - 2 * RAMP, np.int16), _bridge(0, end, RAMP)]
    )


def _audible_range(windows: PCM) -> tuple[int, int] | None:
    """Where the first audible window begins and the last one ends, in samples; None without any."""
    sound = _sound(windows)
    silent_ms = detect_leading_silence(sound, SILENCE_DBFS, WINDOW_MS)
    if silent_ms >= len(sound):
        return None
    silent_end_ms = detect_leading_silence(sound.reverse(), SILENCE_DBFS, WINDOW_MS)
    return silent_ms // WINDOW_MS * WINDOW, windows.size - silent_end_ms // WINDOW_MS * WINDOW


def _sound(pcm: PCM) -> AudioSegment:
    return AudioSegment(
        data=pcm.astype(np.int16).tobytes(), sample_width=2, frame_rate=SAMPLE_RATE, channels=1
    )


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
