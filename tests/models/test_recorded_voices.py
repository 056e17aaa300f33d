"""Voices made of a recording: SNAC's encoder against its package, and the prompt token for token."""

import wave
from typing import Any

import numpy as np
import pytest
import torch
from snac import SNAC

from orpheus_openai.catalog import load_catalog
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.models.orpheus import model as orpheus
from orpheus_openai.models.orpheus.codec import SnacDecoder
from orpheus_openai.models.orpheus.frames import FrameAssembler, token_ids
from orpheus_openai.models.orpheus.prompt import recorded_prompt
from orpheus_openai.models.orpheus.recordings import RecordedPrompts
from orpheus_openai.models.orpheus.snac_encoder import encode_recording, interleaved
from orpheus_openai.synthesis import Sampling, Usage
from orpheus_openai.voices.folder import VoiceFolder

CATALOG = load_catalog()


@pytest.fixture(scope="module")
def pcm():
    return np.random.default_rng(5).normal(0, 3_000, 30_000).astype(np.int16)


@pytest.fixture(scope="module")
def encoded(tiny_snac, pcm):
    """Our frames, the package, and its codes."""
    package = SNAC.from_pretrained(str(tiny_snac))
    with torch.inference_mode():
        codes = package.encode(torch.from_numpy(pcm.astype(np.float32) / 32_768)[None, None])
    return encode_recording(str(tiny_snac), pcm), package, codes


def test_the_encoders_codes_are_the_packages(encoded):
    frames, _, codes = encoded
    assert frames.shape == (15, 7), "30 000 samples and what fills the last frame up"
    coarse, middle, fine = (level[0].tolist() for level in codes)
    assert len(set(coarse)) > 1
    for i, frame in enumerate(frames.tolist()):
        assert frame == [
            coarse[i],
            middle[2 * i],
            fine[4 * i],
            fine[4 * i + 1],
            middle[2 * i + 1],
            fine[4 * i + 2],
            fine[4 * i + 3],
        ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpus_codes_are_the_packages_on_it(tiny_snac, pcm):
    package = SNAC.from_pretrained(str(tiny_snac)).eval().cuda()
    with torch.inference_mode():
        codes = package.encode(torch.from_numpy(pcm.astype(np.float32) / 32_768).cuda()[None, None])
    theirs = interleaved([level[0].cpu().numpy() for level in codes])
    assert np.array_equal(encode_recording(str(tiny_snac), pcm, "cuda"), theirs)


async def test_what_was_encoded_is_decoded_as_the_package_would(tiny_snac, encoded):
    frames, package, codes = encoded
    with torch.inference_mode():
        for block in package.modules():
            if type(block).__name__ == "NoiseBlock":
                block.forward = lambda x: x
        expected = package.decode(codes)[0, 0].numpy() * 32_767

    async def given():
        yield frames

    decoder = SnacDecoder.load(str(tiny_snac), "cpu", "off")
    try:
        decoded = np.concatenate([each async for each in decoder.decode(given())])
    finally:
        await decoder.close()
    assert len(decoded) == 15 * 2_048 == len(expected)
    assert np.abs(decoded - np.clip(expected, -32_768, 32_767)).max() <= 2


def test_what_was_encoded_is_taken_apart_again_without_a_loss():
    random = np.random.default_rng(3)
    codes = [random.integers(0, 4_096, count) for count in (9, 18, 36)]
    frames = interleaved(codes)
    assert np.array_equal(FrameAssembler().push(token_ids(frames)), frames)


def test_the_prompt_of_a_recording_is_the_published_one_token_for_token():
    said, text = [11, 12], [21, 22, 23]
    recording = token_ids(np.array([[0, 1, 2, 3, 4, 5, 4_095]], np.int16))
    assert recording == [128266 + code + 4_096 * slot for slot, code in enumerate((0, 1, 2, 3, 4, 5, 4_095))]
    assert recorded_prompt(text, said, recording) == [
        *(128259, 128000, 11, 12, 128009, 128260, 128261, 128257),
        *recording,
        *(128258, 128262),
        *(128259, 128000, 21, 22, 23, 128009, 128260, 128261, 128257),
    ]


def test_a_transcript_that_spells_a_special_token_is_refused():
    with pytest.raises(InvalidRequestError, match="special token"):
        recorded_prompt([21], [128_009], [])


class _Source:
    """An engine that takes note of its prompts and says one frame."""

    dead = False

    def __init__(self):
        self.prompts = []

    async def generate(self, prompt_ids, _sampling):
        self.prompts.append(prompt_ids)
        yield token_ids(np.zeros((1, 7), np.int16))


class _Decoder:
    async def decode(self, frames, *, seed):
        async for each in frames:
            yield np.zeros(2_048 * len(each), np.int16)


@pytest.fixture
def voice(tmp_path):
    place = tmp_path / "voices" / "ann"
    place.mkdir(parents=True)
    with wave.open(str(place / "ann.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(bytes(2 * 24_000 * 4))
    (place / "voice.toml").write_text(
        'name = "Ann"\nkind = "prompt"\nrecording = "ann.wav"\ntranscript = "So it is."'
    )
    (found,) = VoiceFolder(tmp_path / "voices").read(CATALOG).voices
    return found


async def test_a_recording_is_encoded_once_and_stands_before_every_segment(voice):
    encoded = []

    def encode(pcm):
        encoded.append(len(pcm))
        return np.full((2, 7), 7, np.int16)

    async def tokenize(text):
        return [ord(letter) for letter in text]

    source: Any = _Source()
    decoder: Any = _Decoder()
    model = orpheus.OrpheusSpeechModel(source, decoder, tokenize, recordings=RecordedPrompts(encode))
    for text in ("Hello.", "Again."):
        usage = Usage()
        async for _ in model.synthesize(text, voice, Sampling(), usage):
            pass
        expected = recorded_prompt(
            await tokenize(text), await tokenize("So it is."), token_ids(np.full((2, 7), 7, np.int16))
        )
        assert source.prompts[-1] == expected
        assert usage.input_tokens == len(expected)
    assert encoded == [4 * 24_000]
    voice.recording.unlink()
    async for _ in model.synthesize("To its end.", voice, Sampling(), Usage()):
        pass
    assert source.prompts[-1][:8] == source.prompts[-2][:8], "the speech of a voice that is removed goes on"
    with pytest.raises(InvalidRequestError, match="recording of this voice is gone"):
        await RecordedPrompts(encode).prompt([1], voice, tokenize)


async def test_a_recording_that_could_not_be_encoded_is_tried_again(voice):
    tries = []

    def encode(_pcm):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("no memory")
        return np.zeros((1, 7), np.int16)

    async def tokenize(_text):
        return [1]

    recordings = RecordedPrompts(encode)
    with pytest.raises(RuntimeError, match="no memory"):
        await recordings.prompt([1], voice, tokenize)
    assert len(await recordings.prompt([1], voice, tokenize)) > 7
