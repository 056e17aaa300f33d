"""ElevenLabs' routes over HTTP: read the request, ask the service, stream the answer."""

from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any

from litestar import Controller, Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from orpheus_eleven import openapi
from orpheus_eleven.middleware import MODELS
from orpheus_eleven.output import DEFAULT_OUTPUT, Output, output_of
from orpheus_eleven.schemas import (
    ElevenLanguage,
    ElevenModel,
    ElevenVoice,
    TextToSpeechRequest,
    VoicesAnswer,
    VoicesPage,
)
from orpheus_eleven.sockets import VoiceId, multi_stream_input, stream_input
from orpheus_eleven.speech import prepared, timed_lines, timed_whole, voice_not_found
from orpheus_openai.catalog import Voice
from orpheus_openai.fields import from_json
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.delivery import delivered
from orpheus_openai.http.responses import StreamResponse, answer_with_speech
from orpheus_openai.settings import Settings
from orpheus_openai.speech.offer import voice_entry
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech

AnyRequest = Request[Any, Any, Any]

KNOWN_MODELS = ("eleven_multilingual_v2", "eleven_turbo_v2_5", "eleven_flash_v2_5")
"""Ids of ElevenLabs' that the list has, for programs that look for one of them there."""

OutputFormat = Annotated[
    str | None,
    QueryParameter(
        description="Codec, sample rate and for mp3 and opus kbit/s, such as pcm_16000, ulaw_8000, opus_48000_64; "
        f"{DEFAULT_OUTPUT} if not given."
    ),
]


class TextToSpeechController(Controller):
    """/v1/text-to-speech."""

    path = "/text-to-speech/{voice_id:str}"
    tags = ("ElevenLabs",)

    @post(
        "/",
        status_code=200,
        operation_id="elevenTextToSpeech",
        summary="Speak a text (ElevenLabs)",
        operation_class=openapi.SpeakOperation,
    )
    async def speak(
        self,
        request: AnyRequest,
        voice_id: VoiceId,
        service: NamedDependency[SpeechService],
        output_format: OutputFormat = None,
    ) -> StreamResponse:
        """Turn text into speech, streamed while it is spoken, in ElevenLabs' words."""
        return await _spoken(request, voice_id, service, output_format)

    @post(
        "/stream",
        status_code=200,
        operation_id="elevenStreamSpeech",
        summary="Stream speech (ElevenLabs)",
        operation_class=openapi.SpeakOperation,
    )
    async def stream(
        self,
        request: AnyRequest,
        voice_id: VoiceId,
        service: NamedDependency[SpeechService],
        output_format: OutputFormat = None,
    ) -> StreamResponse:
        """The same as without `/stream`: here all speech is streamed."""
        return await _spoken(request, voice_id, service, output_format)

    @post(
        "/with-timestamps",
        status_code=200,
        operation_id="elevenTextToSpeechWithTimestamps",
        summary="Speak a text and tell when each character sounds (ElevenLabs)",
        operation_class=openapi.TimedOperation,
    )
    async def speak_timed(
        self,
        request: AnyRequest,
        voice_id: VoiceId,
        service: NamedDependency[SpeechService],
        output_format: OutputFormat = None,
    ) -> StreamResponse:
        """Turn text into speech: JSON with all the audio, and the time of each character."""
        return await _timed(
            request, voice_id, service, output_format, timed_whole, media_type="application/json"
        )

    @post(
        "/stream/with-timestamps",
        status_code=200,
        operation_id="elevenStreamWithTimestamps",
        summary="Stream speech and tell when each character sounds (ElevenLabs)",
        operation_class=openapi.TimedStreamOperation,
    )
    async def stream_timed(
        self,
        request: AnyRequest,
        voice_id: VoiceId,
        service: NamedDependency[SpeechService],
        output_format: OutputFormat = None,
    ) -> StreamResponse:
        """Turn text into speech: JSON line by line, while it is spoken."""
        return await _timed(
            request, voice_id, service, output_format, timed_lines, media_type="application/x-ndjson"
        )


async def _spoken(
    request: AnyRequest, voice_id: str, service: SpeechService, output_format: str | None
) -> StreamResponse:
    output = output_of(output_format)
    body = from_json(await read_body(request.receive), TextToSpeechRequest, text="text")
    speech = prepared(request.scope, service, voice_id, body, output)
    chunks = delivered(speech, output.audio_format, bit_rate=output.bit_rate)
    return await answer_with_speech(request, speech, chunks, output.media_type)


async def _timed(
    request: AnyRequest,
    voice_id: str,
    service: SpeechService,
    output_format: str | None,
    told: Callable[[Speech, Output], AsyncGenerator[bytes]],
    *,
    media_type: str,
) -> StreamResponse:
    output = output_of(output_format)
    body = from_json(await read_body(request.receive), TextToSpeechRequest, text="text")
    whole = told is timed_whole
    speech = prepared(request.scope, service, voice_id, body, output, word_times=True, whole=whole)
    return await answer_with_speech(request, speech, told(speech, output), media_type)


@get(
    "/v1/voices",
    tags=["ElevenLabs"],
    operation_id="elevenVoices",
    summary="List voices (ElevenLabs)",
    response_description="The voices.",
    operation_class=openapi.ListOperation,
    sync_to_thread=False,
)
def list_voices(request: AnyRequest, service: NamedDependency[SpeechService]) -> VoicesAnswer:
    """List every voice that is there for the caller, in ElevenLabs' form."""
    return VoicesAnswer(_voices(request, service))


@get(
    "/v2/voices",
    tags=["ElevenLabs"],
    operation_id="elevenSearchVoices",
    summary="Search voices (ElevenLabs)",
    response_description="The voices.",
    operation_class=openapi.ListOperation,
    sync_to_thread=False,
)
def search_voices(
    request: AnyRequest,
    service: NamedDependency[SpeechService],
    search: Annotated[str | None, QueryParameter(description="What the id or a label shall hold.")] = None,
) -> VoicesPage:
    """List the voices that fit, all on one page."""
    asked = (search or "").strip().lower()
    fitting = [
        voice
        for voice in _voices(request, service)
        if any(asked in told.lower() for told in (voice.voice_id, voice.name, *voice.labels.values()))
    ]
    return VoicesPage(voices=fitting, total_count=len(fitting))


@get(
    "/v1/voices/{voice_id:str}",
    tags=["ElevenLabs"],
    operation_id="elevenVoice",
    summary="Retrieve a voice (ElevenLabs)",
    response_description="The voice.",
    operation_class=openapi.VoiceOperation,
    sync_to_thread=False,
)
def retrieve_voice(
    request: AnyRequest, voice_id: VoiceId, service: NamedDependency[SpeechService]
) -> ElevenVoice:
    """Find a voice by its id or by another name, such as OpenAI's."""
    with voice_not_found():
        return _voice(service.voices.catalog(caller_of(request.scope).account).voice(voice_id))


@get(MODELS, include_in_schema=False, sync_to_thread=False)
def list_models(
    service: NamedDependency[SpeechService], settings: NamedDependency[Settings]
) -> list[ElevenModel]:
    """The models that can speak here, and ids of ElevenLabs' own, which stand for the default one."""
    languages = service.catalog.languages
    speaking = {entry.id: entry for entry in service.offer.models().values() if entry.status == "available"}
    listed = dict(speaking)
    if default := speaking.get(service.offer.default):
        listed |= dict.fromkeys(KNOWN_MODELS, default)
    return [
        ElevenModel(
            model_id=name,
            name=entry.title if name == entry.id else name,
            description=entry.title if name == entry.id else f"Stands for {entry.id}.",
            languages=[ElevenLanguage(each, languages[each].english) for each in entry.languages],
            maximum_text_length_per_request=settings.max_input_chars,
        )
        for name, entry in listed.items()
    ]


def _voices(request: AnyRequest, service: SpeechService) -> list[ElevenVoice]:
    catalog = service.voices.catalog(caller_of(request.scope).account)
    return [_voice(voice) for voice in catalog.voices.values()]


def _voice(voice: Voice) -> ElevenVoice:
    entry = voice_entry(voice)
    labels = {"language": entry.language, "gender": entry.gender}
    if entry.kind != "built_in":
        labels |= {
            "languages": ", ".join(entry.languages),
            "kind": entry.kind,
            "memory_mib": str(entry.memory_mib),
        }
    return ElevenVoice(
        voice_id=entry.id,
        name=entry.name,
        category="premade" if entry.kind == "built_in" else "cloned",
        labels=labels,
    )


def eleven_router() -> Router:
    """ElevenLabs' doors."""
    below_v1 = Router("/v1", route_handlers=[TextToSpeechController])
    lists = [list_voices, search_voices, retrieve_voice, list_models]
    return Router("/", route_handlers=[below_v1, *lists, stream_input, multi_stream_input])
