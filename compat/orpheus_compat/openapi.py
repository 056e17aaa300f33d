"""What the API page says of the OpenAI surface where Litestar does not see the bodies."""

from litestar.openapi.spec import Example, OpenAPIResponse

from orpheus_compat.schemas import CreateSpeechRequest
from orpheus_openai.http.openapi import SPEECH_PROBLEMS, audio, events, operation, schema

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
        value={
            "model": "tts-1",
            "voice": "nova",
            "input": "One piece at a time.",
            "stream_format": "sse",
            "timestamp_granularities": ["word"],
        },
    ),
}

_EVENTS = Example(
    summary="A piece of audio, when its words sound, and the end",
    value='data: {"type":"speech.audio.delta","audio":"SUQzBAAAAAAA"}\n\n'
    'data: {"type":"speech.audio.timestamps","timing":"aligned",'
    '"words":[{"word":"Hello","start":0.0,"end":0.42,"span":[0,5]}]}\n\n'
    'data: {"type":"speech.audio.done",'
    '"usage":{"input_tokens":21,"output_tokens":84,"total_tokens":105}}\n\n',
)

CreateSpeechOperation = operation(
    body=schema(CreateSpeechRequest, _EXAMPLES),
    answers={
        "200": OpenAPIResponse(
            description="The speech, in the format asked for.",
            content={**audio(), "text/event-stream": events(_EVENTS)},
        )
    },
    problems=SPEECH_PROBLEMS,
)

ListOperation = operation()
RetrieveModelOperation = operation(problems={"404": "There is no such model."})
