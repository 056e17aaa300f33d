"""What the API page says of the ElevenLabs door where Litestar does not see the bodies."""

from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse

from orpheus_eleven.errors import ElevenErrorBody
from orpheus_eleven.schemas import TextToSpeechRequest, TimedAudio
from orpheus_openai.http.openapi import SPEECH_PROBLEMS, audio, operation, schema

_EXAMPLES = {
    "plain": Example(
        summary="One of ElevenLabs' models", value={"text": "Hello!", "model_id": "eleven_flash_v2_5"}
    ),
    "quick": Example(
        summary="With emotion, a little faster",
        value={"text": "Oh no. <sigh> I left the tickets at home.", "voice_settings": {"speed": 1.1}},
    ),
}
_BODY = schema(TextToSpeechRequest, _EXAMPLES)
_ERROR = schema(
    ElevenErrorBody,
    {
        "unknown voice": Example(
            value={
                "detail": {
                    "status": "voice_not_found",
                    "message": "There is no voice 'rachel'.",
                    "param": "voice_id",
                }
            }
        )
    },
)
_PROBLEMS = {**SPEECH_PROBLEMS, "404": "There is no such voice or model, or it cannot run on this server."}

SpeakOperation = operation(
    body=_BODY,
    answers={"200": OpenAPIResponse(description="The speech, in the format asked for.", content=audio())},
    problems=_PROBLEMS,
    error=_ERROR,
)
TimedOperation = operation(
    body=_BODY,
    answers={
        "200": OpenAPIResponse(
            description="The speech, and when its characters sound.",
            content={"application/json": schema(TimedAudio)},
        )
    },
    problems=_PROBLEMS,
    error=_ERROR,
)
TimedStreamOperation = operation(
    body=_BODY,
    answers={
        "200": OpenAPIResponse(
            description="One JSON object a line: a piece of the speech, and as soon as they are known the times.",
            content={"application/x-ndjson": OpenAPIMediaType()},
        )
    },
    problems=_PROBLEMS,
    error=_ERROR,
)
ListOperation = operation(error=_ERROR)
VoiceOperation = operation(problems={"404": "There is no such voice."}, error=_ERROR)
