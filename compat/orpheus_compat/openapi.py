"""What the API page says of bodies that are read and answered as bytes."""

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Reference,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIType

from orpheus_compat.schemas import CreateSpeechRequest, ErrorBody
from orpheus_openai.audio.encode import FORMATS

_REFERENCES = "#/components/schemas/{name}"


def components() -> Components:
    """The schemas of the bodies that Litestar does not see."""
    _, schemas = msgspec.json.schema_components([CreateSpeechRequest, ErrorBody], ref_template=_REFERENCES)
    described: dict[str, Any] = dict(schemas)
    return Components(schemas=described)


_EXAMPLES = {
    "plain": Example(
        summary="MP3, one of OpenAI's voices",
        value={"model": "tts-1", "voice": "alloy", "input": "The quick brown fox jumped over the lazy dog."},
    ),
    "acted": Example(
        summary="WAV, with emotion",
        value={
            "model": "tts-1",
            "voice": "tara",
            "input": "Oh no. <sigh> I left the tickets at home. <laugh>",
            "response_format": "wav",
        },
    ),
    "chinese": Example(
        summary="中文",
        value={"model": "preview", "voice": "长乐", "input": "你好,很高兴认识你。", "response_format": "mp3"},
    ),
    "events": Example(
        summary="Server-sent events",
        value={"model": "tts-1", "voice": "nova", "input": "One piece at a time.", "stream_format": "sse"},
    ),
}

_ERRORS = {
    "400": "A field is missing, of the wrong type or out of its range; `param` names it.",
    "404": "There is no such model.",
    "413": "The body is too large.",
    "502": "The engine failed before the first sound.",
    "503": "The model cannot speak here and now; the message names the ways out.",
}


@dataclass
class CreateSpeechOperation(Operation):
    """POST /v1/audio/speech with its body, formats and errors."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            required=True,
            content={
                "application/json": OpenAPIMediaType(
                    schema=Reference(ref="#/components/schemas/CreateSpeechRequest"),
                    examples=dict(_EXAMPLES),
                )
            },
        )
        binary = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING, format="binary"))
        text = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        problem = OpenAPIMediaType(schema=Reference(ref="#/components/schemas/ErrorBody"))
        self.responses = {
            "200": OpenAPIResponse(
                description="The speech, in the format asked for.",
                content={
                    **{audio_format.media_type: binary for audio_format in FORMATS.values()},
                    "text/event-stream": text,
                },
            ),
            **{
                status: OpenAPIResponse(description=words, content={"application/json": problem})
                for status, words in _ERRORS.items()
            },
        }
