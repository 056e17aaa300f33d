"""How FFmpeg is told to write each format: codec, container, and what makes it come early and stay in time."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from orpheus_openai.audio import SAMPLE_RATE

MP3_BIT_RATE = 96_000
"""bit/s, constant. At 24 kHz mono 64 kbit/s leaves speech intact; half as much again costs little."""
MP3_SLOW_BIT_RATE = 64_000
"""bit/s: the most that LAME takes for MPEG-2.5, which is MP3 of 12 kHz and less."""
MP3_SLOW = 12_000
"""Hz."""
MP3_QUALITY = 7
"""LAME's, 0 to 9. Against its default, at the same bit rate, 116 s of the preview's speech come back with a
segmental signal-to-noise ratio of 25.1 instead of 24.5 dB and a log-spectral distance of 0.82 instead of
0.75 dB, in 1/168 of real time instead of 1/89 (one shared core). 8 and 9 are the same, 0 to 2 worse in both."""
MP3_GRANULE = 576
"""Samples; a frame of MPEG-2 has one, one of MPEG-1 two."""
MPEG_1 = 32_000
"""Hz; from this rate on MP3 is MPEG-1."""
MP3_DECODER_DELAY = 529
"""Samples by which a decoder is late, after the 576 of LAME's own (LAME's technical FAQ)."""
OPUS_BIT_RATE = 40_000
"""bit/s, the aim of a variable rate. Speech of full band needs 28 to 40 kbit/s (RFC 6716, section 2.1.1)."""
OPUS_COMPLEXITY = 5
"""libopus', 0 to 10. From 7 on it analyses the signal and speaks much of it as a hybrid, in 1/83 of real time;
below, it is CELT, in 1/285. 49 s of the preview's speech at 64 kbit/s in fact, of 40 asked for, come back with
a segmental signal-to-noise ratio of 18.5 dB and a log-spectral distance of 1.7 dB; complexity 10 had 18.2 and
2.1 dB with 57 kbit/s in fact, of 48 asked for. At equal rates they are within 1 dB and 0.2 dB."""
AAC_BIT_RATE = 96_000
"""bit/s. FFmpeg's own AAC encoder needs more than Opus for the same quality."""
AAC_BITS_PER_SAMPLE = 6
"""The most that a frame of 1 024 samples can hold (ISO 14496-3, 6 144 bits a channel)."""
FLAC_FRAME = 1_024
"""Samples at 24 kHz: 43 ms instead of FFmpeg's 96 ms before the first bytes, for 3 % more of them."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How FFmpeg is told to write one format at one sample rate."""

    container: str
    codec: str
    bit_rate: int | None = None
    codec_options: Mapping[str, str] = {}
    container_options: Mapping[str, str] = {}
    lead_in: int = 0
    """Samples of silence before the first of ours."""
    dropped_packets: int = 0
    """The first packets of the codec, which hold nothing but its delay."""


def _mp3(sample_rate: int, bit_rate: int | None) -> Recipe:
    return Recipe(
        container="mp3",
        codec="libmp3lame",
        bit_rate=min(bit_rate or MP3_BIT_RATE, MP3_SLOW_BIT_RATE if sample_rate <= MP3_SLOW else 320_000),
        # Without a reservoir a frame waits for none after it: first bytes 30 ms earlier.
        codec_options={"reservoir": "0", "compression_level": str(MP3_QUALITY)},
        # Players trim the delay only by a tag that needs the length, which is not known yet. So the delay is made two
        # whole granules. In MPEG-2 these are two frames, and the first of them goes: nothing of ours is in it.
        container_options={"id3v2_version": "0", "write_xing": "0"},
        lead_in=MP3_GRANULE - MP3_DECODER_DELAY,
        dropped_packets=0 if sample_rate >= MPEG_1 else 1,
    )


def _opus(_sample_rate: int, bit_rate: int | None) -> Recipe:
    return Recipe(
        container="ogg",
        codec="libopus",
        bit_rate=bit_rate or OPUS_BIT_RATE,
        # "voip" would filter the voice; "audio" keeps its waveform.
        codec_options={
            "application": "audio",
            "vbr": "on",
            "frame_duration": "20",
            "compression_level": str(OPUS_COMPLEXITY),
        },
        # In µs: a page for every packet. FFmpeg holds the newest page back, since the last of all needs a flag.
        container_options={"page_duration": "20000"},
    )


def _aac(sample_rate: int, bit_rate: int | None) -> Recipe:
    return Recipe(
        container="adts",
        codec="aac",
        bit_rate=min(bit_rate or AAC_BIT_RATE, AAC_BITS_PER_SAMPLE * sample_rate),
        codec_options={"aac_coder": "fast"},  # better than "twoloop" from 64 kbit/s on (FFmpeg's manual)
    )


def _flac(sample_rate: int, _bit_rate: int | None) -> Recipe:
    return Recipe(
        container="flac",
        codec="flac",
        codec_options={"frame_size": str(FLAC_FRAME * sample_rate // SAMPLE_RATE)},
        container_options={"metadata_header_padding": "0"},  # else 8 KiB of nothing before the sound
    )


RECIPES: Mapping[str, Callable[[int, int | None], Recipe]] = MappingProxyType(
    {"mp3": _mp3, "opus": _opus, "aac": _aac, "flac": _flac}
)
"""By format: the recipe for a sample rate in Hz, and a bit rate in bit/s or None for ours."""
