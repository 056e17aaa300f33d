"""POST /api/generate: speak a text, and stream it or keep it as a file."""

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Example, OpenAPIResponse
from litestar.response.base import ASGIResponse
from msgspec import Meta

from orpheus_openai.audio.formats import FORMATS, AudioFormat
from orpheus_openai.catalog import DEFAULT_VOICE
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.events import EventHub
from orpheus_openai.fields import from_json
from orpheus_openai.http.body import read_body
from orpheus_openai.http.caller import caller_of, prepare_speech
from orpheus_openai.http.delivery import delivered, save_captions, start, while_connected
from orpheus_openai.http.openapi import SPEECH_PROBLEMS, audio, operation, schema
from orpheus_openai.http.responses import answer_with_speech
from orpheus_openai.native.files import url_of
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.speech.captions import CaptionFormat
from orpheus_openai.speech.report import SpeechReport
from orpheus_openai.speech.request import SpeechRequest, Tuning, tuned
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech
from orpheus_openai.speech.timed import TimedSegment

AnyRequest = Request[Any, Any, Any]

DEFAULT_FORMAT: AudioFormat = "wav"


class GenerateRequest(Tuning, frozen=True, kw_only=True):
    """The body of POST /api/generate. Only `text` is needed; fields that are not listed are ignored."""

    text: Annotated[
        str | None,
        Meta(
            description="What to say. Emotion tags such as <laugh> are acted.",
            examples=["Hello! <chuckle> How are you?"],
            extra_json_schema={"minLength": 1},
        ),
    ] = None
    prompt: Annotated[
        str | None, Meta(description="Another name for `text`.", extra_json_schema={"minLength": 1})
    ] = None
    voice: Annotated[
        str | None,
        Meta(description=f"Who says it; {DEFAULT_VOICE} if not given.", examples=[DEFAULT_VOICE]),
    ] = None
    model: Annotated[
        str | None,
        Meta(description="A model's id; the server's default model if not given.", examples=["medium-3b"]),
    ] = None
    response_format: Annotated[
        AudioFormat | None, Meta(description="wav if not given.", examples=["mp3"])
    ] = None
    save: Annotated[
        bool, Meta(description="Keep the speech in the output folder and answer with JSON that says where.")
    ] = False
    captions: Annotated[
        CaptionFormat | list[CaptionFormat] | None,
        Meta(
            description="With `save`: captions beside the speech, as SubRip, WebVTT, or JSON with every word's time; "
            "one format or several.",
            examples=["srt"],
        ),
    ] = None

    word_times: Annotated[
        bool,
        Meta(description="Tell when each word sounds, while it is spoken: `speech.words` of `/api/events`."),
    ] = False

    @property
    def caption_formats(self) -> list[CaptionFormat]:
        """Those that are asked for."""
        return [self.captions] if isinstance(self.captions, str) else self.captions or []


class SavedSpeech(SpeechReport, frozen=True, kw_only=True):
    """Speech that was saved: where, and what it took."""

    file: Annotated[str, Meta(examples=["2026-11-23-tara-hello-there-1a2b3c.wav"])]
    url: Annotated[str, Meta(examples=["/api/files/2026-11-23-tara-hello-there-1a2b3c.wav"])]
    format: Annotated[str, Meta(examples=["wav"])]
    bytes: Annotated[int, Meta(examples=[96_044])]
    total_seconds: Annotated[
        float, Meta(description="From the request's arrival to the saved file.", examples=[0.9])
    ]
    captions: Annotated[
        dict[str, str],
        Meta(
            description="URLs of the captions that were asked for, by format.",
            examples=[{"srt": "/api/files/2026-11-23-tara-hello-there-1a2b3c.srt"}],
        ),
    ]


_EXAMPLES = {
    "plain": Example(
        summary="WAV, streamed", value={"text": "Hello! <chuckle> How are you?", "voice": "tara"}
    ),
    "saved": Example(
        summary="MP3, kept on the server",
        value={
            "text": "Remember this. <sigh>",
            "voice": "leo",
            "response_format": "mp3",
            "save": True,
            "captions": "srt",
        },
    ),
    "tuned": Example(
        summary="Your own sampling",
        value={"text": "Once more, slowly.", "voice": "zoe", "temperature": 0.4, "speed": 0.85, "seed": 7},
    ),
}

_OPERATION = operation(
    body=schema(GenerateRequest, _EXAMPLES),
    answers={
        "200": OpenAPIResponse(
            description="The speech, in the format asked for; with `save`, where it is kept.",
            content={**audio(), "application/json": schema(SavedSpeech)},
        )
    },
    problems={**SPEECH_PROBLEMS, "500": "The output folder cannot be written."},
)


@post(
    "/generate",
    status_code=200,
    tags=["Speech"],
    operation_id="generate",
    summary="Speak a text, streamed or saved",
    operation_class=_OPERATION,
)
async def generate(
    request: AnyRequest, service: NamedDependency[SpeechService], outputs: NamedDependency[OutputFolder]
) -> ASGIResponse:
    """Turn text into speech, with every option this server has.

    The answer is audio, streamed while it is spoken; its headers `x-orpheus-model` and `x-orpheus-voice` name
    who speaks, `x-orpheus-load-seconds` says how long the model took to be ready, and `x-request-id` is the
    speech's id in `/api/events`. With the header `x-orpheus-keep: true` the speech is kept for an hour at the URL
    that the answer's `x-orpheus-take` names. `x-orpheus-whole: true` says that you write it to a file and listen
    later, so that what was not spoken well can be spoken again. With `save: true` the answer is JSON, in the end,
    and the audio a file.
    """
    asked = time.monotonic()
    body = from_json(await read_body(request.receive), GenerateRequest, text="text")
    text, speech = _prepare(request, body, service)
    audio_format = body.response_format or DEFAULT_FORMAT
    if not body.save:
        chunks = _telling_words(delivered(speech, audio_format), speech, service.events)
        return await answer_with_speech(request, speech, chunks, FORMATS[audio_format].media_type)
    owner = caller_of(request.scope).owner
    saving = _save(outputs, speech, text, audio_format, asked, captions=body.caption_formats, owner=owner)
    saved = await while_connected(request.receive, saving)
    return ASGIResponse(
        body=msgspec.json.encode(saved), media_type="application/json", headers={"cache-control": "no-store"}
    )


def _prepare(request: AnyRequest, body: GenerateRequest, service: SpeechService) -> tuple[str, Speech]:
    """Return the text and its speech; an error about the text names the field that held it."""
    wanted, text_field = asked_for(body)
    return wanted.text, prepare_speech(request.scope, service, wanted, text_field=text_field)


def asked_for(body: GenerateRequest) -> tuple[SpeechRequest, str]:
    """What a body asks for, and which field holds the text."""
    if body.text is not None and body.prompt is not None and body.text != body.prompt:
        raise InvalidRequestError(
            "'text' and 'prompt' mean the same, but differ; send one of them.", param="prompt"
        )
    text = body.prompt if body.text is None else body.text
    if text is None:
        raise InvalidRequestError(
            "Missing required field 'text'.", param="text", code="missing_required_parameter"
        )
    if body.caption_formats and not body.save:
        raise InvalidRequestError(
            "Captions are kept beside saved speech: send save: true with them.",
            param="save",
            code="missing_required_parameter",
        )
    wanted = tuned(body, text=text, model=body.model, voice=body.voice)
    timed = body.word_times or bool(body.caption_formats)
    wanted = msgspec.structs.replace(wanted, word_times=timed, whole=body.save)
    return wanted, "prompt" if body.text is None else "text"


async def _telling_words(
    chunks: AsyncGenerator[bytes], speech: Speech, events: EventHub
) -> AsyncGenerator[bytes]:
    """`chunks`; between them, as soon as they are known, events tell when words sound, if the request asked for it."""
    times = speech.word_times

    def tell(segments: list[TimedSegment], *, last: bool = False) -> None:
        if segments or last:
            words = [word for segment in segments for word in segment.words]
            timing = segments[-1].timing if segments else None
            told = {"id": speech.id, "timing": timing, "words": words, "last": last}
            events.publish("speech.words", owner=speech.account, **told)

    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk
            if times is not None:
                tell(times.ready())
    if times is not None:
        tell(await times.rest(), last=True)


async def _save(
    outputs: OutputFolder,
    speech: Speech,
    text: str,
    audio_format: AudioFormat,
    asked: float,
    *,
    captions: Sequence[CaptionFormat],
    owner: str | None,
) -> SavedSpeech:
    # A speech that cannot begin leaves the folder alone.
    async with contextlib.aclosing(await start(delivered(speech, audio_format))) as chunks:
        file = await outputs.save(
            chunks, voice=speech.voice.id, text=text, audio_format=audio_format, owner=owner
        )
    beside = await save_captions(outputs, file, speech, captions)
    return SavedSpeech(
        **msgspec.structs.asdict(speech.report()),
        file=file.name,
        url=url_of(file.name),
        format=audio_format,
        bytes=file.bytes,
        captions={each: url_of(name) for each, name in beside.items()},
        total_seconds=round(time.monotonic() - asked, 3),
    )
