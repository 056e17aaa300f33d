"""What the API page says of the OpenAI door where Litestar does not see the bodies."""

from litestar.openapi.spec import Example, OpenAPIResponse

from orpheus_compat.schemas import CreateSpeechRequest, UpdateConsent
from orpheus_openai.http.openapi import SPEECH_PROBLEMS, audio, event_stream, form, operation, schema

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
    "telephone": Example(
        summary="For a telephone line: G.711 μ-law, 8 kHz",
        value={"model": "tts-1", "voice": "alloy", "input": "Please hold.", "response_format": "pcmu"},
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
    '"usage":{"input_tokens":21,"output_tokens":84,"total_tokens":105},'
    '"verification":[{"verdict":"ok","start":0,"end":5,"tries":1}]}\n\n',
)

CreateSpeechOperation = operation(
    body=schema(CreateSpeechRequest, _EXAMPLES),
    answers={
        "200": OpenAPIResponse(
            description="The speech, in the format asked for.",
            content={**audio(), "text/event-stream": event_stream(_EVENTS)},
        )
    },
    problems=SPEECH_PROBLEMS,
)

ListOperation = operation()
RetrieveModelOperation = operation(problems={"404": "There is no such model."})

_FORM = "multipart/form-data"
_REFUSED = {
    "400": "A field is missing or wrong, the recording cannot be used, or there are too many; `param` names it.",
    "429": "The caller's rate limit is reached; `Retry-After` says when to try again.",
}
_NO_CONSENT = {"404": "There is no such consent of yours."}

CreateConsentOperation = operation(
    body=form(
        {"name": "What to call it.", "language": "BCP 47, e.g. en-US."},
        {"recording": "What its speaker says, 1 to 30 seconds."},
        {},
    ),
    body_type=_FORM,
    problems=_REFUSED,
)
ListConsentsOperation = operation(problems={"400": "`limit` is out of its range, or `after` is no id."})
ConsentOperation = operation(problems=_NO_CONSENT)
UpdateConsentOperation = operation(
    body=schema(UpdateConsent), problems={**_NO_CONSENT, "400": _REFUSED["400"]}
)
CreateVoiceOperation = operation(
    body=form(
        {
            "name": "What to call it.",
            "ref_text": "An addition: what is said in the recording, word for word.",
        },
        {"audio_sample": "The voice, 3 to 30 seconds."},
        {
            "consent": "The id of its speaker's consent; required unless the server's owner has said otherwise.",
            "language": "An addition: BCP 47; that of the consent if not given.",
        },
    ),
    body_type=_FORM,
    problems={**_REFUSED, **_NO_CONSENT},
)
DeleteVoiceOperation = operation(problems={"404": "There is no such voice of yours."})
