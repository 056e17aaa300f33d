"""When words sound: with the preview, whose own events are the truth, and with a voice that is aligned."""

import asyncio
import contextlib
from itertools import pairwise

import numpy as np
import pytest

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.catalog import EspeakVoice, load_catalog
from orpheus_openai.errors import ModelUnavailableError, NotFoundError
from orpheus_openai.limits.caller import Caller
from orpheus_openai.models.preview import reading
from orpheus_openai.models.preview.model import PreviewModel, WordTime
from orpheus_openai.models.preview.reading import AUDIBLE
from orpheus_openai.settings import Settings
from orpheus_openai.speech import heard, interruption
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.synthesis import Usage

pytest.importorskip("espeakng_loader")

ME = Caller(key="me")
TEXT = "The quick brown fox jumped over the lazy dog. Then it slept, and nobody heard it."
LANGUAGES = {
    "en": ("tara", TEXT),
    "fr": ("pierre", "Le petit chat dort sur la table de la cuisine."),
    "de": ("jana", "Der alte Mann sitzt jeden Morgen im Garten."),
    "ko": ("유나", "오늘은 날씨가 아주 좋습니다."),
    "hi": ("ऋतिका", "मेरा भाई हर सुबह बाज़ार जाता है।"),
    "zh": ("长乐", "今天天气很好,我们去公园吧。"),
    "es": ("javi", "El gato duerme sobre la mesa de la cocina."),
    "it": ("giulia", "Il gatto dorme sul tavolo della cucina."),
}


@pytest.fixture
async def service():
    service = SpeechService.create(Settings(model="preview"))
    yield service
    await service.close()


async def timed(service, text=TEXT, **fields):
    """The PCM and the timed segments of a speech."""
    speech = service.prepare(SpeechRequest(text=text, word_times=True, **{"model": "preview", **fields}))
    pcm = np.concatenate([chunk async for chunk in speech.stream()])
    await speech.word_times.rest()
    return pcm, speech.word_times.taken


async def events(text, voice):
    """What eSpeak NG itself tells of the words, as places in the text and samples."""
    preview = PreviewModel(load_catalog().emotion_tags)
    try:
        async with contextlib.aclosing(preview.read(text, voice, Usage())) as items:
            return {item.start: item.sample async for item in items if isinstance(item, WordTime)}
    finally:
        await preview.close()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("speed", [1.0, 0.25, 1.7, 4.0])
async def test_words_of_the_preview_are_where_its_own_events_say_at_every_speed(service, language, speed):
    voice, text = LANGUAGES[language]
    _, segments = await timed(service, text, voice=voice, speed=speed)
    told = await events(text, service.catalog.voices[voice].espeak)
    words = [word for segment in segments for word in segment.words]
    assert {segment.timing for segment in segments} == {"exact"}
    exact = [word for word in words if word.span[0] in told]
    assert len(exact) > len(words) // 2
    for word in exact:
        assert abs(word.start * SAMPLE_RATE - told[word.span[0]] / speed) <= 1


async def test_words_of_sentences_that_are_spoken_one_by_one_are_where_they_sound(service):
    sentences = [
        "The quick brown fox jumped over the lazy dog, which slept on, although all the others barked at it loudly.",
        "Nobody in the whole of the village had ever seen a dog that slept so well, and they let it sleep on.",
        "When it had slept for a day and for another night, it got up at last and looked for the brown fox.",
    ]
    pcm, segments = await timed(service, " ".join(sentences))
    last = len(" ".join(sentences[:2]))
    words = segments[-1].words
    assert words[0].span[0] < last, "two sentences are one segment"
    begin = next(n for n, word in enumerate(words) if word.span[0] > last)
    loud = np.flatnonzero(np.abs(pcm) > AUDIBLE)
    assert abs(words[-1].end * SAMPLE_RATE - loud[-1]) <= 2
    between = (loud > words[begin - 1].end * SAMPLE_RATE + 1) & (loud < words[begin].start * SAMPLE_RATE - 1)
    assert not between.any(), "something sounds between the sentences"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_words_are_the_requests_own_text_in_order_and_leave_none_out(service, language):
    voice, text = LANGUAGES[language]
    pcm, segments = await timed(service, text, voice=voice)
    words = [word for segment in segments for word in segment.words]
    assert all(text[slice(*word.span)] == word.word for word in words)
    expected = (
        [c for c in text if c.isalnum()] if language == "zh" else [w.strip(".,।") for w in text.split()]
    )
    assert [word.word for word in words] == expected
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= len(pcm) / SAMPLE_RATE


async def test_a_number_that_is_spoken_in_words_is_one_word_of_the_request(service):
    _, segments = await timed(service, "It costs $12.50, **not** 5km, <laugh> you know.")
    words = [word.word for segment in segments for word in segment.words]
    assert words == ["It", "costs", "$12.50", "not", "5km", "you", "know"]


class Stranger:
    """Stands where Orpheus would: eSpeak NG with another voice, and with a pause of its own in every segment."""

    alive = True

    def __init__(self, silence=0.0):
        self.espeak = PreviewModel(load_catalog().emotion_tags)
        self.silence = np.zeros(round(silence * SAMPLE_RATE), np.int16)
        self.told = {}

    async def synthesize(self, text, voice, sampling, usage):
        other = EspeakVoice(language="en-us", variant="m3", pitch=35, rate=150)
        yield self.silence
        async for item in self.espeak.read(text, other, usage):
            if isinstance(item, WordTime):
                self.told.setdefault(text, {})[item.start] = item.sample + len(self.silence)
            else:
                yield item

    async def close(self):
        await self.espeak.close()


@pytest.fixture
def stranger(service, monkeypatch):
    stranger = Stranger(0.5)
    preview = service.catalog.models["preview"]
    service.catalog.models["stranger"] = type(preview)(
        id="stranger", title="", engine="orpheus", languages=preview.languages
    )

    async def load(model, gpu):
        return stranger

    monkeypatch.setattr(service.factory, "load", load)
    monkeypatch.setattr(service.factory, "require", lambda model: None)
    monkeypatch.setattr(service.factory, "footprint", lambda model: 0)
    monkeypatch.setattr(service.factory, "least_footprint", lambda model: 0)
    return stranger


LONG = """\
The old man smiled and closed his book. Nobody knows what happened to the second ship.

After dinner, they told each other stories about ghosts. Winter came early that year.

Let us meet at noon under the big clock."""


@pytest.mark.parametrize("speed", [1.0, 1.5])
async def test_words_of_another_voice_are_found_in_the_sound_with_joins_and_speed_counted_in(
    service, stranger, speed
):
    _, segments = await timed(service, LONG, model="stranger", speed=speed)
    assert len(segments) > 1
    # The joined speech has its silences shortened: where a segment's first sound is heard tells how far.
    plain, _ = await timed(service, LONG, model="stranger")
    errors = []
    for segment in segments:
        assert segment.timing == "aligned"
        told = stranger.told[segment.text]
        at = {word.span[0] - segment.span[0]: word for word in segment.words}
        shared = sorted(at.keys() & told.keys())
        # Differences within a segment are the model's own, whatever lies before it.
        first = shared[0]
        errors += [
            abs((at[k].start - at[first].start) * speed - (told[k] - told[first]) / SAMPLE_RATE)
            for k in shared[1:]
        ]
    assert np.median(errors) <= 0.025
    assert np.percentile(errors, 90) <= 0.08
    for segment in segments:
        begin = round(segment.start * speed * SAMPLE_RATE)
        assert np.abs(plain[begin : begin + 2_400]).max() > 500, (
            "something sounds where the first word begins"
        )
        assert np.abs(plain[max(begin - 1_200, 0) : max(begin - 480, 1)]).max() < 500, "and nothing before it"


async def test_where_espeak_is_missing_words_are_estimated_and_said_to_be(service, stranger, monkeypatch):
    def missing(tags):
        raise ModelUnavailableError("not installed")

    monkeypatch.setattr(reading, "PreviewModel", missing)
    pcm, segments = await timed(service, TEXT, model="stranger")
    assert {segment.timing for segment in segments} == {"estimated"}
    assert segments[-1].words[-1].end <= len(pcm) / SAMPLE_RATE + 0.5


async def test_nothing_is_read_along_where_nobody_asks_for_words(service, monkeypatch):
    monkeypatch.setattr(
        "orpheus_openai.models.preview.reading.Reader.read", lambda *_: pytest.fail("it read")
    )
    speech = service.prepare(SpeechRequest(text=TEXT, model="preview"))
    assert [chunk async for chunk in speech.stream()]
    assert speech.word_times is None


async def test_a_segment_of_a_laugh_alone_has_a_length_and_no_word(service, stranger, monkeypatch):
    async def laugh(text, voice, sampling, usage):
        yield np.full(SAMPLE_RATE, 9_000, np.int16)

    monkeypatch.setattr(stranger, "synthesize", laugh)
    _, (segment,) = await timed(service, "<laugh>", model="stranger")
    assert (segment.words, segment.start, segment.end) == ((), 0.0, 1.0)


# --- nobody asked for words, and somebody cuts in ---------------------------------------------------------------------

CUT = "Nobody knows what happened to the second ship when the terrible winter came over the islands."


async def cut_in(service, model, text=CUT, *, seconds=None, speed=1.0):
    """A speech of which so many seconds were sent, or all; its words were not asked for."""
    speech = service.prepare(SpeechRequest(text=text, model=model, speed=speed), account=ME.account)
    async with contextlib.aclosing(speech.stream()) as stream:
        async for _ in stream:
            if seconds is not None and speech.audio_seconds >= seconds:
                break
    assert speech.word_times is None
    return speech


@pytest.mark.parametrize("sent", [None, 3.0], ids=["after all of it was sent", "in the middle of a segment"])
@pytest.mark.parametrize("model", ["preview", "stranger"])
async def test_who_cuts_in_is_told_the_word_that_truly_sounded_though_nobody_asked_for_words(
    service, stranger, monkeypatch, model, sent
):
    if model == "preview":
        monkeypatch.undo()
        begins = await events(CUT, service.catalog.voices["tara"].espeak)
    monkeypatch.setattr(heard, "LOOKED_FOR", 60.0)
    speech = await cut_in(service, model, seconds=sent)
    begins = begins if model == "preview" else stranger.told[CUT]
    edges = sorted(begins.items(), key=lambda word: word[1])
    found = []
    for (at, sample), (following, end) in pairwise(edges):
        for part, cut in ((0.12, at), (0.88, following)):
            played = (sample + part * (end - sample)) / SAMPLE_RATE
            if played < speech.audio_seconds:
                told = await service.playing.interrupt(speech.id, ME, played)
                assert told.timing == ("exact" if model == "preview" else "aligned")
                found.append(len(told.text_spoken) == cut)
    assert len(found) >= (12 if sent else 20)
    assert sum(found) >= 0.85 * len(found)


async def test_where_espeak_is_missing_a_cut_is_estimated_and_said_to_be(service, stranger, monkeypatch):
    speech = await cut_in(service, "stranger")

    def missing(tags):
        raise ModelUnavailableError("not installed")

    monkeypatch.setattr(reading, "PreviewModel", missing)
    told = await service.playing.interrupt(speech.id, ME, 2.0)
    assert told.timing == "estimated"
    assert told.text_spoken + told.text_remaining == CUT
    assert 0 < len(told.text_spoken) < len(CUT)


async def test_what_takes_too_long_to_find_is_estimated_and_found_when_asked_again(
    service, stranger, monkeypatch
):
    speech = await cut_in(service, "stranger")
    monkeypatch.setattr(heard, "LOOKED_FOR", 0.0)
    assert (await service.playing.interrupt(speech.id, ME, 2.0)).timing == "estimated"
    monkeypatch.setattr(heard, "LOOKED_FOR", 60.0)
    assert (await service.playing.interrupt(speech.id, ME, 2.0)).timing == "aligned"


async def test_the_sound_of_long_ago_is_forgotten_and_a_cut_in_it_estimated(service, stranger, monkeypatch):
    recent = heard.RecentSound(most=300_000)
    monkeypatch.setattr(service, "_recent", recent)
    first = await cut_in(service, "stranger")
    second = await cut_in(service, "stranger")
    assert recent.size <= 300_000
    assert (await service.playing.interrupt(first.id, ME, 2.0)).timing == "estimated"
    assert (await service.playing.interrupt(second.id, ME, 2.0)).timing == "aligned"
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    with pytest.raises(NotFoundError):
        await service.playing.interrupt(second.id, ME, 2.0)
    assert recent.size == 0


async def test_the_sound_of_what_can_sound_no_more_is_forgotten_where_nobody_speaks_after_it(
    service, stranger, monkeypatch
):
    recent = heard.RecentSound()
    monkeypatch.setattr(service, "_recent", recent)
    monkeypatch.setattr(interruption, "STILL_SOUNDING", -3_600.0)
    await cut_in(service, "stranger")
    async with asyncio.timeout(60):
        while recent.size:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.01)
