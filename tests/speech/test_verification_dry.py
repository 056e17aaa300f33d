"""Segments that are held and spoken again never let a listener run dry, on a clock of the test's own."""

import asyncio
import selectors
from types import SimpleNamespace

import numpy as np
import pytest

from orpheus_openai.catalog import EspeakVoice, load_catalog
from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.preview.reading import Reader
from orpheus_openai.speech import segments
from orpheus_openai.speech.script import Script
from orpheus_openai.speech.segments import spoken
from orpheus_openai.speech.verification import Verification
from orpheus_openai.synthesis import Sampling, Usage
from orpheus_openai.text.split import Segment, split

SENTENCE = "This is sentence number {}, and it is long enough {}to fill a segment of its own."
TEXT = "\n\n".join(SENTENCE.format(i, "for anybody who would like " * (5 * (i > 0))) for i in range(6))
CHARACTERS_A_SECOND = 15
PIECE = 4_800


class Hasty(selectors.SelectSelector):
    """Waits for nothing: what it would have waited for has passed."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "nothing will ever happen"
        self.now += max(timeout, 0.0)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose seconds take no time."""

    def __init__(self):
        self.hasty = Hasty()
        super().__init__(self.hasty)

    def time(self):
        return self.hasty.now


class Speaker:
    """Speaks at a multiple of real time; its tries at a segment end as they should, or do not."""

    alive = True

    def __init__(self, speed, good):
        self.speed, self.good = speed, good
        self.tries, self.running, self.most = {}, 0, 0

    def synthesize(self, text, voice, sampling, usage):
        raise NotImplementedError

    async def watched(self, text, voice, sampling, usage, watch):
        number = int(text.split("number ")[1].split(",")[0])
        tried = self.tries[number] = self.tries.get(number, 0) + 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(round(len(text) / CHARACTERS_A_SECOND * 24_000 / PIECE)):
                await asyncio.sleep(PIECE / 24_000 / self.speed)
                yield np.full(PIECE, 1_000 * number + 500 + tried, np.int16)
            watch.over(ended=self.good(number, tried))
        finally:
            self.running -= 1

    async def close(self):
        pass


class NoReader(Reader):
    async def read(self, text, voice, spelt=()):
        raise ModelUnavailableError("There is no eSpeak NG here.")


@pytest.fixture
def play(monkeypatch):
    """What somebody hears who plays the text at once: its levels in order, the longest gap, the verdicts."""

    async def run(speaker, *, retry):
        verification = Verification(NoReader([]), lambda _: EspeakVoice("en-us"), [], retry=retry)
        voice = load_catalog().voices["tara"]
        script = Script(TEXT, iter(split(TEXT, "en")), in_thread=False)
        heard, gap, plays_until = [], 0.0, None
        async for item in spoken(
            speaker, script, lambda _: voice, Sampling(), Usage(), verification=verification
        ):
            if isinstance(item, Segment):
                continue
            now = asyncio.get_running_loop().time()
            gap = max(gap, now - (now if plays_until is None else plays_until))
            plays_until = max(now, plays_until or 0.0) + len(item) / 24_000
            heard.append(int(item[0]))
        await verification.rest()
        return heard, gap, [found.verdict for found in verification.verdicts]

    def start(speaker, *, retry=True):
        loop = Loop()
        monkeypatch.setattr(segments, "time", SimpleNamespace(monotonic=loop.time))
        try:
            return loop.run_until_complete(run(speaker, retry=retry))
        finally:
            loop.close()

    return start


def test_at_twice_real_time_nobody_runs_dry_while_every_first_try_fails(play):
    speaker = Speaker(2.0, lambda _, tried: tried > 1)
    heard, gap, verdicts = play(speaker)
    assert gap == 0
    assert verdicts[0] == "suspect:no_end"  # it sounded at once
    assert verdicts[2:] == ["retried"] * (len(verdicts) - 2)
    for number, verdict in enumerate(verdicts):
        levels = {level for level in heard if level // 1_000 == number}
        assert levels == {1_000 * number + 500 + (2 if verdict == "retried" else 1)}
    assert speaker.most <= segments.SEGMENTS_AT_ONCE


@pytest.mark.parametrize("speed", [1.2, 2.0, 20.0])
def test_nobody_runs_dry_where_every_try_fails_and_the_first_is_heard(play, speed):
    heard, gap, verdicts = play(Speaker(speed, lambda _number, _tried: False))
    assert gap == 0
    assert set(verdicts) == {"suspect:no_end"}
    assert heard == sorted(heard)


def test_a_model_slower_than_it_is_heard_is_not_made_slower(play):
    good = Speaker(0.7, lambda _number, _tried: True)
    _, gap, _ = play(good)
    _, failing, _ = play(Speaker(0.7, lambda _number, _tried: False))
    assert failing == pytest.approx(gap)


def test_a_segment_that_is_only_reported_is_spoken_once(play):
    speaker = Speaker(20.0, lambda _number, _tried: False)
    _, _, verdicts = play(speaker, retry=False)
    assert set(speaker.tries.values()) == {1}
    assert set(verdicts) == {"suspect:no_end"}
