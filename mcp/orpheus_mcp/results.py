"""What the tools answer with, as JSON that matches a schema: the fields and what each means."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from orpheus_openai.gpu.device import GPU
from orpheus_openai.gpu.slot import ModelStatus
from orpheus_openai.speech.offer import ModelEntry, VoiceEntry
from orpheus_openai.speech.report import SpeechReport


class GeneratedSpeech(SpeechReport, frozen=True, kw_only=True):
    """A text that was spoken and saved."""

    path: Annotated[str, Meta(description="The audio file on the server's machine.")]
    url: Annotated[str, Meta(description="Where the file can be downloaded.")]
    uri: Annotated[str, Meta(description="The MCP resource that holds the audio.")]
    format: str
    bytes: Annotated[int, Meta(description="Size of the file.")]
    captions: Annotated[
        dict[str, str],
        Meta(description="Where the captions that were asked for can be downloaded, by format."),
    ]
    total_seconds: Annotated[float, Meta(description="From the call to the saved file.")]


class GPUStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is on the GPU now."""

    default_model: Annotated[str, Meta(description="The model that speaks when none is named.")]
    models: Annotated[
        list[ModelStatus], Meta(description="Every model that was asked for since the server started.")
    ]
    gpus: Annotated[tuple[GPU, ...], Meta(description="The NVIDIA cards that may be used; memory in bytes.")]
    gpu_error: Annotated[str | None, Meta(description="Why there are none.")]


class Models(msgspec.Struct, frozen=True):
    """What `list_models` answers: every model of the catalog, whether or not it can speak here."""

    default: Annotated[str, Meta(description="The model that speaks when none is named.")]
    models: list[ModelEntry]


class NamedVoice(VoiceEntry, frozen=True, kw_only=True):
    """A voice, and what else it is called."""

    language_name: str
    aliases: Annotated[list[str], Meta(description="OpenAI's names for this voice.")]


class Voices(msgspec.Struct, frozen=True):
    """All voices, and what their texts may hold."""

    voices: list[NamedVoice]
    emotion_tags: Annotated[list[str], Meta(description="Put into the text to be performed, e.g. <laugh>.")]


def result_schema(result: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of a tool's result: an object, as MCP wants it, what it refers to in `$defs`."""
    (_,), components = msgspec.json.schema_components([result], ref_template="#/$defs/{name}")
    top: dict[str, Any] = components.pop(result.__name__)
    return {**top, "$defs": components} if components else top
