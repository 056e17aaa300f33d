"""Words that are missing or were said twice, in the preview's other voices, by a reading of the whole text."""

import asyncio

import pytest

pytest.importorskip("espeakng_loader", reason="the preview reads along")

from benchmarks.timings import READERS, another_voice
from orpheus_openai.audio.heard import doubts
from orpheus_openai.catalog import load_catalog
from orpheus_openai.models.preview.model import PreviewModel, stand_in
from orpheus_openai.models.preview.reading import read, starts
from orpheus_openai.text.words import words_of

TEXT = "The captain ordered his tired sailors to lower every sail before the storm arrived."
SAID = {
    "whole": (TEXT, False),
    "without a word": (TEXT.replace("sailors ", ""), True),
    "a word twice": (TEXT.replace("ordered", "ordered ordered"), True),
    "without its end": (TEXT.replace(" the storm arrived", ""), True),
}


@pytest.fixture(scope="module")
def heard():
    """What is doubted of each."""
    catalog = load_catalog()
    voice = stand_in(catalog.voices[READERS["en"]])

    async def look():
        preview = PreviewModel(catalog.emotion_tags)
        try:
            reading = await read(preview, TEXT, voice)
            begins = starts(reading, TEXT, words_of(TEXT).words)
            said = {name: await read(preview, text, another_voice(voice)) for name, (text, _) in SAID.items()}
            return {name: doubts(other.pcm, reading.pcm, begins) for name, other in said.items()}
        finally:
            await preview.close()

    return asyncio.run(look())


@pytest.mark.parametrize("said", SAID)
def test_what_was_not_said_once_is_doubted_and_nothing_else(heard, said):
    assert heard[said].serious is SAID[said][1]


def test_what_is_missing_is_told_from_what_was_said_twice(heard):
    assert heard["without a word"].missing > 0 > heard["without a word"].repeated
    assert heard["a word twice"].repeated > 0 > heard["a word twice"].missing
