"""OpenAI's request and response bodies for speech, models and voices."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from orpheus_openai.audio.formats import AudioFormat
from orpheus_openai.models.engine import Status
from orpheus_openai.speech.offer import VoiceEntry
from orpheus_openai.speech.request import Tuning


class VoiceReference(msgspec.Struct, frozen=True):
    """A voice as an object."""

    id: Annotated[str, Meta(description="The voice's id.", examples=["tara"])]


Granularity = Literal["word", "segment"]


class CreateSpeechRequest(Tuning, frozen=True, kw_only=True):
    """The body of POST /v1/audio/speech. Fields that are not listed are ignored.

    OpenAI's own, and additions of ours: temperature, top_p, repetition_penalty, max_tokens, seed, text_cleaning,
    pronunciations, cast, sample_rate and timestamp_granularities.
    """

    model: Annotated[
        str,
        Meta(
            description="A model id from /v1/models. OpenAI's names stand for this server's default model.",
            examples=["gpt-4o-mini-tts", "medium-3b", "preview"],
        ),
    ]
    input: Annotated[
        str,
        Meta(
            description="The text to speak. Emotion tags such as <laugh> or <sigh> are acted.",
            examples=["Hello! <chuckle> How are you?"],
            extra_json_schema={"minLength": 1},
        ),
    ]
    voice: Annotated[
        str | VoiceReference,
        Meta(
            description="A voice of ours or of OpenAI's, as a name or as an object with an id.",
            examples=["tara", "alloy"],
        ),
    ]
    instructions: Annotated[
        str | None, Meta(description="Accepted; Orpheus takes no instructions, so they are without effect.")
    ] = None
    response_format: Annotated[
        AudioFormat | None,
        Meta(
            description="pcm is 24 kHz, 16 bit, little-endian, mono, without a header. pcmu and pcma, additions "
            "of ours, are G.711 as the telephone has it, 8 kHz, one byte a sample, without a header."
        ),
    ] = None
    stream_format: Annotated[
        Literal["audio", "sse"] | None,
        Meta(description="audio: the bytes; sse: server-sent events that hold them."),
    ] = None
    timestamp_granularities: Annotated[
        list[Granularity] | None,
        Meta(
            description="An addition of ours, with `stream_format: sse`: events `speech.audio.timestamps` tell when "
            "each word or segment sounds.",
            examples=[["word"]],
        ),
    ] = None


class ModelVoice(msgspec.Struct, frozen=True):
    """A voice as a bridge looks for it: in its model."""

    name: str
    language: str


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """A model in OpenAI's form, with what else is known of it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    status: Annotated[
        Status,
        Meta(description="An addition of ours: whether a request for it can be served here."),
    ]
    status_detail: Annotated[str, Meta(description="What to do where it is not available.")] = ""
    alias_of: Annotated[
        str | UnsetType, Meta(description="For other names, such as OpenAI's: the model that answers.")
    ] = UNSET
    voices: Annotated[
        list[ModelVoice] | UnsetType,
        Meta(description="The voices it can speak with; only where a single model is retrieved."),
    ] = UNSET


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class VoiceObject(VoiceEntry, frozen=True, kw_only=True):
    """A voice; `alias_of` where it is one of OpenAI's names."""

    alias_of: str | UnsetType = UNSET


class VoiceList(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/audio/voices."""

    voices: list[VoiceObject]


class AudioModel(msgspec.Struct, frozen=True):
    """A model that can be used for speech right away."""

    id: str
    name: str


class AudioModelList(msgspec.Struct, frozen=True):
    """GET /v1/audio/models."""

    models: list[AudioModel]


class ConsentObject(msgspec.Struct, frozen=True, kw_only=True):
    """A recording in which somebody consents to a voice of theirs."""

    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    id: Annotated[str, Meta(examples=["cons_0123456789abcdef01234567"])]
    name: str
    language: Annotated[str, Meta(description="BCP 47.", examples=["en-US"])]
    created_at: Annotated[int, Meta(description="Unix time.")]


class ConsentList(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/audio/voice_consents."""

    object: Literal["list"] = "list"
    data: list[ConsentObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConsentDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A consent that is no more."""

    id: str
    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    deleted: bool = True


class UpdateConsent(msgspec.Struct, frozen=True):
    """The body that renames a consent."""

    name: str


class CustomVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice that was added."""

    object: Literal["audio.voice"] = "audio.voice"
    id: Annotated[str, Meta(examples=["voice_0123456789abcdef01234567"])]
    name: str
    created_at: Annotated[int, Meta(description="Unix time.")]
    type: Annotated[Literal["audio_sample"], Meta(description="What it was made of.")] = "audio_sample"


class VoiceDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A voice that is no more."""

    id: str
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    deleted: bool = True
