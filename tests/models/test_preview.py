"""The preview: eSpeak NG in every voice and language, streamed, shared fairly, stopped when unheard."""

import asyncio
import itertools
import re
import subprocess
import sys
import unicodedata
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.catalog import EspeakVoice, Voice, load_catalog
from orpheus_openai.errors import ModelUnavailableError, ShuttingDownError
from orpheus_openai.installation import installing
from orpheus_openai.models.preview.letters import SOUNDLESS
from orpheus_openai.models.preview.model import TAG_PAUSE_SECONDS, PreviewModel
from orpheus_openai.models.preview.process import ESPEAK_SAMPLE_RATE
from orpheus_openai.models.preview.upsample import Upsampling
from orpheus_openai.synthesis import Sampling, Usage

pytest.importorskip("espeakng_loader")

CATALOG = load_catalog()
VOICES = list(CATALOG.voices.values())
TARA = CATALOG.voice("tara")
SENTENCE = "The quick brown fox jumps over the lazy dog."
LETTERS = {"Lu", "Ll", "Lt", "Lo"}
INAUDIBLE = 60
LONG = "Nobody knows how long this will take, but it goes on and on for a while. " * 40


@pytest.fixture
async def model() -> AsyncIterator[PreviewModel]:
    preview = PreviewModel(CATALOG.emotion_tags)
    yield preview
    await preview.close()


async def stream(
    model: PreviewModel, text: str, voice: Voice = TARA, usage: Usage | None = None
) -> list[PCM]:
    return [chunk async for chunk in model.synthesize(text, voice, Sampling(), usage or Usage())]


async def speak(model: PreviewModel, text: str, voice: Voice = TARA, usage: Usage | None = None) -> PCM:
    return np.concatenate([np.empty(0, np.int16), *await stream(model, text, voice, usage)])


def loudest(pcm: PCM) -> int:
    return int(np.abs(pcm.astype(np.int32)).max(initial=0))


async def duration(model: PreviewModel, text: str, voice: Voice = TARA) -> float:
    return len(await speak(model, text, voice)) / SAMPLE_RATE


def pitch(pcm: PCM) -> float:
    """Median fundamental of the voiced parts, Hz, by autocorrelation."""
    window, longest = 1_920, SAMPLE_RATE // 60
    found = []
    for start in range(0, len(pcm) - window, window):
        part = pcm[start : start + window].astype(float)
        power = np.fft.irfft(np.abs(np.fft.rfft(part, 2 * window)) ** 2)
        lag = 60 + int(np.argmax(power[60:longest]))
        if power[lag] > 0.5 * power[0] > 0.5 * window * 500**2:
            found.append(SAMPLE_RATE / lag)
    return float(np.median(found))


def timbre(pcm: PCM) -> np.ndarray:
    """Share of the power in each of eleven bands, dB."""
    power = np.abs(np.fft.rfft(pcm.astype(float))) ** 2
    frequency = np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE)
    edges = [100, 200, 300, 450, 700, 1000, 1400, 2000, 2800, 4000, 6000, 10_000]
    bands = [power[(frequency >= a) & (frequency < b)].sum() for a, b in itertools.pairwise(edges)]
    return np.asarray(10 * np.log10(np.array(bands) / sum(bands)))


def longest_silence(pcm: PCM) -> float:
    """Seconds."""
    loud = np.flatnonzero(np.abs(pcm.astype(int)) > 100)
    return float(np.diff(loud, prepend=0, append=len(pcm)).max()) / SAMPLE_RATE


# --- voices and languages ----------------------------------------


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.id)
async def test_every_voice_speaks_its_language_loud_and_unclipped(model: PreviewModel, voice: Voice) -> None:
    pcm = await speak(model, CATALOG.languages[voice.language].example, voice)
    assert pcm.dtype == np.int16
    assert 3 < len(pcm) / SAMPLE_RATE < 8
    assert np.sqrt(np.mean(pcm.astype(float) ** 2)) > 1_000
    assert np.abs(pcm.astype(int)).max() < 32_767


@pytest.mark.parametrize("language", CATALOG.languages)
async def test_voices_of_a_language_can_be_told_apart_and_each_is_the_same_again(
    model: PreviewModel, language: str
) -> None:
    text = CATALOG.languages[language].example
    voices = [voice for voice in VOICES if voice.language == language]
    first = {voice.id: await speak(model, text, voice) for voice in voices}
    second = {voice.id: await speak(model, text, voice) for voice in voices}
    assert all(np.array_equal(second[name], pcm) for name, pcm in first.items())
    for (one, a), (other, b) in itertools.combinations(first.items(), 2):
        interval = abs(np.log2(pitch(a) / pitch(b)))  # octaves
        difference = np.abs(timbre(a) - timbre(b)).mean()
        assert interval > 2 / 12 or difference > 1.5, (one, other)


async def test_women_speak_higher_than_men(model: PreviewModel) -> None:
    heard = {v.id: pitch(await speak(model, CATALOG.languages[v.language].example, v)) for v in VOICES}
    assert max(heard[v.id] for v in VOICES if v.gender == "male") < 125
    assert min(heard[v.id] for v in VOICES if v.gender == "female") > 150


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [("zh", "你好你好", "再见再见"), ("ko", "안녕하세요", "비밀속삭임"), ("hi", "नमस्ते", "मुस्कान")],
)
async def test_a_script_of_its_own_is_spoken_and_not_spelled(
    model: PreviewModel, language: str, one: str, other: str
) -> None:
    voice = next(v for v in VOICES if v.language == language)
    text = CATALOG.languages[language].example
    assert await duration(model, text, voice) < 0.35 * sum(map(str.isalpha, text))
    # Spelled, each character would be the same "Chinese letter".
    difference = timbre(await speak(model, one, voice)) - timbre(await speak(model, other, voice))
    assert np.abs(difference).mean() > 1.5


@pytest.mark.parametrize("voice", ["tara", "pierre", "유나", "ऋतिका", "长乐"])
@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "你好",
        "안녕하세요",
        "नमस्ते",
        "مرحبا بالعالم",
        "שלום עולם",
        "😀👨‍👩‍👧‍👦🏳️‍🌈",
        "\u202eabc\u202c def",
        "e\u0301\u0302\u0303" * 20,
        "5" * 90,
        "a" * 400,
        "!?.,;:" * 30,
        "one\x00two \x01\x1b\x7f\x9fthree \ud800 four",
    ],
)
async def test_any_text_in_any_voice_comes_to_an_end(model: PreviewModel, voice: str, text: str) -> None:
    await speak(model, text, CATALOG.voice(voice))
    assert len(await speak(model, SENTENCE))


async def test_markup_and_commands_in_the_text_are_read_out_and_not_obeyed(model: PreviewModel) -> None:
    ssml = await speak(model, 'Hello <break time="5s"/> you.')
    assert longest_silence(ssml) < 1
    assert len(ssml) > 1.5 * len(await speak(model, "Hello you."))
    phonemes = "[[h@l'oU]]"
    assert await duration(model, phonemes) == pytest.approx(await duration(model, "h@l'oU"), rel=0.2)
    assert await duration(model, phonemes) > 1.3 * await duration(model, "hello")
    # A control character would set eSpeak's speed to 300 words a minute.
    command = await duration(model, f"\x01300S{SENTENCE}")
    assert command == pytest.approx(await duration(model, f" 300S{SENTENCE}"), rel=0.02)


async def test_an_unknown_voice_is_a_clear_error_and_the_next_call_works(model: PreviewModel) -> None:
    for espeak in (EspeakVoice(language="xx-none"), EspeakVoice(language="en-us", variant="nobody")):
        voice = Voice(id="x", language="en", gender="male", espeak=espeak)
        with pytest.raises(ModelUnavailableError, match=espeak.variant or espeak.language):
            await speak(model, SENTENCE, voice)
    assert len(await speak(model, SENTENCE))


# --- emotion tags, usage ----------------------------------------


async def test_an_emotion_tag_is_a_short_pause(model: PreviewModel) -> None:
    alone = await speak(model, "<laugh>")
    assert len(alone) == pytest.approx(TAG_PAUSE_SECONDS * SAMPLE_RATE, abs=2)
    assert not alone.any()
    parts = sum(
        [await duration(model, "Hello there"), TAG_PAUSE_SECONDS, await duration(model, "my friend.")]
    )
    assert await duration(model, "Hello there <LAUGH> my friend.") == pytest.approx(parts, rel=0.02)
    assert await duration(model, "<bracket>") > 2 * TAG_PAUSE_SECONDS


@pytest.mark.parametrize("text", ["", "  \n\t ", "\x00\x07"])
async def test_nothing_to_say_yields_nothing(model: PreviewModel, text: str) -> None:
    usage = Usage()
    assert await stream(model, text, usage=usage) == []
    assert usage == Usage()


async def test_the_letters_that_are_said_by_name_are_those_without_a_sound(model: PreviewModel) -> None:
    letters = [char for char in map(chr, range(0x80, 0x40000)) if unicodedata.category(char) in LETTERS]
    silent = [char for char in letters if SOUNDLESS.match(char)]
    mute = set(silent)
    beside = [
        {first, second} - mute
        for first, second in itertools.pairwise(letters)
        if (first in mute) != (second in mute)
    ]
    assert loudest(await speak(model, "".join(silent))) <= INAUDIBLE
    for (char,) in beside:
        assert loudest(await speak(model, char)) > INAUDIBLE, f"{char} {ord(char):x}"


async def test_usage_counts_characters_and_the_tokens_of_the_frames_begun(model: PreviewModel) -> None:
    usage = Usage(input_tokens=100, output_tokens=70)
    pcm = await speak(model, f"  {SENTENCE} <sigh> ", usage=usage)
    assert usage.input_tokens == 100 + len(SENTENCE)
    assert usage.output_tokens == 70 + 7 * -(-len(pcm) // 2_048)


# --- streaming, sharing, stopping ----------------------------------------


async def test_audio_comes_in_small_chunks_long_before_the_text_is_spoken(model: PreviewModel) -> None:
    usage = Usage()
    async with aclosing(model.synthesize(LONG, TARA, Sampling(), usage)) as chunks:
        first = await anext(chunks)
        assert 0.1 * SAMPLE_RATE < len(first) < 0.3 * SAMPLE_RATE
        assert usage.output_tokens < 7 * 4
        assert max([len(chunk) async for chunk in chunks]) < 0.3 * SAMPLE_RATE
    assert usage.output_tokens > 7 * 100 * SAMPLE_RATE / 2_048


async def test_a_cancelled_task_ends_at_once_while_it_waits_for_audio(model: PreviewModel) -> None:
    tasks = [asyncio.create_task(speak(model, LONG)) for _ in range(16)]
    await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(0.5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert len(await speak(model, SENTENCE))


async def test_a_slow_listener_holds_up_nobody_and_nothing_is_lost(model: PreviewModel) -> None:
    usage = Usage()
    async with aclosing(model.synthesize(LONG, TARA, Sampling(), usage)) as slow:
        await anext(slow)
        await asyncio.gather(speak(model, LONG), *(speak(model, SENTENCE, voice) for voice in VOICES))
        assert usage.output_tokens < 7 * 4
        rest = [chunk async for chunk in slow]
    assert sum(map(len, rest)) > 100 * SAMPLE_RATE


async def test_a_short_text_does_not_wait_for_the_long_ones_before_it(model: PreviewModel) -> None:
    long = [asyncio.create_task(speak(model, LONG)) for _ in range(3)]
    await asyncio.sleep(0.02)
    await speak(model, SENTENCE)
    assert not any(task.done() for task in long)
    lengths = {round(len(pcm) / SAMPLE_RATE) for pcm in await asyncio.gather(*long)}
    assert max(lengths) - min(lengths) <= 1


async def test_many_at_once_all_hear_their_own_text_in_their_own_voice(model: PreviewModel) -> None:
    text = "One moment, please: this sentence has three clauses, and nothing may get lost of any of them."
    alone = {voice.id: await speak(model, text, voice) for voice in VOICES}
    crowd = [VOICES[i % len(VOICES)] for i in range(64)]
    together = await asyncio.gather(*(speak(model, text, voice) for voice in crowd))
    for voice, heard in zip(crowd, together, strict=True):
        assert np.array_equal(heard, alone[voice.id])


async def test_the_event_loop_stays_free_while_many_speak(model: PreviewModel) -> None:
    speakers = asyncio.gather(*(speak(model, LONG[:600]) for _ in range(8)))
    loop = asyncio.get_running_loop()
    gaps = []
    while not speakers.done():
        before = loop.time()
        await asyncio.sleep(0.001)
        gaps.append(loop.time() - before)
    assert len(gaps) > 10
    assert np.median(gaps) < 0.05


# --- life cycle ----------------------------------------


async def test_a_new_model_speaks_after_the_old_one_was_closed() -> None:
    for _ in range(3):
        model = PreviewModel(())
        assert len(await speak(model, SENTENCE))
        await model.close()
        await model.close()
        with pytest.raises(ShuttingDownError):
            await speak(model, SENTENCE)


async def test_one_of_two_models_can_be_closed() -> None:
    one, other = PreviewModel(()), PreviewModel(())
    await asyncio.gather(speak(one, SENTENCE), speak(other, SENTENCE))
    await one.close()
    assert len(await speak(other, SENTENCE))
    with pytest.raises(ShuttingDownError):
        await speak(one, SENTENCE)
    await other.close()


def test_a_model_survives_an_event_loop_that_goes_away() -> None:
    model = PreviewModel(())

    async def leave_in_the_middle() -> None:
        await anext(model.synthesize(LONG, TARA, Sampling(), Usage()))

    for _ in range(3):
        asyncio.run(leave_in_the_middle())

    async def stay() -> int:
        spoken = len(await speak(model, SENTENCE))
        await model.close()
        return spoken

    assert asyncio.run(stay()) > SAMPLE_RATE


def test_without_espeak_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ModelUnavailableError, match=re.escape(installing("preview"))):
        PreviewModel(())


def test_importing_the_module_needs_neither_torch_nor_espeak() -> None:
    program = (
        "import sys; import orpheus_openai.models.preview.model\n"
        "sys.exit(','.join({'torch', 'vllm', 'snac', 'espeakng_loader'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_voice_without_a_table_for_espeak_is_read_in_its_language_and_gender(model):
    for plain in (
        Voice("anna", "en", "female"),
        Voice("bo", "zh", "male"),
        *(Voice("x", language, "female") for language in CATALOG.languages),
    ):
        assert await duration(model, CATALOG.languages[plain.language].example, plain) > 1.0
    pitches = [
        pitch(await speak(model, SENTENCE, Voice("x", "en", "female"))),
        pitch(await speak(model, SENTENCE, Voice("x", "en", "male"))),
    ]
    assert pitches[0] > pitches[1]


# --- to our sample rate ----------------------------------------


def upsampled(samples: PCM, chunk: int) -> PCM:
    upsampling = Upsampling()
    parts = [upsampling.process(samples[i : i + chunk]) for i in range(0, len(samples), chunk)]
    return np.concatenate([*parts, upsampling.flush()])


@pytest.mark.parametrize("length", [0, 1, 147, 1_000, 22_050, 100_001])
def test_the_rate_is_changed_in_pieces_as_in_one_and_exact_in_length(length: int) -> None:
    samples = np.random.default_rng(7).integers(-32_768, 32_768, length).astype(np.int16)
    whole = upsampled(samples, max(length, 1))
    assert len(whole) == round(length * 160 / 147)
    for chunk in (37, 1_102, 4_410):
        assert np.array_equal(upsampled(samples, chunk), whole)


@pytest.mark.parametrize("frequency", [300, 9_000, 10_000, 10_900])
def test_the_change_of_rate_adds_no_images_and_keeps_level_and_place(frequency: int) -> None:
    seconds = np.arange(ESPEAK_SAMPLE_RATE) / ESPEAK_SAMPLE_RATE
    dither = np.random.default_rng(7).uniform(-0.5, 0.5, len(seconds))
    tone = (20_000 * np.sin(2 * np.pi * frequency * seconds) + dither).round().astype(np.int16)
    pcm = upsampled(tone, 1_102).astype(float)
    window = np.blackman(len(pcm))
    spectrum = 20 * np.log10(np.abs(np.fft.rfft(pcm * window)) / (20_000 * window.sum() / 2) + 1e-9)
    assert spectrum[np.fft.rfftfreq(len(pcm), 1 / SAMPLE_RATE) > ESPEAK_SAMPLE_RATE / 2 + 10].max() < -85
    if frequency <= 10_000:
        assert spectrum.max() == pytest.approx(0, abs=0.1)
        ideal = 20_000 * np.sin(2 * np.pi * frequency * np.arange(len(pcm)) / SAMPLE_RATE)
        assert np.abs(pcm - ideal)[2_000:22_000].max() < 300
