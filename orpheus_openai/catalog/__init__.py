"""Models, voices and the names they answer to: data from `catalog.toml` and the user's own file."""

from orpheus_openai.catalog.definition import (
    DEFAULT_MODEL,
    DEFAULT_VOICE,
    PREVIEW,
    Catalog,
    EspeakVoice,
    Gender,
    Language,
    Model,
    OwnVoice,
    Voice,
    VoiceKind,
    name_of,
    speaks,
)
from orpheus_openai.catalog.reading import load_catalog

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_VOICE",
    "PREVIEW",
    "Catalog",
    "EspeakVoice",
    "Gender",
    "Language",
    "Model",
    "OwnVoice",
    "Voice",
    "VoiceKind",
    "load_catalog",
    "name_of",
    "speaks",
]
