"""A text that is spoken while it is being written."""

import asyncio
import contextlib

import numpy as np
import pytest

from orpheus_openai.errors import (
    ContentRefusedError,
    InvalidRequestError,
    RateLimitError,
    RequestTimeoutError,
)
from orpheus_openai.limits.filter import InputFilter
from orpheus_openai.limits.rates import MemoryRates, RateLimits, parse_rates
from orpheus_openai.settings import Settings
from orpheus_openai.speech.feed import MOST_UNSPOKEN, TextFeed
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.text.pieces import Pieces


class Speaker:
    """Stands where a model would: a tenth of a second for each prompt, which it remembers."""

    alive = True
    one_by_one = busy = False

    def __init__(self):
        self.said = []

    async def synthesize(self, text, voice, sampling, usage):
        self.said.append(text)
        yield np.full(2_400, 1_000, np.int16)

    async def close(self):
        pass


def service_of(monkeypatch, **settings):
    service = SpeechService.create(Settings(model="preview", **settings))
    speaker = Speaker()

    async def load(model, gpu):
        return speaker

    monkeypatch.setattr(service.factory, "load", load)
    return service, speaker


class Live:
    """A speech whose text the test writes while it listens."""

    def __init__(self, service, **fields):
        self.feed = TextFeed()
        request = SpeechRequest(text="", model="preview", **fields)
        self.speech = service.prepare(request, feed=self.feed, account="somebody")
        self.samples = 0
        self.task = asyncio.create_task(self._listen())

    async def _listen(self):
        async with contextlib.aclosing(self.speech.stream()) as stream:
            async for pcm in stream:
                self.samples += len(pcm)

    async def heard(self):
        """Until something new sounds."""
        before = self.samples
        async with asyncio.timeout(60):
            while self.samples == before:  # noqa: ASYNC110  a bounded wait
                await asyncio.sleep(0.001)


async def test_the_first_sound_does_not_wait_for_the_end_of_the_text(monkeypatch):
    service, speaker = service_of(monkeypatch)
    live = Live(service)
    for token in ["Good ", "morn", "ing, every", "body, a", "nd welcome"]:
        await live.feed.write(token)
    await live.heard()
    assert speaker.said == ["Good morning, everybody,"]
    await live.feed.write(". This ")
    await live.heard()
    live.feed.end()
    await live.task
    assert speaker.said == ["Good morning, everybody,", "and welcome.", "This."]
    assert live.speech.input == "Good morning, everybody, and welcome. This "
    assert live.speech.report().characters == len(live.speech.input)
    assert live.speech.report().outcome == "completed"


async def test_a_flush_speaks_what_is_there(monkeypatch):
    service, speaker = service_of(monkeypatch, text_pause=60)
    live = Live(service)
    await live.feed.write("Hello the")
    live.feed.flush()
    await live.heard()
    assert speaker.said == ["Hello the."]
    live.feed.end()
    await live.task


async def test_what_can_stand_alone_is_spoken_when_nothing_comes_for_a_while(monkeypatch):
    service, speaker = service_of(monkeypatch, text_pause=0.05)
    live = Live(service)
    await live.feed.write("I saw Dr.")
    await asyncio.sleep(0.2)
    assert speaker.said == []
    await live.feed.write(" Smith.")
    await live.heard()
    assert speaker.said == ["I saw Doctor Smith."]
    live.feed.end()
    await live.task


async def test_who_neither_writes_nor_ends_is_told_so(monkeypatch):
    service, _ = service_of(monkeypatch, text_pause=0.05, text_wait=1)
    live = Live(service)
    with pytest.raises(RequestTimeoutError, match="No more text came for 1 s"):
        await live.task
    await live.feed.write("Too late.")  # which nobody hears, and nothing waits for
    assert live.speech.report().error == "text_timeout"


async def test_a_text_that_grows_too_long_is_refused_in_words(monkeypatch):
    service, _ = service_of(monkeypatch, max_input_chars=20)
    live = Live(service)
    await live.feed.write("A first part. ")
    with pytest.raises(InvalidRequestError, match="at most 20 are spoken"):
        await live.feed.write("And more of it.")
    live.feed.end()
    await live.task


async def test_who_writes_faster_than_is_spoken_waits_and_neighbours_are_spoken_together(monkeypatch):
    service, speaker = service_of(monkeypatch)
    feed = TextFeed()
    speech = service.prepare(SpeechRequest(text="", model="preview"), feed=feed)
    written = 0

    async def write():
        nonlocal written
        for number in range(1_000):
            await feed.write(f"This is sentence {number} of a text. ")
            written += 1
        feed.end()

    writer = asyncio.create_task(write())
    await asyncio.sleep(0.05)
    assert not writer.done()
    assert len(feed.text) < MOST_UNSPOKEN + 200
    async for _ in speech.stream():
        pass
    await writer
    assert written == 1_000
    assert len(speaker.said) < 1_000
    assert speaker.said[1].count("sentence") > 3


@pytest.mark.parametrize(("before", "refused"), [("They say bad ", True), ("They say that ", False)])
async def test_a_piece_is_judged_with_the_end_of_the_one_before(monkeypatch, before, refused):
    service, speaker = service_of(monkeypatch)
    monkeypatch.setattr(service.gate, "_filter", InputFilter(["bad words"]))
    live = Live(service)
    await live.feed.write(before)
    live.feed.flush()
    await live.heard()
    await live.feed.write("words here. ")
    live.feed.end()
    if refused:
        with pytest.raises(ContentRefusedError):
            await live.task
        assert len(speaker.said) == 1
    else:
        await live.task
        assert len(speaker.said) == 2


async def test_repetition_is_counted_across_pieces_and_a_moderator_is_given_what_went_before():
    given = []

    async def moderator(text):
        given.append(text)

    check = InputFilter(max_repetition=5, moderator=moderator).follow()
    await check("Well, no no no.")
    await check("No no.")
    assert given == ["Well, no no no.", "Well, no no no. No no."]
    with pytest.raises(ContentRefusedError):
        await check("No.")


async def test_a_request_is_charged_once_and_its_characters_as_they_come(monkeypatch):
    service, speaker = service_of(monkeypatch)
    rates = RateLimits(parse_rates("2/hour, 60 chars/hour"), MemoryRates())
    monkeypatch.setattr(service.gate, "_rates", rates)
    live = Live(service)
    await live.feed.write("This is the first sentence here. And this is the second one here. Third")
    await live.heard()
    live.feed.end()
    with pytest.raises(RateLimitError):
        await live.task
    assert speaker.said == ["This is the first sentence here."]
    assert live.speech.share["x-ratelimit-remaining-requests"] == "1"


async def test_nothing_is_left_behind_when_the_listener_leaves(monkeypatch):
    service, _ = service_of(monkeypatch)
    live = Live(service)
    await live.feed.write("One sentence. Two")
    await live.heard()
    live.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await live.task
    assert service.manager.get_status()[0].leases == 0
    assert service.gate.queue.running == 0
    await live.feed.write("Three. " * 10_000)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("ended_early", [False, True])
async def test_others_get_their_turn_while_a_long_text_is_taken_in_and_nothing_of_it_is_lost(
    monkeypatch, ended_early
):
    monkeypatch.setattr("orpheus_openai.speech.feed.STEP_SECONDS", 0.0)
    text = "It is said once, and then again. " * 200
    feed = TextFeed()
    feed.open(Pieces("en"), most=50_000, pause=60, wait=60)
    writing, turns = asyncio.create_task(feed.put(text)), 0
    while not writing.done():
        turns += 1
        await asyncio.sleep(0)
        if ended_early and turns == 5:
            feed.end()
    assert ended_early or turns > 50
    feed.end()
    taken = []
    while (piece := await feed.take()) is not None:
        taken.append(piece.source.text)
    assert " ".join(taken).split() == text.split()
