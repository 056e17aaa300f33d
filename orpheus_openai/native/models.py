"""GET /api/models: everything that can be asked for by name, and within which limits."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from msgspec import Meta

from orpheus_openai.audio import MAX_SPEED, MIN_SPEED
from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.catalog import Language, OwnVoice, Voice
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.openapi import operation
from orpheus_openai.limits.caller import Caller
from orpheus_openai.settings import Settings
from orpheus_openai.speech.offer import ModelEntry, VoiceEntry, voice_entry
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.synthesis import Sampling
from orpheus_openai.voices.form import LONGEST_RECORDING, MODELS, SHORTEST_RECORDING
from orpheus_openai.voices.keeper import may_remove


class Limits(msgspec.Struct, frozen=True):
    """What one request may hold."""

    max_input_chars: int
    min_speed: float = MIN_SPEED
    max_speed: float = MAX_SPEED


class Defaults(msgspec.Struct, frozen=True):
    """What holds where a request does not say."""

    temperature: float = Sampling().temperature
    top_p: float = Sampling().top_p
    repetition_penalty: float = Sampling().repetition_penalty
    speed: float = SpeechRequest(text="").speed
    voice: str = SpeechRequest(text="").voice


class Recordings(msgspec.Struct, frozen=True, kw_only=True):
    """What a voice made of a recording needs (`POST /v1/audio/voices`)."""

    model: Annotated[
        str, Meta(description="The model that speaks it.", examples=["medium-3b-pretrained"])
    ] = MODELS["prompt"]
    consent_required: Annotated[bool, Meta(description="Whether its speaker has to consent.")]
    max_voices: Annotated[
        int, Meta(description="Voices, and consents, that one key may have.", examples=[20])
    ]
    min_seconds: float = SHORTEST_RECORDING
    max_seconds: float = LONGEST_RECORDING


class OfferedVoice(VoiceEntry, frozen=True, kw_only=True):
    """A voice, and whose it is to remove."""

    removable: Annotated[bool, Meta(description="Whether whoever asks may remove it.")]


class CatalogAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All models, languages, voices and formats."""

    default: Annotated[str, Meta(description="The model that `default` and OpenAI's names stand for.")]
    models: list[ModelEntry]
    languages: list[Language]
    voices: list[OfferedVoice]
    voice_aliases: Annotated[
        dict[str, str], Meta(description="OpenAI's names.", examples=[{"alloy": "tara"}])
    ]
    model_aliases: Annotated[dict[str, str], Meta(examples=[{"tts-1": "default"}])]
    emotion_tags: Annotated[tuple[str, ...], Meta(examples=[["laugh", "sigh"]])]
    formats: Annotated[list[str], Meta(examples=[list(FORMATS)])]
    limits: Limits
    recordings: Recordings
    defaults: Defaults = Defaults()


@get(
    "/models",
    tags=["Models"],
    operation_id="catalog",
    summary="List models, languages, voices and limits",
    response_description="The catalog of this server.",
    operation_class=operation(),
    sync_to_thread=False,
)
def catalog(
    request: Request[Any, Any, Any],
    service: NamedDependency[SpeechService],
    settings: NamedDependency[Settings],
) -> CatalogAnswer:
    """Everything a form for speech needs to know, in one answer.

    A model's `status` says whether it can speak on this machine, its `state` whether it is loaded right now.
    """
    caller = caller_of(request.scope)
    known = service.voices.catalog(caller.account)
    return CatalogAnswer(
        default=service.offer.default,
        models=list(service.offer.models(known).values()),
        languages=list(known.languages.values()),
        voices=[_offered(voice, caller) for voice in known.voices.values()],
        voice_aliases=known.voice_aliases,
        model_aliases=known.model_aliases,
        emotion_tags=known.emotion_tags,
        formats=list(FORMATS),
        limits=Limits(settings.max_input_chars),
        recordings=Recordings(
            consent_required=settings.voice_consent == "required", max_voices=settings.max_voices_per_key
        ),
    )


def _offered(voice: Voice, caller: Caller) -> OfferedVoice:
    removable = isinstance(voice, OwnVoice) and may_remove(caller, voice)
    return OfferedVoice(**msgspec.structs.asdict(voice_entry(voice)), removable=removable)
