"""The formats that speech can be asked for in: names, media types, suffixes of files."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

AudioFormat: TypeAlias = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
"""The names of `FORMATS`, as a type that request bodies are checked against."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A format that a listener can ask for."""

    name: AudioFormat
    media_type: str
    other_extensions: tuple[str, ...] = ()
    """Under which files of it are written elsewhere, without the dot."""
    cheap: bool = False
    """Whether to encode it costs less than a hop to a thread."""

    @property
    def extension(self) -> str:
        """Of a file's name, without the dot."""
        return self.name


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        each.name: each
        for each in (
            Format(name="mp3", media_type="audio/mpeg"),
            Format(name="opus", media_type="audio/ogg", other_extensions=("ogg",)),
            Format(name="aac", media_type="audio/aac"),
            Format(name="flac", media_type="audio/flac"),
            Format(name="wav", media_type="audio/wav", cheap=True),
            Format(name="pcm", media_type="audio/pcm", other_extensions=("raw",), cheap=True),
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
