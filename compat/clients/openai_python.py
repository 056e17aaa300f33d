"""Checks a server with OpenAI's Python SDK: python openai_python.py [BASE_URL], e.g. http://localhost:8899/v1."""

import asyncio
import base64
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

DEFAULT_BASE_URL = "http://127.0.0.1:8899/v1"
MODEL = "tts-1"
TEXT = "The quick brown fox jumped over the lazy dog."
PCM_BYTES_PER_SECOND = 24_000 * 2

FIRST_BYTES: dict[AudioFormat, tuple[bytes, ...]] = {
    "mp3": (b"\xff\xf3", b"\xff\xfb", b"\xff\xf2", b"\xff\xfa", b"ID3"),
    "opus": (b"OggS",),
    "aac": (b"\xff\xf1", b"\xff\xf9"),
    "flac": (b"fLaC",),
    "wav": (b"RIFF",),
}
MEDIA_TYPES: dict[AudioFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx"),
    *("nova", "sage", "shimmer", "verse", "marin", "cedar"),
)


def speech_in_every_format(client: OpenAI) -> None:
    for audio_format, media_type in MEDIA_TYPES.items():
        answer = client.audio.speech.create(
            model=MODEL, voice="alloy", input=TEXT, response_format=audio_format
        )
        content_type = answer.response.headers["content-type"]
        assert content_type.startswith(media_type), f"{audio_format} came as {content_type}"
        _expect_audio(answer.content, audio_format)


def mp3_when_no_format_is_given(client: OpenAI) -> None:
    _expect_audio(client.audio.speech.create(model=MODEL, voice="nova", input=TEXT).content, "mp3")


def every_voice_of_openai(client: OpenAI) -> None:
    for voice in VOICES:
        spoken = client.audio.speech.create(model=MODEL, voice=voice, input="Hello.", response_format="pcm")
        _expect_audio(spoken.content, "pcm")


def a_voice_as_an_object(client: OpenAI) -> None:
    spoken = client.audio.speech.create(model=MODEL, voice={"id": "alloy"}, input=TEXT, response_format="wav")
    _expect_audio(spoken.content, "wav")


def instructions_and_unknown_fields_do_no_harm(client: OpenAI) -> None:
    spoken = client.audio.speech.create(
        model="gpt-4o-mini-tts",
        voice="coral",
        input=TEXT,
        instructions="Speak like a pirate.",
        response_format="wav",
        extra_body={"an_integration_of_my_own": True},
    )
    _expect_audio(spoken.content, "wav")


def twice_the_speed_takes_half_the_time(client: OpenAI) -> None:
    def seconds(speed: float) -> float:
        spoken = client.audio.speech.create(
            model=MODEL, voice="alloy", input=TEXT * 3, speed=speed, response_format="pcm"
        )
        return len(spoken.content) / PCM_BYTES_PER_SECOND

    ratio = seconds(1.0) / seconds(2.0)
    assert 1.7 < ratio < 2.3, f"speed 2 made it shorter by a factor of {ratio:.2f}"  # noqa: PLR2004


def streaming_in_pieces(client: OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model=MODEL, voice="alloy", input=TEXT * 4, response_format="pcm"
    ) as answer:
        pieces = list(answer.iter_bytes(4096))
    assert len(pieces) > 1, "everything came in one piece"
    _expect_audio(b"".join(pieces), "pcm")


def streaming_to_a_file(client: OpenAI) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.mp3"
        with client.audio.speech.with_streaming_response.create(
            model=MODEL, voice="alloy", input=TEXT
        ) as answer:
            answer.stream_to_file(file)
        _expect_audio(file.read_bytes(), "mp3")


def server_sent_events(client: OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model=MODEL, voice="alloy", input=TEXT, response_format="mp3", stream_format="sse"
    ) as answer:
        content_type = answer.headers["content-type"]
        lines = [line for line in answer.iter_lines() if line]
    assert content_type.startswith("text/event-stream"), content_type
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    *deltas, done = events
    assert deltas, "no audio came"
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}, events
    assert done["type"] == "speech.audio.done", done
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0, usage
    _expect_audio(b"".join(base64.b64decode(event["audio"]) for event in deltas), "mp3")


def several_at_once_from_asyncio(client: OpenAI) -> None:
    async def speak(asynchronous: AsyncOpenAI, text: str) -> bytes:
        async with asynchronous.audio.speech.with_streaming_response.create(
            model=MODEL, voice="sage", input=text, response_format="pcm"
        ) as answer:
            return b"".join([piece async for piece in answer.iter_bytes()])

    async def speak_all() -> list[bytes]:
        async with AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as asynchronous:
            return await asyncio.gather(*(speak(asynchronous, f"Number {n}. {TEXT}") for n in range(4)))

    for spoken in asyncio.run(speak_all()):
        _expect_audio(spoken, "pcm")


def the_list_of_models(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert MODEL in models, sorted(models)
    assert models[MODEL].object == "model"
    model = client.models.retrieve(MODEL)
    assert (model.id, model.object, model.created) == (MODEL, "model", models[MODEL].created)


def errors_are_the_sdks_own(client: OpenAI) -> None:
    def speak(**changed: object) -> Callable[[], object]:
        fields: dict[str, object] = {"model": MODEL, "voice": "alloy", "input": TEXT, **changed}
        return lambda: client.audio.speech.create(**fields)  # type: ignore[arg-type]

    _expect_error(BadRequestError, "voice", speak(voice="nobody"))
    _expect_error(BadRequestError, "input", speak(input="   "))
    _expect_error(BadRequestError, "speed", speak(speed=9))
    _expect_error(BadRequestError, "response_format", speak(response_format="midi"))
    _expect_error(NotFoundError, "model", speak(model="no-such-model"))
    _expect_error(NotFoundError, "model", lambda: client.models.retrieve("no-such-model"))


def _expect_error(kind: type[APIStatusError], param: str, call: Callable[[], object]) -> None:
    error = _error_of(kind, call)
    assert error is not None, f"no {kind.__name__} for a wrong {param!r}"
    assert error.param == param, f"{kind.__name__} names {error.param!r}, not {param!r}: {error}"
    assert error.type == "invalid_request_error", error.type
    assert error.request_id, "the error has no x-request-id"


def _error_of(kind: type[APIStatusError], call: Callable[[], object]) -> APIStatusError | None:
    try:
        call()
    except kind as error:
        return error
    return None


def _expect_audio(audio: bytes, audio_format: AudioFormat) -> None:
    if audio_format == "pcm":
        assert len(audio) % 2 == 0, "half a sample"
        assert len(audio) > PCM_BYTES_PER_SECOND // 10, f"only {len(audio)} bytes"
        assert any(audio), "nothing but silence"
    else:
        assert audio.startswith(FIRST_BYTES[audio_format]), f"{audio[:8]!r} is no {audio_format}"
        assert len(audio) > 1000, f"only {len(audio)} bytes"  # noqa: PLR2004


CHECKS: tuple[Callable[[OpenAI], None], ...] = (
    speech_in_every_format,
    mp3_when_no_format_is_given,
    every_voice_of_openai,
    a_voice_as_an_object,
    instructions_and_unknown_fields_do_no_harm,
    twice_the_speed_takes_half_the_time,
    streaming_in_pieces,
    streaming_to_a_file,
    server_sent_events,
    several_at_once_from_asyncio,
    the_list_of_models,
    errors_are_the_sdks_own,
)


def main() -> None:
    """Run every check, say how each went, and exit with 1 when one failed."""
    base_url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BASE_URL", DEFAULT_BASE_URL)
    failed = 0
    with OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=0) as client:
        for check in CHECKS:
            title = check.__name__.replace("_", " ")
            try:
                check(client)
            except Exception as error:  # noqa: BLE001  whatever it is, the next check is run too
                failed += 1
                print(f"FAILED  {title}: {type(error).__name__}: {error}")
            else:
                print(f"ok      {title}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
