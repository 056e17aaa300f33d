"""ElevenLabs' names of output formats, such as `mp3_44100_128`: codec, sample rate, bit rate."""

import re
from typing import cast

import msgspec

from orpheus_openai.audio.formats import FORMATS, AudioFormat, rate_of
from orpheus_openai.errors import InvalidRequestError

DEFAULT_OUTPUT = "mp3_44100_128"

CODECS: dict[str, AudioFormat] = {
    "mp3": "mp3",
    "opus": "opus",
    "pcm": "pcm",
    "wav": "wav",
    "ulaw": "pcmu",
    "alaw": "pcma",
}
KILOBITS = (32, 48, 64, 96, 128, 192)
"""kbit/s that mp3 and opus can have."""

_NAME = re.compile(
    r"(?P<codec>mp3|opus|pcm|wav|ulaw|alaw)_(?P<rate>\d{4,5})(?:_(?P<kilobits>\d{2,3}))?", re.ASCII
)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What speech is delivered as."""

    audio_format: AudioFormat
    sample_rate: int
    bit_rate: int | None = None
    """bit/s; None: this server's own."""

    @property
    def media_type(self) -> str:
        """Of its bytes."""
        return FORMATS[self.audio_format].media_type


def output_of(name: str | None) -> Output:
    """What is meant by a name; None: ElevenLabs' default. Raises InvalidRequestError for what cannot be had."""
    wanted = (name or DEFAULT_OUTPUT).strip().lower()
    found = _NAME.fullmatch(wanted)
    if found is None or (found["kilobits"] and not _has_bit_rate(found["codec"], int(found["kilobits"]))):
        rates = ", ".join(map(str, KILOBITS))
        raise InvalidRequestError(
            f"There is no output format {wanted[:40]!r}. There are pcm_RATE, wav_RATE, ulaw_RATE, alaw_RATE, and "
            f"with a bit rate of {rates} mp3_RATE_KBITS and opus_RATE_KBITS, such as ulaw_8000 and mp3_44100_128.",
            param="output_format",
            code="invalid_output_format",
        )
    audio_format = CODECS[found["codec"]]
    try:
        rate = rate_of(audio_format, int(found["rate"]))
    except InvalidRequestError as error:
        raise InvalidRequestError(
            error.message, param="output_format", code="invalid_output_format"
        ) from error
    kilobits = cast("str | None", found["kilobits"])
    return Output(
        audio_format=audio_format, sample_rate=rate, bit_rate=int(kilobits) * 1_000 if kilobits else None
    )


def _has_bit_rate(codec: str, kilobits: int) -> bool:
    return codec in ("mp3", "opus") and kilobits in KILOBITS
