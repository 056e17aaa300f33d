"""ElevenLabs' error body, and which requests are answered with it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from orpheus_openai.errors import SpeechError

PATHS = re.compile(r"/v1/text-to-speech(/|$)|/v[12]/voices(/|$)")
"""Of ElevenLabs alone."""


class ElevenErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong."""

    status: Annotated[
        str, Meta(description="A name for the error, for programs.", examples=["voice_not_found"])
    ]
    message: Annotated[str, Meta(description="In words, and with what would do.")]
    param: Annotated[str | UnsetType, Meta(description="The field that is wrong.")] = UNSET


class ElevenErrorBody(msgspec.Struct, frozen=True):
    """What ElevenLabs' SDKs turn into an exception."""

    detail: ElevenErrorDetail


PARAMS = {"voice": "voice_id", "model": "model_id", "input": "text", "speed": "voice_settings.speed"}
"""What ElevenLabs calls the core's fields."""


def eleven_shape(error: SpeechError) -> ElevenErrorBody:
    """An error in ElevenLabs' form."""
    param = PARAMS.get(error.param, error.param) if error.param else UNSET
    return ElevenErrorBody(ElevenErrorDetail(error.kind, error.message, param))


def is_elevens(scope: Mapping[str, Any]) -> bool:
    """Whether a request is one of ElevenLabs': by its path, or where OpenAI has the same by its key's header."""
    path = re.sub("/{2,}", "/", str(scope["path"]))
    return bool(PATHS.match(path)) or (path.rstrip("/") == "/v1/models" and has_eleven_key(scope))


def has_eleven_key(scope: Mapping[str, Any]) -> bool:
    """Whether it brings a key as ElevenLabs' clients do, and as no client of OpenAI's does."""
    names = {name for name, _ in scope["headers"]}
    return b"xi-api-key" in names and b"authorization" not in names
