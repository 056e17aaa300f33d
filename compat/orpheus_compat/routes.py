"""OpenAI's speech routes: read the request, ask the service, stream the answer."""

import base64
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

import msgspec
from litestar import Controller, HttpMethod, Request, Router, get, post, route
from litestar.di import NamedDependency
from litestar.params import PathParameter
from litestar.response.base import ASGIResponse

from orpheus_compat import openapi
from orpheus_compat.live import stream_speech
from orpheus_compat.schemas import (
    AudioModel,
    AudioModelList,
    CreateSpeechRequest,
    Granularity,
    ModelList,
    ModelObject,
    ModelVoice,
    VoiceList,
    VoiceObject,
)
from orpheus_compat.voices import ConsentController, CustomVoiceController
from orpheus_openai.audio.formats import FORMATS
from orpheus_openai.catalog import Catalog, Model, Voice
from orpheus_openai.errors import InvalidRequestError, SpeechError
from orpheus_openai.fields import from_json
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of, prepare_speech
from orpheus_openai.http.delivery import delivered
from orpheus_openai.http.errors import openai_shape
from orpheus_openai.http.responses import StreamResponse, answer_with_speech
from orpheus_openai.speech.offer import ModelEntry, voice_entry
from orpheus_openai.speech.request import tuned
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech
from orpheus_openai.speech.timed import TimedSegment

AnyRequest = Request[Any, Any, Any]

DEFAULT_FORMAT = "mp3"


class SpeechController(Controller):
    """POST /v1/audio/speech."""

    path = "/audio"
    tags = ("OpenAI",)

    @post(
        "/speech",
        status_code=200,
        operation_id="createSpeech",
        summary="Speak a text",
        operation_class=openapi.CreateSpeechOperation,
    )
    async def create_speech(
        self, request: AnyRequest, service: NamedDependency[SpeechService]
    ) -> StreamResponse:
        """Turn text into speech, streamed while it is spoken.

        The same request as OpenAI's, and the same answer: audio bytes in the format asked for, or, with
        `stream_format: sse`, server-sent events that hold them. The header `x-orpheus-model` names the model
        that really speaks. With the header `x-orpheus-keep: true` the speech is kept for an hour at the URL that the
        answer's `x-orpheus-take` names. With `timestamp_granularities` the events tell when each word sounds, too.
        """
        body = from_json(await read_body(request.receive), CreateSpeechRequest, text="input")
        if body.timestamp_granularities and body.stream_format != "sse":
            raise InvalidRequestError(
                "Timestamps come in events: send stream_format 'sse' with timestamp_granularities.",
                param="stream_format",
                code="missing_required_parameter",
            )
        wanted = tuned(
            body,
            text=body.input,
            model=body.model,
            voice=body.voice if isinstance(body.voice, str) else body.voice.id,
        )
        wanted = msgspec.structs.replace(wanted, word_times=bool(body.timestamp_granularities))
        speech = prepare_speech(request.scope, service, wanted)
        audio_format = body.response_format or DEFAULT_FORMAT
        chunks = delivered(speech, audio_format)
        if body.stream_format == "sse":
            chunks = _events(chunks, speech, body.timestamp_granularities or ())
            media_type = "text/event-stream"
        else:
            media_type = FORMATS[audio_format].media_type
        return await answer_with_speech(request, speech, chunks, media_type)

    @route("/voices", http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
    def allow_voices(self) -> ASGIResponse:
        """Tell which methods there are; without this Litestar would tell those of one route alone."""
        return ASGIResponse(status_code=204, headers={"allow": "GET, OPTIONS, POST"})

    @get(
        "/voices",
        operation_id="listVoices",
        summary="List voices",
        response_description="The voices.",
        operation_class=openapi.ListOperation,
        sync_to_thread=False,
    )
    def list_voices(self, request: AnyRequest, service: NamedDependency[SpeechService]) -> VoiceList:
        """List every voice that is there for the caller, and OpenAI's names with the voice that answers."""
        catalog = _catalog(request, service)
        named = [(voice, None) for voice in catalog.voices.values()]
        borrowed = [(catalog.voices[target], alias) for alias, target in catalog.voice_aliases.items()]
        return VoiceList(voices=[_voice_object(voice, alias) for voice, alias in (*named, *borrowed)])

    @get(
        "/models",
        operation_id="listAudioModels",
        summary="List models that can speak now",
        response_description="The models.",
        operation_class=openapi.ListOperation,
        sync_to_thread=False,
    )
    def list_audio_models(self, service: NamedDependency[SpeechService]) -> AudioModelList:
        """List the models that a request can use on this machine, as Open WebUI asks for them."""
        return AudioModelList(
            [AudioModel(m.id, m.id) for m in _model_objects(service).values() if m.status == "available"]
        )


class ModelController(Controller):
    """GET /v1/models."""

    path = "/models"
    tags = ("OpenAI",)

    @get(
        "/",
        operation_id="listModels",
        summary="List models",
        response_description="The models.",
        operation_class=openapi.ListOperation,
        sync_to_thread=False,
    )
    def list_models(self, service: NamedDependency[SpeechService]) -> ModelList:
        """List the four sizes, the languages, the preview, and OpenAI's names, each with its `status`."""
        return ModelList(data=list(_model_objects(service).values()))

    @get(
        "/{model:path}",  # names of the hub's have a slash
        operation_id="retrieveModel",
        summary="Retrieve a model",
        response_description="The model.",
        operation_class=openapi.RetrieveModelOperation,
        sync_to_thread=False,
    )
    def retrieve_model(
        self,
        request: AnyRequest,
        model: Annotated[str, PathParameter(description="The model's id.")],
        service: NamedDependency[SpeechService],
    ) -> ModelObject:
        """Find a model by its id or by another name, such as OpenAI's; with the `voices` it can speak with."""
        name = model.strip("/ ").lower()
        found = service.offer.resolve(name)
        voices = [
            ModelVoice(voice.id, voice.language) for voice in _catalog(request, service).voices_of(found)
        ]
        entry = service.offer.models()[found.id]
        return msgspec.structs.replace(_model_object(found, entry, name), voices=voices)


def _catalog(request: AnyRequest, service: SpeechService) -> Catalog:
    return service.voices.catalog(caller_of(request.scope).account)


def _voice_object(voice: Voice, alias: str | None) -> VoiceObject:
    entry = VoiceObject(**msgspec.structs.asdict(voice_entry(voice)))
    return entry if alias is None else msgspec.structs.replace(entry, id=alias, name=alias, alias_of=voice.id)


def _model_objects(service: SpeechService) -> dict[str, ModelObject]:
    entries = service.offer.models()
    names = {name: name for name in entries} | service.offer.names()
    return {
        name: _model_object(service.catalog.models[answering], entries[answering], name)
        for name, answering in names.items()
    }


def _model_object(model: Model, entry: ModelEntry, name: str) -> ModelObject:
    return ModelObject(
        id=name,
        created=model.created,
        owned_by=model.owned_by,
        status=entry.status,
        status_detail=entry.status_detail,
        alias_of=msgspec.UNSET if name == model.id else model.id,
    )


async def _events(
    chunks: AsyncGenerator[bytes], speech: Speech, granularities: Sequence[Granularity]
) -> AsyncGenerator[bytes]:
    """Server-sent events: the audio in pieces, then what it took; an error event where it fails half way.

    Between the pieces, as soon as they are known, when words and segments sound.
    """
    began = False
    try:
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode("ascii")})
                began = True
                for segment in speech.word_times.ready() if speech.word_times else ():
                    yield _timestamps(segment, granularities)
    except SpeechError as error:
        if not began:
            raise
        yield _event({"type": "error", "error": openai_shape(error).error})
        raise
    for segment in await speech.word_times.rest() if speech.word_times else ():
        yield _timestamps(segment, granularities)
    yield _event(_done(speech))


def _done(speech: Speech) -> dict[str, Any]:
    usage = speech.usage
    done: dict[str, Any] = {
        "type": "speech.audio.done",
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }
    if (verdicts := speech.report().verification) is not None:
        done["verification"] = verdicts
    return done


def _timestamps(segment: TimedSegment, granularities: Sequence[Granularity]) -> bytes:
    told: dict[str, Any] = {"type": "speech.audio.timestamps", "timing": segment.timing}
    if "word" in granularities:
        told["words"] = segment.words
    if "segment" in granularities:
        told["segments"] = [
            {name: getattr(segment, name) for name in ("text", "start", "end", "span")},
        ]
    return _event(told)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def compat_router() -> Router:
    """Everything below /v1."""
    return Router(
        "/v1",
        route_handlers=[
            SpeechController,
            ModelController,
            ConsentController,
            CustomVoiceController,
            stream_speech,
        ],
    )
