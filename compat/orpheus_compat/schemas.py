"""OpenAI's request and response bodies for speech, models and voices, and how a body is read in words."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.models.base import Sampling
from orpheus_openai.service import MAX_SPEED, MIN_SPEED, SpeechRequest

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]


class VoiceReference(msgspec.Struct, frozen=True):
    """A voice as an object."""

    id: Annotated[str, Meta(description="The voice's id.", examples=["tara"])]


class CreateSpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of POST /v1/audio/speech. Fields that are not listed are ignored."""

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
        ),
    ]
    voice: Annotated[
        str | VoiceReference,
        Meta(description="A voice of ours or of OpenAI's, as a name or as an object with an id.", examples=["tara", "alloy"]),
    ]
    instructions: Annotated[
        str | None, Meta(description="Accepted; Orpheus takes no instructions, so they are without effect.")
    ] = None
    response_format: Annotated[
        AudioFormat | None, Meta(description="pcm is 24 kHz, 16 bit, little-endian, mono, without a header.")
    ] = None
    speed: Annotated[
        float | None, Meta(description=f"From {MIN_SPEED} to {MAX_SPEED:g}; the pitch stays.", examples=[1.0])
    ] = None
    stream_format: Annotated[
        Literal["audio", "sse"] | None, Meta(description="audio: the bytes; sse: server-sent events that hold them.")
    ] = None
    temperature: Annotated[float | None, Meta(description="An addition of ours: 0 to 2.", examples=[0.6])] = None
    top_p: Annotated[float | None, Meta(description="An addition of ours: above 0, at most 1.", examples=[0.9])] = None
    repetition_penalty: Annotated[
        float | None, Meta(description="An addition of ours: 1 to 2; below 1.1 speech becomes unstable.", examples=[1.1])
    ] = None
    seed: Annotated[int | None, Meta(description="An addition of ours: the same seed draws the same tokens.")] = None


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """A model in OpenAI's form, with what else is known of it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    status: Annotated[
        Literal["available", "unavailable", "coming_soon"],
        Meta(description="An addition of ours: whether a request for it can be served here."),
    ]
    status_detail: Annotated[str, Meta(description="What to do where it is not available.")] = ""
    alias_of: Annotated[str | UnsetType, Meta(description="For OpenAI's names: the model that answers.")] = UNSET


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class VoiceObject(msgspec.Struct, frozen=True, kw_only=True):
    """A voice; `alias_of` where it is one of OpenAI's names."""

    id: str
    name: str
    language: str
    gender: Literal["female", "male"]
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


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's error body."""

    error: ErrorDetail


def parse_speech_request(body: bytes) -> CreateSpeechRequest:
    """Read a request body; raises InvalidRequestError with the field's name and what was expected of it."""
    try:
        return msgspec.json.decode(body, type=CreateSpeechRequest)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"The body is not valid JSON: {_flaw(body, error)}.", code="invalid_json") from error


def to_speech_request(body: CreateSpeechRequest) -> SpeechRequest:
    """The same request in the core's terms; raises InvalidRequestError where a number is out of its range."""
    given = {
        name: value
        for name in ("temperature", "top_p", "repetition_penalty", "seed")
        if (value := getattr(body, name)) is not None
    }
    voice = body.voice if isinstance(body.voice, str) else body.voice.id
    fields: dict[str, Any] = {"text": body.input, "model": body.model, "voice": voice, "sampling": given}
    if body.speed is not None:
        fields["speed"] = body.speed
    try:
        return msgspec.convert(fields, SpeechRequest)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error


def _flaw(body: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if re.search(rb"\\u[dD][89abcdefABCDEF]", body):
        return "a \\ud800 to \\udfff escape stands without its partner"
    return str(error)


_JSON_NAMES = {
    "str": "a string",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "an array",
}


def _explain(message: str) -> InvalidRequestError:
    """msgspec's finding as a sentence about one field."""
    where = re.search(r" - at `\$\.?([^`]*)`$", message)
    path = where.group(1).removeprefix("sampling.") if where else ""
    what = message[: where.start()] if where else message
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        param = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return InvalidRequestError(f"Missing required field '{param}'.", param=param, code="missing_required_parameter")
    if wrong := re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", what):
        expected = " or ".join(_JSON_NAMES.get(kind, kind) for kind in wrong.group(1).split(" | ") if kind != "null")
        got = _JSON_NAMES.get(wrong.group(2), wrong.group(2))
        place = f"for '{path}'" if path else "as the body"
        return InvalidRequestError(f"Expected {expected} {place}, got {got}.", param=path or None, code="invalid_type")
    if path in _CHOICES and what.startswith("Invalid enum value"):
        choices = ", ".join(_CHOICES[path])
        return InvalidRequestError(f"Invalid value for '{path}'; expected one of: {choices}.", param=path, code="invalid_value")
    words = what.replace("`", "").replace("float", "a number").replace("int ", "a whole number ")
    for sign, phrase in (("<= ", "of at most "), (">= ", "of at least "), ("> ", "above ")):
        words = words.replace(sign, phrase)
    return InvalidRequestError(f"Invalid value for '{path}': {words}.", param=path or None, code="invalid_value")


_CHOICES = {"response_format": ("mp3", "opus", "aac", "flac", "wav", "pcm"), "stream_format": ("audio", "sse")}
