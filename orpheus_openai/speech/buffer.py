"""The start of a stream, held back until a model that speaks more slowly than it is heard will leave no gap."""

import contextlib
import time
import unicodedata
from collections import deque
from collections.abc import AsyncGenerator, Callable

import msgspec

from orpheus_openai.audio import PCM, SAMPLE_RATE

MOST_HELD = 30.0
"""Seconds of audio that `auto` holds back at most: 1.4 MB a stream, and at half of real time a minute's wait, after
which proxies give up."""

MARGIN = 1.1
"""By how much a model may turn out slower than it was measured: other programs want something, too."""

SECONDS_PER_LETTER = 1 / 13
"""Of speech in an alphabet, its pauses included; rather too long than too short, as that leaves no gap."""
SECONDS_PER_WIDE_LETTER = 1 / 4.5
"""Of Chinese characters and Korean syllables."""

SAMPLED = 4_000
"""Letters that are looked at one by one; a longer text is taken to go on like them."""


def estimated_seconds(text: str) -> float:
    """About how long `text` sounds."""
    if text.isascii():
        return len(text) * SECONDS_PER_LETTER
    sample = text[:SAMPLED]
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in sample)
    seconds = wide * SECONDS_PER_WIDE_LETTER + (len(sample) - wide) * SECONDS_PER_LETTER
    return seconds * len(text) / len(sample)


class Reserve(msgspec.Struct, frozen=True, kw_only=True):
    """What must be in hand before the first sound goes out; all in seconds of audio."""

    least: float = 0.0
    """This much, whatever the speed."""
    total: float = 0.0
    """The whole speech, as far as it can be estimated."""
    pace: float = 1.0
    """Seconds of audio that are made in a second."""

    def enough(self, audio: float, *, elapsed: float, begun: float) -> bool:
        """Whether `audio` seconds, made in `elapsed` seconds since the first sound, will not run dry.

        While the first of it is played the rest is made: of T seconds made at pace p, T (1 - p) must be there before.
        That holds for the whole at the pace that is known, and for the `begun` seconds of the segments that
        have been begun at the pace that is seen: those that are spoken beside them make each slower.
        """
        if audio < self.least:
            return False
        if self.pace >= 1.0 or audio >= MOST_HELD:
            return True
        seen = audio / elapsed if elapsed > 0 else 1.0
        return audio >= max(self.total * (1.0 - self.pace), begun * (1.0 - seen))


def reserve(setting: str, *, text: str, speed: float, real_time_factor: float | None) -> Reserve:
    """What a stream of `text` holds back by ORPHEUS_BUFFER: `auto`, `off` or seconds.

    `real_time_factor` is what the model takes for a second of audio at that `speed`; None where nobody knows, and
    then `auto` holds nothing back.
    """
    if setting == "off":
        return Reserve()
    if setting != "auto":
        return Reserve(least=float(setting))
    if real_time_factor is None or real_time_factor <= 1.0:
        return Reserve()
    return Reserve(total=estimated_seconds(text) / speed, pace=1.0 / (real_time_factor * MARGIN))


async def held_back(
    sounds: AsyncGenerator[PCM], wanted: Reserve, begun: Callable[[], float]
) -> AsyncGenerator[PCM]:
    """`sounds`, the first of them when there is enough, or no more to come.

    `begun` tells how long the segments that were begun so far will sound, in seconds. What fails meanwhile is raised
    before anything has sounded.
    """
    held: deque[PCM] = deque()
    samples = 0
    since: float | None = None
    async with contextlib.aclosing(sounds):
        async for pcm in sounds:
            now = time.monotonic()
            since = now if since is None else since
            held.append(pcm)
            samples += len(pcm)
            if wanted.enough(samples / SAMPLE_RATE, elapsed=now - since, begun=begun()):
                break
        while held:
            yield held.popleft()
        async for pcm in sounds:
            yield pcm
