"""GET /api/models: everything that can be asked for by name, and within which limits."""

from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from msgspec import Meta

from orpheus_openai.audio.encode import FORMATS
from orpheus_openai.catalog import Catalog, Language, Model, speaks
from orpheus_openai.gpu.slot import ModelState
from orpheus_openai.http.openapi import operation
from orpheus_openai.settings import Settings
from orpheus_openai.speech.request import MAX_SPEED, MIN_SPEED, SpeechRequest
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.synthesis import Sampling


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model, whether it can speak here or not."""

    id: Annotated[str, Meta(examples=["medium-3b"])]
    title: Annotated[str, Meta(examples=["Orpheus 3B, English"])]
    family: Annotated[str, Meta(description="The size it is a language of.", examples=["medium-3b"])]
    languages: Annotated[tuple[str, ...], Meta(description="ISO 639-1.", examples=[["en"]])]
    engine: Annotated[
        str, Meta(description="preview: eSpeak NG, which is not Orpheus.", examples=["orpheus"])
    ]
    memory_gib: Annotated[float, Meta(description="GPU memory it needs; 0 for none.", examples=[8.0])]
    status: Annotated[
        Literal["available", "unavailable", "coming_soon"],
        Meta(description="Whether it can speak on this machine."),
    ]
    status_detail: Annotated[str, Meta(description="What to do where it cannot.")]
    state: Annotated[ModelState, Meta(description="Where it is in its life.")]
    voices: Annotated[
        list[str], Meta(description="Ids of the voices it speaks with.", examples=[["tara", "leo"]])
    ]
    checkpoint: Annotated[
        str | None,
        Meta(
            description="Path or Hugging Face repo id.", examples=["canopylabs/orpheus-tts-0.1-finetune-prod"]
        ),
    ]


class VoiceEntry(msgspec.Struct, frozen=True):
    """A voice."""

    id: Annotated[str, Meta(examples=["tara"])]
    language: Annotated[str, Meta(examples=["en"])]
    gender: Literal["female", "male"]


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


class CatalogAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All models, languages, voices and formats."""

    default: Annotated[str, Meta(description="The model that `default` and OpenAI's names stand for.")]
    models: list[ModelEntry]
    languages: list[Language]
    voices: list[VoiceEntry]
    voice_aliases: Annotated[
        dict[str, str], Meta(description="OpenAI's names.", examples=[{"alloy": "tara"}])
    ]
    model_aliases: Annotated[dict[str, str], Meta(examples=[{"tts-1": "default"}])]
    emotion_tags: Annotated[tuple[str, ...], Meta(examples=[["laugh", "sigh"]])]
    formats: Annotated[list[str], Meta(examples=[list(FORMATS)])]
    limits: Limits
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
def catalog(service: NamedDependency[SpeechService], settings: NamedDependency[Settings]) -> CatalogAnswer:
    """Everything a form for speech needs to know, in one answer.

    A model's `status` says whether it can speak on this machine, its `state` whether it is loaded right now.
    """
    known = service.catalog
    states = {status.id: status.state for status in service.manager.get_status()}
    return CatalogAnswer(
        default=service.factory.default_model,
        models=[
            _entry(service, model, states.get(model.id, ModelState.UNLOADED))
            for model in known.models.values()
        ],
        languages=list(known.languages.values()),
        voices=[VoiceEntry(voice.id, voice.language, voice.gender) for voice in known.voices.values()],
        voice_aliases=known.voice_aliases,
        model_aliases=known.model_aliases,
        emotion_tags=known.emotion_tags,
        formats=list(FORMATS),
        limits=Limits(settings.max_input_chars),
    )


def _entry(service: SpeechService, model: Model, state: ModelState) -> ModelEntry:
    availability = service.factory.availability(model)
    return ModelEntry(
        id=model.id,
        title=model.title,
        family=model.family or model.id,
        languages=model.languages,
        engine=model.engine,
        memory_gib=model.memory_gib,
        status=availability.status,
        status_detail=availability.reason,
        state=state,
        voices=_voices(service.catalog, model),
        checkpoint=service.factory.checkpoint(model),
    )


def _voices(known: Catalog, model: Model) -> list[str]:
    return [voice.id for voice in known.voices.values() if speaks(model, voice)]
