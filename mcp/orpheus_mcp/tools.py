"""The tools an agent calls; they use the same service and the same GPU manager as every other door."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastmcp import Context
from fastmcp.exceptions import ToolError
from fastmcp.server.dependencies import get_http_request
from fastmcp.tools import ToolResult
from mcp_types import AudioContent, ContentBlock, ResourceLink, TextContent
from pydantic import BeforeValidator, Field, WithJsonSchema

from orpheus_mcp.generation import Generation
from orpheus_mcp.hang_up import hang_up
from orpheus_mcp.resources import MIB, output_uri, url_path
from orpheus_mcp.results import GeneratedSpeech, GPUStatus, Models, NamedVoice, Voices
from orpheus_openai.audio.formats import AudioFormat
from orpheus_openai.catalog import DEFAULT_MODEL, DEFAULT_VOICE
from orpheus_openai.errors import InvalidRequestError, SpeechError
from orpheus_openai.gpu.manager import LONGEST_OFFLOAD, OFFLOAD_SECONDS
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.http.caller import caller_of, prepare_speech
from orpheus_openai.http.delivery import save_captions, while_connected
from orpheus_openai.limits.caller import Caller
from orpheus_openai.logs import current_request_id
from orpheus_openai.outputs import OutputFolder, SavedFile
from orpheus_openai.speech.captions import CaptionFormat
from orpheus_openai.speech.offer import voice_entry
from orpheus_openai.speech.request import Tuning, speech_request
from orpheus_openai.speech.service import SpeechService

logger = logging.getLogger(__name__)

MOST_HANDED = MIB
"""Bytes of audio in an answer: it goes as base64 through hosts that may show it to their model."""

_TUNING = msgspec.json.schema_components([Tuning])[1][Tuning.__name__]["properties"]


def tuning(name: str) -> WithJsonSchema:
    """What an agent is told of a field that all doors have; the service judges it, as for all of them."""
    return WithJsonSchema({key: value for key, value in _TUNING[name].items() if key != "default"})


def _in_any_case(word: Any) -> Any:
    return word.strip().lower() if isinstance(word, str) else word


class SpeechTools:
    """Each public method is a tool; its docstring and annotations are what the agent reads."""

    def __init__(
        self, service: SpeechService, outputs: OutputFolder, folder: Path, monitor: GPUMonitor
    ) -> None:
        self._service = service
        self._outputs = outputs
        self._folder = folder
        self._monitor = monitor

    async def generate_speech(
        self,
        context: Context,
        *,
        text: Annotated[
            str,
            Field(
                description="What to say, in the voice's language. Emotion tags such as <laugh> or <sigh> "
                "are performed; list_voices names them all."
            ),
        ],
        voice: Annotated[
            str, Field(description="A voice's id, or one of OpenAI's names; see list_voices.")
        ] = DEFAULT_VOICE,
        model: Annotated[
            str, Field(description="A model's id; see list_models. `default` lets the server choose.")
        ] = DEFAULT_MODEL,
        response_format: Annotated[
            AudioFormat,
            BeforeValidator(_in_any_case),
            Field(
                description="The file's format; pcm is 24 kHz mono int16 without a header, pcmu and pcma are the "
                "telephone's, 8 kHz."
            ),
        ] = "wav",
        speed: Annotated[float | None, tuning("speed")] = None,
        temperature: Annotated[float | None, tuning("temperature")] = None,
        top_p: Annotated[float | None, tuning("top_p")] = None,
        repetition_penalty: Annotated[float | None, tuning("repetition_penalty")] = None,
        max_tokens: Annotated[int | None, tuning("max_tokens")] = None,
        seed: Annotated[int | None, tuning("seed")] = None,
        sample_rate: Annotated[int | None, tuning("sample_rate")] = None,
        text_cleaning: Annotated[bool | None, tuning("text_cleaning")] = None,
        captions: Annotated[
            list[Annotated[CaptionFormat, BeforeValidator(_in_any_case)]] | None,
            Field(description="Save captions beside the audio: srt, vtt, or json with every word's time."),
        ] = None,
        pronunciations: Annotated[dict[str, str] | None, tuning("pronunciations")] = None,
        include_audio: Annotated[
            bool,
            Field(
                description="Hand over the audio itself as well, for a host that plays it: up to "
                f"{MOST_HANDED // MIB} MiB, which are 20 seconds of wav or a minute of mp3."
            ),
        ] = False,
        cast: Annotated[dict[str, str] | None, tuning("cast")] = None,
    ) -> ToolResult:
        """Speak a text and save it as an audio file on the server.

        Answers with the file's path on the server's machine, a URL to download it, how long the audio is and
        what it took; the audio itself is an MCP resource that the answer links, and with `include_audio` in the
        answer. The first call may wait for its model to load.
        """
        request = get_http_request()
        # The handler runs in its session's context, which may carry the id of an earlier request.
        current_request_id.set(request.scope.get("state", {}).get("request_id", ""))
        with _told():
            wanted = speech_request(
                text=text,
                model=model,
                voice=voice,
                speed=speed,
                temperature=temperature,
                top_p=top_p,
                repetition_penalty=repetition_penalty,
                max_tokens=max_tokens,
                seed=seed,
                text_cleaning=text_cleaning,
                pronunciations=pronunciations,
                cast=cast,
                sample_rate=sample_rate,
            )
            wanted = msgspec.structs.replace(wanted, word_times=bool(captions), whole=True)
            speech = prepare_speech(request.scope, self._service, wanted)
            generation = Generation(speech, self._service.manager, response_format)
            caller = caller_of(request.scope)
            saved = await generation.run(self._outputs, text, context, caller.owner)
            beside = await save_captions(self._outputs, saved, speech, captions or ())
            handed = await self._handed(saved, caller) if include_audio else []
        answer = self._spoken(generation, saved, f"{request.url.scheme}://{request.url.netloc}", beside)
        answer.content.extend(handed)
        return answer

    async def _handed(self, saved: SavedFile, caller: Caller) -> list[ContentBlock]:
        """The audio of a file as content of an answer, or in words why not."""
        if saved.bytes > MOST_HANDED:
            size = f"{saved.bytes / MIB:.1f} MiB"
            words = f"The audio has {size}, too much to be handed over; download it, or ask for mp3."
            return [TextContent(text=words)]
        file, _ = await asyncio.to_thread(self._outputs.open, saved.name, caller.may_see)
        with file:
            audio = await asyncio.to_thread(file.read, MOST_HANDED)
        return [AudioContent(data=base64.b64encode(audio).decode("ascii"), mime_type=saved.media_type)]

    def _spoken(
        self, generation: Generation, saved: SavedFile, base_url: str, captions: Mapping[str, str]
    ) -> ToolResult:
        uri = output_uri(saved.name)
        spoken = GeneratedSpeech(
            **msgspec.structs.asdict(generation.speech.report()),
            path=str(self._folder / saved.name),
            url=f"{base_url}{url_path(saved.name)}",
            uri=uri,
            format=saved.format,
            bytes=saved.bytes,
            captions={each: f"{base_url}{url_path(name)}" for each, name in captions.items()},
            total_seconds=round(generation.seconds, 3),
        )
        words = (
            f"{spoken.audio_seconds:.1f} s of speech by {spoken.voice} ({spoken.model}), "
            f"saved as {spoken.path}; download: {spoken.url}"
        )
        link = ResourceLink(name=saved.name, uri=uri, mime_type=saved.media_type, size=saved.bytes)
        return _result(spoken, TextContent(text=words), link)

    async def list_voices(
        self,
        language: Annotated[
            str | None,
            Field(description="Only this language's voices: an ISO 639-1 code such as `en`; null: all."),
        ] = None,
    ) -> ToolResult:
        """List the voices, with language, gender and OpenAI's names, and the emotion tags a text may hold."""
        catalog = self._service.voices.catalog(caller_of(get_http_request().scope).account)
        with _told():
            if language is not None and language.lower() not in catalog.languages:
                known = ", ".join(catalog.languages)
                raise InvalidRequestError(f"No voice speaks {language[:64]!r}. Languages: {known}.")
        voices = [
            NamedVoice(
                **msgspec.structs.asdict(entry),
                language_name=catalog.languages[entry.language].english,
                aliases=catalog.other_names(voice),
            )
            for voice in catalog.voices.values()
            for entry in (voice_entry(voice),)
            if language is None or language.lower() in entry.languages
        ]
        return _result(Voices(voices, [f"<{name}>" for name in catalog.emotion_tags]))

    async def list_models(self) -> ToolResult:
        """List the models: which can speak on this machine, which are loaded, what the others would need."""
        offer = self._service.offer
        catalog = self._service.voices.catalog(caller_of(get_http_request().scope).account)
        return _result(Models(offer.default, list(offer.models(catalog).values())))

    async def get_gpu_status(self) -> ToolResult:
        """Tell which models are loaded or speaking, and how busy and full the GPUs are; loads nothing."""
        sample = await self._monitor.sample()
        caller, seen = caller_of(get_http_request().scope), self._service.seen
        status = GPUStatus(
            default_model=self._service.offer.default,
            models=seen.models(caller),
            gpus=seen.gpus(caller, sample.gpus),
            gpu_error=sample.error,
        )
        return _result(status)

    async def offload_gpu(
        self,
        model: Annotated[str | None, Field(description="A model's id; null: all that are loaded.")] = None,
        force: Annotated[
            bool, Field(description="Break off speech that is running instead of letting it end.")
        ] = False,
        wait_seconds: Annotated[
            float,
            Field(ge=0, le=LONGEST_OFFLOAD, description="How long speech that is running may take to end."),
        ] = OFFLOAD_SECONDS,
    ) -> ToolResult:
        """Unload models to free GPU memory; the next request for one loads it again.

        While running speech is let end, new requests for the model are turned away after a few seconds.
        """
        scope = get_http_request().scope
        gone = partial(hang_up, scope)
        with _told():
            caller_of(scope).require_admin("Freeing the GPU")
            offload = self._service.offload(model, force=force, wait=wait_seconds)
            return _result(await while_connected(gone, offload))


def _result(answer: msgspec.Struct, *content: ContentBlock) -> ToolResult:
    """Give the answer as JSON; `content` is for readers of text, and without it that is the same JSON."""
    return ToolResult(
        content=list(content) or [TextContent(text=msgspec.json.encode(answer).decode())],
        structured_content=msgspec.to_builtins(answer),
    )


@contextlib.contextmanager
def _told() -> Generator[None]:
    """Turn an error of ours into the tool's: its message says what would do instead."""
    try:
        yield
    except SpeechError as error:
        again = "" if error.retry_after is None else f" Try again in {error.retry_after:.0f} s."
        if not isinstance(error, InvalidRequestError):
            logger.warning("%s: %s", error.code, error.message)
        # FastMCP's own line would say that a tool failed, but not why.
        raise ToolError(error.message + again, log_level=logging.DEBUG) from error
