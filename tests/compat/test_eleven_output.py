"""ElevenLabs' names of output formats."""

import pytest

from orpheus_eleven.output import output_of
from orpheus_openai.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (None, ("mp3", 44_100, 128_000)),
        ("mp3_22050_32", ("mp3", 22_050, 32_000)),
        ("MP3_44100_192", ("mp3", 44_100, 192_000)),
        ("opus_48000_64", ("opus", 48_000, 64_000)),
        *((f"pcm_{rate}", ("pcm", rate, None)) for rate in (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)),
        ("wav_44100", ("wav", 44_100, None)),
        ("ulaw_8000", ("pcmu", 8_000, None)),
        ("alaw_8000", ("pcma", 8_000, None)),
    ],
)  # fmt: skip
def test_a_name_says_codec_rate_and_bit_rate(name, meant):
    output = output_of(name)
    assert (output.audio_format, output.sample_rate, output.bit_rate) == meant


@pytest.mark.parametrize(
    "name",
    [
        *("mp3", "midi_44100", "pcm_7999", "pcm_96000", "mp3_44101_128", "opus_44100_64", "mp3_44100_1"),
        *("pcm_16000_64", "ulaw_8000_8", "mp3_44100_128_1", "pcm_١٦٠٠٠"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(name):
    with pytest.raises(InvalidRequestError) as refused:
        output_of(name)
    assert (refused.value.code, refused.value.param) == ("invalid_output_format", "output_format")
