"""GET /api/takes/{take}: speech that was kept for whoever had it spoken, in any format."""

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIResponse
from litestar.params import PathParameter, QueryParameter

from orpheus_openai.audio import PCM, SAMPLE_RATE
from orpheus_openai.audio.decode import decoded
from orpheus_openai.audio.encode import BYTES_PER_SAMPLE, wav_header
from orpheus_openai.audio.formats import FORMATS, HIGHEST_RATE, LOWEST_RATE, rate_of
from orpheus_openai.audio.g711 import LAWS
from orpheus_openai.audio.lengths import write_lengths
from orpheus_openai.audio.resample import resampled_length
from orpheus_openai.errors import InvalidRequestError
from orpheus_openai.http.caller import caller_of
from orpheus_openai.http.delivery import encoded, start
from orpheus_openai.http.openapi import audio, operation
from orpheus_openai.http.responses import StreamResponse
from orpheus_openai.speech import takes
from orpheus_openai.speech.service import SpeechService
from orpheus_openai.threads import finished

DEFAULT_FORMAT = "mp3"

_OPERATION = operation(
    answers={"200": OpenAPIResponse(description="The whole speech.", content=audio())},
    problems={
        "400": "There is no such format, or it cannot have that sample rate.",
        "404": "There is no such take: it is not finished, too old, too long to be kept, or somebody else's.",
        "429": "The caller's rate limit is reached; `Retry-After` says when to try again.",
    },
)


@get(
    "/takes/{take:str}",
    tags=["Files"],
    operation_id="downloadTake",
    summary="Download speech that was kept",
    operation_class=_OPERATION,
)
async def download_take(
    request: Request[Any, Any, Any],
    take: Annotated[str, PathParameter(description="The id, as `x-orpheus-take` has it.")],
    service: NamedDependency[SpeechService],
    audio_format: Annotated[
        str,
        QueryParameter(name="format", description="The format wanted.", schema_extra={"enum": list(FORMATS)}),
    ] = DEFAULT_FORMAT,
    sample_rate: Annotated[
        int | None,
        QueryParameter(
            description="Samples a second, as in a request for speech; the format's own if not given.",
            schema_extra={"minimum": LOWEST_RATE, "maximum": HIGHEST_RATE},
        ),
    ] = None,
) -> StreamResponse:
    """What was spoken, once more, in any format.

    Send a request for speech with the header `x-orpheus-keep: true`; its answer's `x-orpheus-take` names the URL. When
    that speech is finished, it stays there for an hour, as long as there is room, for the same caller: the same key, or
    where there are no keys the same address.
    """
    audio_format = audio_format.strip().lower()
    if audio_format not in FORMATS:
        raise InvalidRequestError(
            f"Unknown format; expected one of: {', '.join(FORMATS)}.", param="format", code="invalid_value"
        )
    rate = rate_of(audio_format, sample_rate)
    caller = caller_of(request.scope)
    found = service.takes.get(take, caller.account, anybodys=caller.admin and caller.key is not None)
    await service.gate.charge(caller.account)
    chunks, size = _in_format(found, audio_format, rate)
    headers = {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="speech.{FORMATS[audio_format].extension}"',
        "x-content-type-options": "nosniff",
    }
    if size is not None:
        headers["content-length"] = str(size)
    return StreamResponse(await start(chunks), media_type=FORMATS[audio_format].media_type, headers=headers)


def _in_format(take: takes.Take, audio_format: str, rate: int) -> tuple[AsyncGenerator[bytes], int | None]:
    """The take's chunks, and where that is known before how many bytes they are."""
    flac = bytes(take.encoded)
    samples = resampled_length(take.samples, SAMPLE_RATE, rate)
    if audio_format == takes.FORMAT:
        if rate == SAMPLE_RATE:
            return _finished(flac), len(flac)
        return _whole_flac(encoded(_pcm(flac), audio_format, sample_rate=rate)), None
    header = wav_header(samples, sample_rate=rate) if audio_format == "wav" else b""
    if audio_format in ("wav", "pcm"):
        chunks = encoded(_pcm(flac), "pcm", sample_rate=rate)
        return _after(header, chunks), len(header) + samples * BYTES_PER_SAMPLE
    chunks = encoded(_pcm(flac), audio_format, sample_rate=rate)
    return chunks, samples if audio_format in LAWS else None


async def _whole_flac(chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with contextlib.aclosing(chunks):
        flac = b"".join([chunk async for chunk in chunks])
    async for whole in _finished(flac):
        yield whole


async def _finished(flac: bytes) -> AsyncGenerator[bytes]:
    file = io.BytesIO(flac)
    await asyncio.to_thread(write_lengths, file, takes.FORMAT)
    yield file.getvalue()


async def _after(header: bytes, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    if header:
        yield header
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk


async def _pcm(flac: bytes) -> AsyncGenerator[PCM]:
    """Decoded in a thread, block by block; whoever leaves waits for the block that is under way."""
    blocks = decoded(flac)
    try:
        while True:
            block = await finished(next, blocks, None)
            if block is None:
                return
            yield block
    finally:
        blocks.close()
