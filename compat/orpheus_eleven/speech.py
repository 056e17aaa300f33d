"""A request of ElevenLabs' as one of the core's, and a speech in ElevenLabs' words."""

import base64
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from orpheus_eleven.alignment import Alignment, Characters
from orpheus_eleven.output import Output
from orpheus_eleven.schemas import MODEL_IDS, TextToSpeechRequest, TimedAudio, VoiceSettings
from orpheus_openai.errors import InvalidRequestError, NotFoundError
from orpheus_openai.http.caller import prepare_speech
from orpheus_openai.http.delivery import delivered
from orpheus_openai.speech.request import SpeechRequest, speech_request
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.speech.speech import Speech

ENCODED = 3
"""Bytes that base64 puts into four characters; so many at a time need no padding."""


def wanted(
    *,
    text: str,
    voice: str,
    model_id: str | None,
    settings: VoiceSettings | None,
    seed: int | None,
    output: Output,
    word_times: bool,
) -> SpeechRequest:
    """The core's request; raises InvalidRequestError as `speech_request` does."""
    own = model_id is None or model_id.strip().lower().startswith(MODEL_IDS)
    request = speech_request(
        text=text,
        model=None if own else model_id,
        voice=voice,
        speed=settings.speed if settings else None,
        seed=seed,
        sample_rate=output.sample_rate,
    )
    return msgspec.structs.replace(request, word_times=word_times)


def prepared(
    scope: Mapping[str, object],
    service: SpeechService,
    voice: str,
    body: TextToSpeechRequest,
    output: Output,
    *,
    word_times: bool = False,
    whole: bool = False,
) -> Speech:
    """The speech that a request over HTTP asks for, `whole`: in one piece; raises as `SpeechService.prepare` does."""
    request = wanted(
        text=body.text,
        voice=voice,
        model_id=body.model_id,
        settings=body.voice_settings,
        seed=body.seed,
        output=output,
        word_times=word_times,
    )
    with voice_not_found():
        return prepare_speech(
            scope, service, msgspec.structs.replace(request, whole=whole), text_field="text"
        )


@contextlib.contextmanager
def voice_not_found() -> Any:
    """A voice that does not exist is a part of the path here: 404."""
    try:
        yield
    except InvalidRequestError as error:
        if error.code != "voice_not_found":
            raise
        raise NotFoundError(error.message, param=error.param, code=error.code) from error


async def with_times(speech: Speech, output: Output) -> AsyncGenerator[tuple[bytes, Alignment | None]]:
    """The speech's bytes as they come, each with the times of the characters that have become known by then.

    The last has no bytes. All alignments together are the text. `speech` was prepared with word times.
    """
    times = CharacterTimes(speech)
    chunks = delivered(speech, output.audio_format, bit_rate=output.bit_rate)
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk, times.ready()
    yield b"", await times.rest()


class CharacterTimes:
    """The times of a speech's characters, as they become known; it was prepared with word times."""

    def __init__(self, speech: Speech) -> None:
        assert speech.word_times is not None  # noqa: S101  its callers have seen to it
        self._words = speech.word_times
        self._speech = speech
        self._characters = Characters()

    async def wait(self) -> None:
        """Wait until `ready` has something to give."""
        await self._words.wait()

    def ready(self) -> Alignment | None:
        """Those that have become known since the last call."""
        text = self._words.text
        return joined_alignments([self._characters.of(segment, text) for segment in self._words.ready()])

    async def rest(self) -> Alignment | None:
        """Those that were not given yet, once the speech has ended."""
        text = self._words.text
        rest = [self._characters.of(segment, text) for segment in await self._words.rest()]
        return joined_alignments([*rest, self._characters.rest(text, self._speech.audio_seconds)])


def joined_alignments(alignments: list[Alignment | None]) -> Alignment | None:
    """Several in a row as one; None where there are none."""
    there = [each for each in alignments if each is not None]
    if not there:
        return None
    return Alignment(
        *([value for each in there for value in getattr(each, name)] for name in Alignment.__struct_fields__)
    )


async def timed_lines(speech: Speech, output: Output) -> AsyncGenerator[bytes]:
    """One JSON object a line: a piece of the audio, and as soon as they are known the times of characters."""
    async with contextlib.aclosing(with_times(speech, output)) as pieces:
        async for chunk, alignment in pieces:
            if chunk or alignment:
                audio = base64.b64encode(chunk).decode("ascii")
                yield msgspec.json.encode(TimedAudio(audio, alignment, alignment)) + b"\n"


async def timed_whole(speech: Speech, output: Output) -> AsyncGenerator[bytes]:
    """One JSON object with all of it, written as it comes: nobody has to hold an hour of audio."""
    alignments: list[Alignment | None] = []
    rest = b""
    before = b'{"audio_base64":"'
    async with contextlib.aclosing(with_times(speech, output)) as pieces:
        async for chunk, alignment in pieces:
            alignments.append(alignment)
            rest += chunk
            whole = len(rest) // ENCODED * ENCODED
            yield before + base64.b64encode(rest[:whole])
            rest, before = rest[whole:], b""
    told = msgspec.json.encode(joined_alignments(alignments))
    yield base64.b64encode(rest) + b'","alignment":' + told + b',"normalized_alignment":' + told + b"}"
