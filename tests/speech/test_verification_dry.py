"""Segments that are held and spoken again never let a listener run dry, on a clock of the test's own."""

import asyncio
import selectors
from types import SimpleNamespace

import numpy as np
import pytest

from orpheus_openai.catalog import EspeakVoice, load_catalog
from orpheus_openai.errors import ModelUnavailableError
from orpheus_openai.models.preview.reading import Reader, Reading
from orpheus_openai.speech import producer, segments, verification
from orpheus_openai.speech.readings import Readings
from orpheus_openai.speech.script import Script
from orpheus_openai.speech.segments import spoken
from orpheus_openai.speech.verification import Ears, Verification
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

    def __init__(self, speed, good, letters=CHARACTERS_A_SECOND):
        self.speed, self.good, self.letters = speed, good, letters
        self.tries, self.running, self.most, self.at_first = {}, 0, 0, 0
        """By segment; how many speak now, did so at the most, and did when the first had ended."""

    def synthesize(self, text, voice, sampling, usage):
        raise NotImplementedError

    async def watched(self, text, voice, sampling, usage, watch):
        number = int(text.split("number ")[1].split(",")[0])
        tried = self.tries[number] = self.tries.get(number, 0) + 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(round(len(text) / self.letters * 24_000 / PIECE)):
                await asyncio.sleep(PIECE / 24_000 / self.speed)
                yield np.full(PIECE, 1_000 * number + 500 + tried, np.int16)
            self.at_first = self.at_first or self.running
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

    async def run(speaker, *, retry=True, whole=False, reader=None, ears=None):
        readings = Readings(reader or NoReader([]), lambda _: EspeakVoice("en-us"), [])
        looking = Verification(readings, retry=retry, ears=ears)
        voice = load_catalog().voices["tara"]
        script = Script(TEXT, iter(split(TEXT, "en")), in_thread=False)
        heard, gap, plays_until = [], 0.0, None
        async for item in spoken(
            speaker, script, lambda _: voice, Sampling(), Usage(), verification=looking, whole=whole
        ):
            if item is None or isinstance(item, Segment):
                continue
            now = asyncio.get_running_loop().time()
            gap = max(gap, now - (now if plays_until is None else plays_until))
            plays_until = max(now, plays_until or 0.0) + len(item) / 24_000
            heard.append(int(item[0]))
        await looking.rest()
        return heard, gap, [found.verdict for found in looking.verdicts]

    def start(speaker, **how):
        loop = Loop()
        monkeypatch.setattr(segments, "time", SimpleNamespace(monotonic=loop.time))
        try:
            return loop.run_until_complete(run(speaker, **how))
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


def test_a_segment_longer_than_others_may_be_ahead_is_held_whole_and_spoken_again(play):
    speaker = Speaker(20.0, lambda _, tried: tried > 1, letters=5)
    assert max(map(len, TEXT.split("\n\n"))) / speaker.letters * 24_000 > 1.3 * producer.SEGMENT_AHEAD
    heard, gap, verdicts = play(speaker)
    assert gap == 0
    assert verdicts[1:] == ["retried"] * (len(verdicts) - 1)
    assert {level % 10 for level in heard if level > 1_000} == {2}


def test_where_nobody_listens_the_first_segment_is_spoken_again_too_and_none_waits_for_it(play):
    speaker = Speaker(0.5, lambda _, tried: tried > 1)
    heard, _, verdicts = play(speaker, whole=True)
    assert set(verdicts) == {"retried"}
    assert {level % 10 for level in heard} == {2}
    assert heard == sorted(heard)
    assert speaker.at_first == segments.SEGMENTS_AT_ONCE


class NoiseReader(Reader):
    async def read(self, text, voice, spelt=()):
        noise = np.random.default_rng(0).normal(0, 3_000, len(text) * 1_600).astype(np.int16)
        return Reading(noise, ())


def test_words_for_which_nobody_has_time_to_look_are_unchecked_and_not_ok(play, monkeypatch):
    monkeypatch.setattr(verification, "MOST_WAITING", 0)
    _, _, verdicts = play(Speaker(20.0, lambda _, tried: tried > 1), reader=NoiseReader([]), ears=Ears())
    assert set(verdicts[1:]) == {"unchecked"}
    _, _, verdicts = play(Speaker(20.0, lambda _, __: True), reader=NoReader([]), ears=Ears())
    assert set(verdicts) == {"ok"}, "where eSpeak NG is not installed nobody ever looks"


class Faulty(Speaker):
    """The first try at each segment has a fault of the kind that is asked for; the second has none."""

    def __init__(self, fault):
        super().__init__(20.0, lambda _number, tried: tried > 1 or fault != "no_end")
        self.fault = fault

    async def watched(self, text, voice, sampling, usage, watch):
        wanted = True
        async for pcm in super().watched(text, voice, sampling, usage, watch):
            if not wanted:
                return
            if sum(self.tries.values()) == 1 or self.tries[int(pcm[0]) // 1_000] == 1:
                wanted = self.spoil(watch)
                pcm = pcm[: PIECE // 100] if self.fault == "length" else pcm * (self.fault != "silence")  # noqa: PLW2901
            yield pcm

    def spoil(self, watch):
        if self.fault == "loop":
            return watch.look(np.ones((3, 7), np.int16), 0)
        return watch.look(np.zeros((0, 7), np.int16), int(self.fault == "lost_frames"))


@pytest.mark.parametrize("fault", ["loop", "silence", "length", "no_end", "lost_frames"])
def test_each_fault_is_told_of_what_was_heard_and_spoken_again_where_nobody_heard_it(play, fault):
    *_, verdicts = play(Faulty(fault), whole=True, reader=NoiseReader([]))
    assert set(verdicts) == {"retried"}
    *_, verdicts = play(Faulty(fault), retry=False, reader=NoiseReader([]))
    assert set(verdicts) == {"cut" if fault in ("loop", "silence") else f"suspect:{fault}"}


def test_a_segment_that_is_held_has_a_bound(play, monkeypatch):
    most = 0

    class Watchful(producer.Producer):
        async def chunks(self, patience):
            nonlocal most
            async for pcm in super().chunks(patience):
                most = max(most, self._trial.ahead + len(pcm))
                yield pcm

    monkeypatch.setattr(segments, "Producer", Watchful)
    monkeypatch.setattr(producer, "MOST_HELD", 35 * 24_000)
    play(Speaker(20.0, lambda _, __: True, letters=5), whole=True)
    assert 35 * 24_000 <= most <= 35 * 24_000 + PIECE
