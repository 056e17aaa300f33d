"""G.711 as the ITU has it, for every sample there can be."""

from typing import Any

import av
import numpy as np
import pytest

from orpheus_openai.audio.g711 import Law, compress

EVERY_SAMPLE = np.arange(-0x8000, 0x8000).astype(np.int16)


def mu_law(sample: int) -> int:
    """ITU-T G.191's `ulaw_compress`, of 14 bits."""
    magnitude = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment, rest = 1, magnitude >> 6
    while rest:
        segment, rest = segment + 1, rest >> 1
    high, low = 8 - segment, 0xF - (magnitude >> segment & 0xF)
    return high << 4 | low | (0x80 if sample >= 0 else 0)


def a_law(sample: int) -> int:
    """ITU-T G.191's `alaw_compress`, of 12 bits."""
    magnitude = (~sample if sample < 0 else sample) >> 4
    if magnitude > 15:
        exponent = 1
        while magnitude > 16 + 15:
            magnitude, exponent = magnitude >> 1, exponent + 1
        magnitude += (exponent << 4) - 16
    return (magnitude | (0x80 if sample >= 0 else 0)) ^ 0x55


@pytest.mark.parametrize(("law", "formula"), [("pcmu", mu_law), ("pcma", a_law)])
def test_every_sample_is_compressed_as_the_formula_says(law: Law, formula) -> None:
    assert compress(EVERY_SAMPLE, law) == bytes(formula(int(sample)) for sample in EVERY_SAMPLE)


@pytest.mark.parametrize(
    ("law", "codec", "bias"), [("pcmu", "pcm_mulaw", 33 << 2), ("pcma", "pcm_alaw", 32 << 4)]
)
def test_every_sample_comes_back_within_half_a_step(law: Law, codec: str, bias: int) -> None:
    decoder: Any = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = 8_000, "mono"
    heard = decoder.decode(av.Packet(compress(EVERY_SAMPLE, law)))[0].to_ndarray()[0].astype(int)
    loudness = np.abs(EVERY_SAMPLE.astype(int))
    assert (np.abs(heard - EVERY_SAMPLE) <= (loudness + bias) / 32 + 1).all()
