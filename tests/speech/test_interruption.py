"""A listener cuts in: what was heard of the text is told, whatever the language, and the model is free at once."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpheus_openai.catalog import EspeakVoice, load_catalog
from orpheus_openai.errors import NotFoundError, SpeechInterruptedError
from orpheus_openai.limits.caller import Caller
from orpheus_openai.models.preview.reading import Reader
from orpheus_openai.settings import Settings
from orpheus_openai.speech import interruption as interruptions
from orpheus_openai.speech.feed import TextFeed
from orpheus_openai.speech.heard import Heard, RecentSound
from orpheus_openai.speech.interruption import interruption
from orpheus_openai.speech.readings import Readings
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.timer import Timer
from orpheus_openai.text.desk import Desk
from orpheus_openai.text.reading import ReadingRules
from orpheus_openai.text.words import words_of
from tests.text.test_pieces import TEXTS

CATALOG = load_catalog()
DESK = Desk(CATALOG.emotion_tags, CATALOG.directions)
SECOND = 24_000


def by_letters():
    """Of a speech that nobody has read along with."""
    readings = Readings(Reader(()), lambda _manner: EspeakVoice("en-us"), CATALOG.emotion_tags)
    timer = Timer(readings, speed=1.0, is_preview=True)
    return Heard(timer, RecentSound())


def heard_of(language):
    """Every segment two seconds long, one after the other."""
    heard = by_letters()
    segments = list(DESK.read(TEXTS[language], ReadingRules(language=language)))
    for number, segment in enumerate(segments):
        heard.begin(segment, 2 * SECOND * number)
        heard.hear(np.zeros(2 * SECOND, np.int16), 2 * SECOND * number)
        heard.end(0)
    return heard.timed(TEXTS[language], []), 2.0 * len(segments)


HEARD = {language: heard_of(language) for language in TEXTS}


@given(played=st.floats(-1, 200), more=st.floats(0, 5), language=st.sampled_from(list(TEXTS)))
def test_what_was_spoken_and_what_remains_are_the_text_and_no_word_is_cut(played, more, language):
    text, (segments, length) = TEXTS[language], HEARD[language]
    told = interruption(text, segments, played=played, sent=length, complete=True)
    assert told.text_spoken + told.text_remaining == text
    at = len(told.text_spoken)
    assert not any(start < at < end for start, end in words_of(text, CATALOG.emotion_tags).words)
    later = interruption(text, segments, played=played + more, sent=length, complete=True)
    assert len(later.text_spoken) >= at
    assert told.played_ms == round(1_000 * max(0, min(played, length)))
    if played <= 0:
        assert told.text_spoken.strip("“¿*# ") == ""
    if played >= length:
        assert told.text_remaining == ""


def test_the_cut_is_before_the_word_of_which_less_than_half_was_heard():
    text = "One two. Three"
    heard = by_letters()
    (segment,) = DESK.read("One two.", ReadingRules(language="en"))
    heard.begin(segment, 0)
    heard.hear(np.zeros(SECOND, np.int16), 0)
    heard.end(0)
    segments = heard.timed(text, [])
    middle = [(word.start + word.end) / 2 for word in segments[0].words]
    for played, spoken in [
        (middle[0] - 0.01, ""),
        (middle[0] + 0.01, "One "),
        (middle[1] - 0.01, "One "),
        (middle[1] + 0.01, "One two."),
        (9.0, "One two."),
    ]:
        told = interruption(text, segments, played=played, sent=1.0, complete=False)
        assert (told.text_spoken, told.timing) == (spoken, "estimated")


class Speaker:
    """Stands where a model would: speaks a second at once, and then without an end."""

    alive = True
    one_by_one = busy = False
    speaking = 0

    async def synthesize(self, text, voice, sampling, usage):
        self.speaking += 1
        try:
            yield np.full(SECOND, 1_000, np.int16)
            await asyncio.sleep(3_600)
        finally:
            self.speaking -= 1

    async def close(self):
        pass


ME = Caller(key="me")


@pytest.fixture
def service(monkeypatch):
    service = SpeechService.create(Settings(model="preview"))
    service.speaker = Speaker()  # type: ignore[attr-defined]

    async def load(model, gpu):
        return service.speaker  # type: ignore[attr-defined]

    monkeypatch.setattr(service.factory, "load", load)
    return service


@pytest.mark.parametrize("waits", [True, False], ids=["for the model", "for the listener"])
async def test_the_model_and_the_place_are_free_when_the_answer_comes_whoever_is_waited_for(service, waits):
    speech = service.prepare(
        SpeechRequest(text="Good morning, everybody.", model="preview"), account=ME.account
    )
    stream = speech.stream()
    await anext(stream)
    waiting = asyncio.create_task(anext(stream)) if waits else None
    await asyncio.sleep(0.01)
    told = await service.playing.interrupt(speech.id, ME, 60.0)
    assert service.speaker.speaking == 0
    assert service.gate.queue.running == 0
    assert service.manager.get_status()[0].leases == 0
    assert told.text_spoken + told.text_remaining == "Good morning, everybody."
    assert told.played_ms == round(speech.audio_seconds * 1_000)
    with pytest.raises(SpeechInterruptedError):
        await (waiting or anext(stream))
    await stream.aclose()
    assert speech.report().error == "interrupted"


async def test_a_speech_that_waits_for_text_or_for_its_turn_is_interrupted_too(service):
    service.gate.queue.resize(0)
    feed = TextFeed()
    for speech in (
        service.prepare(SpeechRequest(text="", model="preview"), account=ME.account, feed=feed),
        service.prepare(SpeechRequest(text="Hello.", model="preview"), account=ME.account),
    ):
        waiting = asyncio.create_task(anext(speech.stream()))
        await asyncio.sleep(0.01)
        told = await service.playing.interrupt(speech.id, ME, 1.0)
        assert (told.played_ms, told.text_spoken, told.text_remaining) == (0, "", speech.input)
        with pytest.raises(SpeechInterruptedError):
            await waiting
    assert service.gate.queue.waiting == 0


async def test_only_so_many_speeches_are_remembered_after_their_end(service, monkeypatch):
    monkeypatch.setattr(interruptions, "KEPT", 1)
    speeches = [
        service.prepare(SpeechRequest(text="Hello.", model="preview"), account=ME.account) for _ in range(2)
    ]
    for speech in speeches:
        stream = speech.stream()
        await anext(stream)
        await stream.aclose()
    with pytest.raises(NotFoundError):
        await service.playing.interrupt(speeches[0].id, ME, 0.0)
    assert (await service.playing.interrupt(speeches[1].id, ME, 0.0)).text_spoken == ""


async def test_nobody_interrupts_what_is_not_theirs_or_what_is_long_over(service, monkeypatch):
    speech = service.prepare(SpeechRequest(text="Hello.", model="preview"), account=ME.account)
    stream = speech.stream()
    await anext(stream)
    for speech_id, caller in [(speech.id, Caller(key="you")), (speech.id, Caller(admin=True)), ("req_0", ME)]:
        with pytest.raises(NotFoundError):
            await service.playing.interrupt(speech_id, caller, 1.0)
    await stream.aclose()
    assert (await service.playing.interrupt(speech.id, ME, 0.0)).text_remaining == "Hello."
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    with pytest.raises(NotFoundError):
        await service.playing.interrupt(speech.id, ME, 1.0)
