"""The formats that speech can be asked for in: names, media types, suffixes of files, sample rates."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from orpheus_openai.audio import SAMPLE_RATE
from orpheus_openai.errors import InvalidRequestError

AudioFormat: TypeAlias = Literal["mp3", "opus", "aac", "flac", "wav", "pcm", "pcmu", "pcma"]
"""The names of `FORMATS`, as a type that request bodies are checked against."""

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000
SampleRate = Annotated[int, Meta(ge=LOWEST_RATE, le=HIGHEST_RATE)]
"""Hz; what speech can be brought to."""

TELEPHONE_RATE = 8_000
"""Hz; G.711's own."""
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Hz; MPEG-1, MPEG-2 and MPEG-2.5, layer III. AAC's are among those that ADTS has an index for (ISO 14496-3)."""
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Hz; what libopus takes (RFC 6716, section 2)."""
AAC_RATE = 48_000
"""Hz. ADTS cannot tell a player to skip the 1 024 samples in front; at twice our rate they last 21 ms."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A format that a listener can ask for."""

    name: AudioFormat
    media_type: str
    other_extensions: tuple[str, ...] = ()
    """Under which files of it are written elsewhere, without the dot."""
    cheap: bool = False
    """Whether to encode it costs less than a hop to a thread."""
    sample_rate: int = SAMPLE_RATE
    """Hz, where the request names no other."""
    sample_rates: tuple[int, ...] = ()
    """Those that it can have; empty: any."""

    @property
    def extension(self) -> str:
        """Of a file's name, without the dot."""
        return self.name


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        each.name: each
        for each in (
            Format(name="mp3", media_type="audio/mpeg", sample_rates=MP3_RATES),
            Format(name="opus", media_type="audio/ogg", other_extensions=("ogg",), sample_rates=OPUS_RATES),
            Format(name="aac", media_type="audio/aac", sample_rate=AAC_RATE, sample_rates=MP3_RATES),
            Format(name="flac", media_type="audio/flac"),
            Format(name="wav", media_type="audio/wav", cheap=True),
            Format(name="pcm", media_type="audio/pcm", other_extensions=("raw",), cheap=True),
            # Their names in RFC 4856; without a header, one byte a sample.
            Format(
                name="pcmu",
                media_type="audio/pcmu",
                other_extensions=("ulaw", "ul"),
                sample_rate=TELEPHONE_RATE,
            ),
            Format(
                name="pcma",
                media_type="audio/pcma",
                other_extensions=("alaw", "al"),
                sample_rate=TELEPHONE_RATE,
            ),
        )
    }
)

FORMATS_BY_SUFFIX: Mapping[str, AudioFormat] = MappingProxyType(
    {
        f".{extension}": each.name
        for each in FORMATS.values()
        for extension in (each.extension, *each.other_extensions)
    }
)
"""Which format the end of a file's name means."""


def rate_of(audio_format: str, wanted: int | None) -> int:
    """The sample rate in Hz of speech in that format; `wanted` is what the request names.

    Raises InvalidRequestError for a rate that the format cannot have.
    """
    known = FORMATS[audio_format]
    if wanted is None:
        return known.sample_rate
    if known.sample_rates and wanted not in known.sample_rates:
        raise InvalidRequestError(
            f"{audio_format} cannot have {wanted} samples a second; it can have "
            f"{', '.join(map(str, known.sample_rates))}.",
            param="sample_rate",
            code="invalid_value",
        )
    if not LOWEST_RATE <= wanted <= HIGHEST_RATE:
        raise InvalidRequestError(
            f"The sample rate must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz.",
            param="sample_rate",
            code="invalid_value",
        )
    return wanted
