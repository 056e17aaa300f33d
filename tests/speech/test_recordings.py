"""Recordings of any length, aligned with their texts."""

import numpy as np
import pytest

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.models.preview.model import PreviewModel
from orpheus_openai.models.preview.reading import read
from orpheus_openai.speech.recordings import LONGEST_SECONDS, align_recording

pytest.importorskip("espeakng_loader")


async def test_minutes_of_a_recording_are_aligned_piece_by_piece():
    catalog = load_catalog()
    sentences = [
        f"In paragraph {n} the old man smiled, closed his book, and left the house." for n in range(30)
    ]
    preview = PreviewModel(catalog.emotion_tags)
    pieces, begins, at = [], [], 0
    for number, sentence in enumerate(sentences):
        said = await read(preview, sentence, catalog.voices["leo"].espeak)
        begins.append(at / SAMPLE_RATE)
        pieces += [said.pcm, np.zeros(SAMPLE_RATE // 4 * (1 + number % 3), np.int16)]
        at += sum(map(len, pieces[-2:]))
    await preview.close()
    pcm = np.concatenate(pieces)
    assert pcm.size > 120 * SAMPLE_RATE
    found = [w for s in await align_recording(pcm, "\n\n".join(sentences), "en", catalog) for w in s.words]
    first = [word.start for word in found if word.word == "In"]
    assert len(first) == len(sentences)
    errors = np.abs(np.array(first) - begins)
    assert np.percentile(errors, 90) < 0.12
    assert errors.max() < 0.5


@pytest.mark.parametrize(
    ("text", "language", "seconds"),
    [("Hello.", "xx", 1), ("—", "en", 1), ("Hello.", "en", LONGEST_SECONDS + 1)],
)
async def test_what_cannot_be_aligned_is_said(text, language, seconds):
    with pytest.raises(InvalidRequestError):
        await align_recording(np.zeros(seconds * SAMPLE_RATE, np.int16), text, language, load_catalog())
