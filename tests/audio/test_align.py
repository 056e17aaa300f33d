"""Word times against truth: eSpeak NG in other voices, whose events are known, whatever else sounds or does not."""

import json

import numpy as np
import pytest

from benchmarks.timings import (
    DISTURBANCES,
    GOAL_DISTURBED,
    GOAL_MEDIAN,
    GOAL_P90,
    READERS,
    SENTENCES,
    another_voice,
    disturbed,
    espeak,
    measured,
)
from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.audio.align import align, align_beginning, in_proportion
from orpheus_openai.catalog import load_catalog
from orpheus_openai.models.preview.model import PreviewModel, stand_in
from orpheus_openai.models.preview.reading import read, starts
from orpheus_openai.text.words import words_of

pytest.importorskip("espeakng_loader")

CATALOG = load_catalog()
TEXTS = json.loads(SENTENCES.read_text(encoding="utf-8"))


@pytest.fixture
async def preview():
    preview = PreviewModel(CATALOG.emotion_tags)
    yield preview
    await preview.close()


@pytest.mark.parametrize("language", READERS)
@pytest.mark.parametrize("how", DISTURBANCES)
async def test_words_of_another_voice_are_found(preview, language, how):
    reader = stand_in(CATALOG.voices[READERS[language]])
    random = np.random.default_rng(1)
    some = TEXTS[language][: 4 if how == "nothing" else 2]
    said = [await espeak(preview, text, another_voice(reader)) for text in some]
    figures = await measured(preview, [disturbed(one, how, random) for one in said], reader, language, how)
    if how != "nothing":
        assert figures.p90 <= GOAL_DISTURBED
    else:
        assert figures.median <= GOAL_MEDIAN
        assert figures.p90 <= GOAL_P90


async def test_what_sounds_at_a_tag_belongs_to_no_word(preview):
    reader = stand_in(CATALOG.voices["tara"])
    said = await espeak(preview, TEXTS["en"][1], another_voice(reader))
    heard = disturbed(said, "burst", np.random.default_rng(1))
    words = words_of(heard.text, ["laugh"])
    reading = await read(preview, heard.text, reader)
    found = align(heard.pcm, reading.pcm, starts(reading, heard.text, words.words), words.tags)
    (place,) = words.tags
    silent = found[place].start - found[place - 1].end
    assert silent / SAMPLE_RATE >= 0.5, "most of the 0.7 s lies between the words"


async def test_a_sentence_at_half_and_at_twice_its_tempo_is_found(preview):
    reader = stand_in(CATALOG.voices["tara"])
    text = TEXTS["en"][4]
    reading = await read(preview, text, reader)
    words = words_of(text).words
    begins = np.array(starts(reading, text, words))
    for factor in (0.5, 2.0):
        other = await espeak(
            preview, text, type(reader)(language="en-us", variant="m3", rate=round(reader.rate * factor))
        )
        found = align(other.pcm, reading.pcm, begins.tolist())
        errors = [
            abs(w.start / SAMPLE_RATE - t)
            for w, t in zip(found, other.begins, strict=True)
            if not np.isnan(t)
        ]
        assert np.percentile(errors, 90) <= 0.12


def test_stretches_stand_in_order_within_the_recording_whatever_it_holds():
    random = np.random.default_rng(1)
    reading = (3_000 * np.sin(np.arange(48_000) / 20)).astype(np.int16)
    for size in (0, 100, 700, 24_000, 200_000):
        for pcm in (np.zeros(size, np.int16), random.integers(-9_000, 9_000, size).astype(np.int16)):
            for whole, found in (
                (True, align(pcm, reading, [0, 12_000, 40_000], {0, 3})),
                (False, align_beginning(pcm, reading, [0, 12_000, 40_000], {0, 3})),
            ):
                edges = [edge for stretch in found for edge in stretch]
                assert len(found) == 3
                assert edges == sorted(edges)
                assert edges[0] >= 0
                assert edges[-1] <= size or not whole
    assert align(reading, reading, []) == []
    assert align(reading, np.zeros(0, np.int16), [0, 0])[-1].end <= reading.size


def test_without_a_reading_words_share_the_time_by_their_lengths():
    assert in_proportion(100, [1, 3]) == [(0, 25), (25, 100)]
    assert in_proportion(100, []) == []
