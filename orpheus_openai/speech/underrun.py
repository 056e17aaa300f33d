"""Where the sound of a stream stops for somebody who plays it from its first audio on: underruns."""


class Underruns:
    """Finds those of one stream. All times in seconds of one clock."""

    def __init__(self) -> None:
        self._heard = 0.0
        self._runs_dry: float | None = None
        """When the audio that was sent will have been played."""

    def sent(self, audio: float, *, asked: float, now: float) -> float:
        """Take a piece that is sent `now` and brings the audio to `audio` seconds; returns for how long it was silent.

        `asked` is when the piece before was off. A reader who comes for the next only when it has run dry has
        been too slow itself: then the silence is not the server's, and 0.
        """
        if audio <= self._heard:  # a container's last bytes, without a sound of their own
            return 0.0
        if self._runs_dry is None:
            self._runs_dry = now
        silence = max(0.0, now - self._runs_dry) if asked <= self._runs_dry else 0.0
        self._runs_dry = max(self._runs_dry, now) + audio - self._heard
        self._heard = audio
        return silence
