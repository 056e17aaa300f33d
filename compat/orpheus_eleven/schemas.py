"""ElevenLabs' request and response bodies for text-to-speech, voices and models."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from orpheus_eleven.alignment import Alignment
from orpheus_openai.audio import MAX_SPEED, MIN_SPEED
from orpheus_openai.speech.request import Speed
from orpheus_openai.synthesis import Seed

MODEL_IDS = "eleven_"
"""How ElevenLabs' own ids of models begin; they stand for this server's default model."""


class VoiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a voice speaks. Of ElevenLabs' settings only the speed has an effect."""

    speed: Annotated[
        Speed | None,
        Meta(description=f"Tempo, {MIN_SPEED:g} to {MAX_SPEED:g}; the pitch stays.", examples=[1.0]),
    ] = None
    stability: Annotated[Any, Meta(description="Accepted, without effect.")] = None
    similarity_boost: Annotated[Any, Meta(description="Accepted, without effect.")] = None
    style: Annotated[Any, Meta(description="Accepted, without effect.")] = None
    use_speaker_boost: Annotated[Any, Meta(description="Accepted, without effect.")] = None


class TextToSpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /v1/text-to-speech/{voice_id}. Fields that are not listed are ignored."""

    text: Annotated[
        str,
        Meta(
            description="The text to speak. Emotion tags such as <laugh> or <sigh> are acted.",
            examples=["Hello! <chuckle> How are you?"],
            extra_json_schema={"minLength": 1},
        ),
    ]
    model_id: Annotated[
        str | None,
        Meta(
            description="A model of this server's; ElevenLabs' own ids, and null, stand for its default model.",
            examples=["eleven_flash_v2_5", "preview"],
        ),
    ] = None
    voice_settings: VoiceSettings | None = None
    seed: Annotated[
        Seed | None, Meta(description="The same seed draws the same tokens; null: another draw each time.")
    ] = None
    language_code: Annotated[
        str | None, Meta(description="Accepted, without effect: a voice has its language.")
    ] = None
    previous_text: Annotated[str | None, Meta(description="Accepted, without effect.")] = None
    next_text: Annotated[str | None, Meta(description="Accepted, without effect.")] = None
    apply_text_normalization: Annotated[Any, Meta(description="Accepted, without effect.")] = None
    pronunciation_dictionary_locators: Annotated[Any, Meta(description="Accepted, without effect.")] = None


class TimedAudio(msgspec.Struct, frozen=True):
    """Audio, and when its characters sound."""

    audio_base64: Annotated[str, Meta(description="A piece of it, or all.")]
    alignment: Annotated[
        Alignment | None,
        Meta(
            description="Characters of the text, in seconds from its start; all alignments together are the text."
        ),
    ]
    normalized_alignment: Annotated[Alignment | None, Meta(description="The same.")]


class ElevenVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice in ElevenLabs' form."""

    voice_id: Annotated[str, Meta(examples=["tara"])]
    name: Annotated[str, Meta(examples=["tara"])]
    category: Literal["premade", "cloned"] = "premade"
    labels: Annotated[dict[str, str], Meta(examples=[{"language": "en", "gender": "female"}])]
    description: str | None = None
    preview_url: str | None = None
    available_for_tiers: list[str] = []
    high_quality_base_model_ids: list[str] = []
    is_owner: bool = False


class VoicesAnswer(msgspec.Struct, frozen=True):
    """GET /v1/voices."""

    voices: list[ElevenVoice]


class VoicesPage(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v2/voices: all that fit, on one page."""

    voices: list[ElevenVoice]
    has_more: bool = False
    total_count: int
    next_page_token: str | None = None


class ElevenLanguage(msgspec.Struct, frozen=True):
    """A language that a model speaks."""

    language_id: str
    name: str


class ElevenModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in ElevenLabs' form."""

    model_id: str
    name: str
    description: str
    languages: list[ElevenLanguage]
    maximum_text_length_per_request: int
    can_do_text_to_speech: bool = True
    can_do_voice_conversion: bool = False
    can_be_finetuned: bool = False
    can_use_style: bool = False
    can_use_speaker_boost: bool = False
    serves_pro_voices: bool = False
    requires_alpha_access: bool = False
    token_cost_factor: float = 0.0
